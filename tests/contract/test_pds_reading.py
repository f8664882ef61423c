"""What anybody reads in the sandbox's PDS and the reference one, and who is who."""

from __future__ import annotations

import secrets

import httpx
import pytest

from pds_replies import CBOR_CID, NOBODY, refused


def test_anybody_reads_a_record_by_did_or_handle(repo):
    repo.put("r", {"n": 1}).raise_for_status()
    by_did, by_handle = repo.read("r").json(), repo.read("r", repo=repo.handle).json()
    assert by_did == by_handle
    assert by_did["uri"] == f"at://{repo.did}/{repo.collection}/r"


def test_a_missing_record_is_a_bad_request(repo):
    assert refused(repo.read("nothing"), 400, "RecordNotFound")
    repo.put("r", {"n": 1}).raise_for_status()
    assert refused(repo.read("r", cid=CBOR_CID), 400, "RecordNotFound")


@pytest.mark.parametrize("who", [NOBODY, "nobody.test", "x"])
def test_a_repository_of_somebody_unknown_is_a_bad_request(repo, who):
    assert refused(repo.read("r", repo=who), 400, "InvalidRequest")
    assert refused(repo.list(repo=who), 400, "InvalidRequest")


def test_records_are_listed_highest_key_first(repo):
    repo.apply(*(repo.write("create", key, {"k": key}) for key in ("b", "d", "a", "c"))).raise_for_status()
    assert [record["value"]["k"] for record in repo.list().json()["records"]] == list("dcba")
    assert [record["value"]["k"] for record in repo.list(reverse="true").json()["records"]] == list("abcd")
    assert set(repo.list().json()["records"][0]) == {"uri", "cid", "value"}


@pytest.mark.parametrize("reverse", ["true", "false"])
def test_pages_follow_the_cursor_which_comes_with_the_last_page_too(repo, reverse):
    keys = [f"k{number}" for number in range(5)]
    repo.apply(*(repo.write("create", key, {"k": key}) for key in keys)).raise_for_status()
    seen, more = [], {}
    for size in (2, 2, 1):
        page = repo.list(limit=2, reverse=reverse, **more).json()
        assert len(page["records"]) == size
        seen += [record["value"]["k"] for record in page["records"]]
        more = {"cursor": page["cursor"]}
    assert repo.list(limit=2, reverse=reverse, **more).json() == {"records": []}
    assert seen == (keys if reverse == "true" else keys[::-1])


@pytest.mark.parametrize("limit", [0, 101, -1, "x", "1.5"])
def test_a_page_holds_one_to_a_hundred_records(repo, limit):
    assert refused(repo.list(limit=limit), 400, "InvalidRequest")


def test_a_description_names_the_collections_that_hold_records(repo):
    repo.put("r", {}).raise_for_status()
    described = repo.get("repo.describeRepo", repo=repo.handle).json()
    assert repo.collection in described["collections"]
    assert (described["did"], described["handle"]) == (repo.did, repo.handle)
    assert described["handleIsCorrect"] is True
    repo.delete("r").raise_for_status()
    assert repo.collection not in repo.get("repo.describeRepo", repo=repo.did).json()["collections"]
    assert refused(repo.get("repo.describeRepo", repo=NOBODY), 400, "RepoNotFound")


def test_the_last_commit_of_an_unknown_repository_is_a_bad_request(repo):
    assert refused(repo.get("sync.getLatestCommit", did=NOBODY), 400, "RepoNotFound")


def test_every_repository_is_listed(repo):
    listed, more = [], {}
    while True:
        page = repo.get("sync.listRepos", limit=1000, **more).json()
        listed += page["repos"]
        if not page["repos"] or "cursor" not in page:
            break
        more = {"cursor": page["cursor"]}
    mine = next(each for each in listed if each["did"] == repo.did)
    assert (mine["head"], mine["rev"]) == (repo.commit()["cid"], repo.commit()["rev"])


def test_a_handle_resolves_to_its_did(repo):
    assert repo.get("identity.resolveHandle", handle=repo.handle).json() == {"did": repo.did}
    assert repo.get("identity.resolveHandle", handle=repo.handle.upper()).json() == {"did": repo.did}
    assert refused(repo.get("identity.resolveHandle", handle="nobody.test"), 400, "HandleNotFound")
    assert refused(repo.get("identity.resolveHandle", handle="x"), 400, "InvalidRequest")


def test_the_plc_directory_tells_handle_and_server_of_a_did(repo, server):
    document = httpx.get(f"{server.plc_url}/{repo.did}").json()
    assert document["id"] == repo.did
    assert document["alsoKnownAs"] == [f"at://{repo.handle}"]
    assert [(each["id"], each["serviceEndpoint"]) for each in document["service"]] == [("#atproto_pds", server.url)]
    data = httpx.get(f"{server.plc_url}/{repo.did}/data").json()
    assert data["services"]["atproto_pds"]["endpoint"] == server.url
    assert httpx.get(f"{server.plc_url}/{NOBODY}").status_code == 404


def test_a_handle_is_given_once(repo, server):
    given = {
        "handle": repo.handle,
        "password": "some password",
        "email": f"{secrets.token_hex(5)}@example.com",
    } | server.invite
    assert refused(repo.post("server.createAccount", token="", **given), 400, "InvalidRequest")
    assert refused(repo.post("server.createAccount", token="", **(given | {"handle": "x"})), 400, "InvalidRequest")
