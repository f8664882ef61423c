"""The sandbox's firehose over its database: what is kept, for how long, and what a restart changes."""

from __future__ import annotations

import asyncio

import libipld
import pytest

from atdata_pipelines.sandbox.pds import firehose, tree
from atdata_pipelines.sandbox.pds.repository import RepoWrite
from atdata_pipelines.sandbox.pds.syntax import XrpcError

THING = "science.example.thing"


def put(pds, did, rkey, value, action="create"):
    return pds.repositories.commit(did, [pds.repositories.prepare(action, THING, rkey, value)])


def heard(frames, count, run=asyncio.run):
    """So many events, as pairs of kind and body."""

    async def listen():
        taken = []
        while len(taken) < count:
            taken.append(await asyncio.wait_for(anext(frames), 10))
        return taken

    return [
        (header.get("t", "error"), body)
        for header, body in (libipld.decode_dag_cbor_multi(frame) for frame in run(listen()))
    ]


def test_a_restart_keeps_events_and_goes_on_counting(opened):
    pds = opened()
    did = pds.create_account("a.test", "secret").did
    put(pds, did, "r", {"n": 1})
    before = heard(pds.firehose.listen(0), 5)
    pds = opened()
    assert heard(pds.firehose.listen(0), 5) == before
    put(pds, did, "s", {"n": 2})
    (_, event) = heard(pds.firehose.listen(5), 1)[0]
    assert (event["seq"], event["since"]) == (6, before[-1][1]["rev"])


def test_nothing_is_told_of_a_commit_that_was_refused(opened):
    pds = opened()
    did = pds.create_account("a.test", "secret").did
    with pytest.raises(XrpcError):
        pds.repositories.commit(
            did, [pds.repositories.prepare("create", THING, "s", {}), RepoWrite("delete", THING, "nothing")]
        )
    put(pds, did, "r", {})
    assert [body["seq"] for _, body in heard(pds.firehose.listen(0), 5)] == [1, 2, 3, 4, 5]


def test_a_record_that_one_commit_changes_twice_is_told_of_once(opened):
    pds = opened()
    did = pds.create_account("a.test", "secret").did
    put(pds, did, "r", {"n": 1})
    writes = [pds.repositories.prepare("update", THING, "r", {"n": number}) for number in (2, 3)]
    gone = [pds.repositories.prepare("create", THING, "s", {}), RepoWrite("delete", THING, "s")]
    pds.repositories.commit(did, [*writes, *gone])
    _, event = heard(pds.firehose.listen(5), 1)[0]
    (op,) = event["ops"]
    assert (op["action"], libipld.encode_cid(op["cid"])) == ("update", writes[1].cid)


def test_of_old_events_a_bounded_amount_is_kept_and_who_misses_some_is_told(opened, monkeypatch):
    pds = opened()
    monkeypatch.setattr(firehose, "KEPT_BYTES", 10_000)
    did = pds.create_account("a.test", "secret").did
    with asyncio.Runner() as runner:
        slow = pds.firehose.listen(0)
        assert heard(slow, 1, runner.run)[0][0] == "#identity"
        for number in range(30):
            put(pds, did, f"k{number}", {"text": "x" * 1000})
        refusal = {"error": "ConsumerTooSlow", "message": "Stream consumer too slow"}
        assert heard(slow, 1, runner.run) == [("error", refusal)]
    sizes = [len(row["frame"]) for row in pds.database.all("select frame from event")]
    assert len(sizes) == 3
    assert sum(sizes) <= 10_000
    (kind, info), (_, oldest), (_, following) = heard(pds.firehose.listen(0), 3)
    assert (kind, info["name"], oldest["seq"]) == ("#info", "OutdatedCursor", 35 - len(sizes))
    assert following["seq"] == oldest["seq"] + 1
    put(pds, did, "larger", {"text": "x" * 20_000})
    assert [body["seq"] for _, body in heard(pds.firehose.listen(34), 1)] == [35]


def test_a_write_makes_and_tells_of_a_few_blocks_of_a_large_tree_only(monkeypatch):
    def key(number):
        return f"{THING}/k{number}".encode()

    cid, _ = tree.block_of(b"\xa0")
    large = tree.build(sorted((key(number), cid) for number in range(10_000)))
    tree.root(large)
    made, make = [], tree.block_of
    monkeypatch.setattr(tree, "block_of", lambda data: made.append(data) or make(data))
    for number in range(10_000, 10_020):
        grown = tree.put(large, key(number), cid)
        tree.root(grown)
        assert len(made) <= 20
        assert len(dict(tree.ways_around(grown, key(number)))) <= 30
        made.clear()
