"""The firehose of the sandbox's PDS and the reference one, as both SDKs hear it."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from contextlib import suppress

import pytest
from atproto import CAR, firehose_models
from libipld import decode_car
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from listeners import Indexer, key_of, listening
from pds_replies import refused

METHOD = "com.atproto.sync.subscribeRepos"


def subscribed(server, query=""):
    return connect(f"{server.url.replace('http', 'ws', 1)}/xrpc/{METHOD}{query}", max_size=None)


def frame_of(data):
    return firehose_models.Frame.from_bytes(data)


def written(repo, chance, commits):
    """Make so many commits: records created, changed and deleted, alone and several together."""
    keys: list[str] = []
    for number in range(commits):
        writes = []
        for each in range(chance.choice([1, 1, 1, 1, 20])):
            action = chance.choice(["create", "create", "update", "delete"]) if len(keys) > 30 else "create"
            value = {"n": number, "each": each, "raw": {"$bytes": "AAAA"}}
            if action == "create":
                key = f"{chance.randrange(10**9)}"
                keys.append(key)
            else:
                key = chance.choice(keys)
            if any(write["rkey"] == key for write in writes):
                continue
            if action == "delete":
                keys.remove(key)
            writes.append(repo.write(action, key, None if action == "delete" else value))
        repo.apply(*writes).raise_for_status()


# Half a minute: 200 commits, each looked at by two SDKs.
def test_neither_sdk_rejects_one_of_two_hundred_commits_or_the_repository_after_them(server, new_repo, official):
    with listening(server.url, new_repo.did) as heard:
        written(new_repo, random.Random(17), 200)
        assert heard.wait(lambda: len(heard.commits) == 201, 60)
    index = Indexer(new_repo.did, server.plc_url)
    for commit in heard.commits:
        index.index(commit)
    whole = new_repo.get("sync.getRepo", did=new_repo.did).raise_for_status().content
    _, blocks = decode_car(whole)
    assert all(value in blocks.values() for _, value in index.records.values())
    asked = {
        "did": new_repo.did,
        "key": key_of(new_repo.did, server.plc_url),
        "commits": [
            {
                "blocks": base64.b64encode(commit.blocks).decode(),
                "ops": [
                    {"action": op.action, "path": op.path, "prev": op.prev and str(op.prev)} for op in commit.ops
                ],
                "prevData": commit.prev_data and str(commit.prev_data),
            }
            for commit in heard.commits
        ],
        "repo": base64.b64encode(whole).decode(),
    }
    judged = subprocess.run(
        official("verify.mjs"), input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=300
    )
    assert json.loads(judged.stdout) == {"rejected": [], "records": len(index.records)}
    CAR.from_bytes(whole)


def test_what_happens_to_an_account_is_told_in_order_and_again_from_a_cursor(server, new_repo):
    one = new_repo.put("r", {"n": 1}).raise_for_status().json()
    two = new_repo.put("r", {"n": 2}).raise_for_status().json()
    new_repo.put("r", {"n": 2}).raise_for_status()
    new_repo.delete("r").raise_for_status()
    with listening(server.url, new_repo.did) as heard:
        assert heard.wait(lambda: len(heard.commits) == 4, 30)
    kinds = ["Identity", "Account", "Commit", "Sync", "Commit", "Commit", "Commit"]
    assert [type(event).__name__ for event in heard.events] == kinds
    identity, account, first, sync, *later = heard.events
    assert (identity.handle, account.active, account.status) == (new_repo.handle, True, None)
    assert (first.ops, first.since, first.prev_data) == ([], None, None)
    assert (sync.rev, CAR.from_bytes(sync.blocks).root.encode()) == (first.rev, str(first.commit))
    path = f"{new_repo.collection}/r"
    assert [
        (op.action, op.path, op.cid and str(op.cid), op.prev and str(op.prev)) for each in later for op in each.ops
    ] == [
        ("create", path, one["cid"], None),
        ("update", path, two["cid"], one["cid"]),
        ("delete", path, None, two["cid"]),
    ]
    assert [(str(each.commit), each.rev) for each in later[:2]] == [
        (reply["commit"]["cid"], reply["commit"]["rev"]) for reply in (one, two)
    ]
    assert all((each.rebase, each.too_big, each.blobs) == (False, False, []) for each in heard.commits)
    numbers = [event.seq for event in heard.events]
    assert numbers == sorted(set(numbers))
    with listening(server.url, new_repo.did, cursor=later[0].seq) as again:
        assert again.wait(lambda: len(again.events) == 2, 30)
    assert again.events == later[1:]


def test_who_names_no_cursor_hears_what_comes(server, new_repo):
    new_repo.put("before", {"n": 1}).raise_for_status()
    with listening(server.url, new_repo.did) as heard:
        assert heard.wait(lambda: len(heard.commits) == 2, 30)
    path, paths = f"{new_repo.collection}/after", []
    with subscribed(server) as socket:
        # The reference PDS begins to listen a moment after it answered, and tells of a moment before, too.
        for number in range(40):
            new_repo.put("after", {"n": number}).raise_for_status()
            with suppress(TimeoutError):
                frame = frame_of(socket.recv(0.5))
                if frame.body.get("repo") == new_repo.did:
                    paths += [op["path"] for op in frame.body.get("ops", ())]
            if path in paths:
                break
    assert path in paths


def test_a_cursor_that_was_not_given_out_yet_ends_the_stream_with_an_error(server, new_repo):
    for query, error in (("?cursor=1000000000000", "FutureCursor"), ("?cursor=x", "InvalidRequest")):
        with subscribed(server, query) as socket:
            frame = frame_of(socket.recv(30))
            assert (frame.header.op, frame.body.error) == (firehose_models.FrameType.ERROR, error)
            with pytest.raises(ConnectionClosedError):
                socket.recv(30)
            assert socket.close_code == 1008


def test_the_firehose_is_a_websocket(repo):
    assert refused(repo.get("sync.subscribeRepos"), 400, "InvalidRequest")
