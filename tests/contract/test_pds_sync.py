"""What other servers take from the sandbox's PDS and the reference one: whole repositories, lists, limits."""

from __future__ import annotations

import pytest
from libipld import decode_car, encode_cid

from pds_replies import NOBODY, refused


def exported(repo, **more):
    answer = repo.get("sync.getRepo", did=repo.did, **more).raise_for_status()
    assert answer.headers["content-type"] == "application/vnd.ipld.car"
    header, blocks = decode_car(answer.content)
    return header["roots"], {encode_cid(cid): block for cid, block in blocks.items()}


def test_a_whole_repository_is_exported_with_its_latest_commit_and_every_record_once(new_repo):
    (root,), blocks = exported(new_repo)
    assert len(blocks) == 2
    cids = [new_repo.put(f"k{number % 40}", {"n": number}).raise_for_status().json()["cid"] for number in range(60)]
    new_repo.put("twin", {"n": 59}).raise_for_status()
    (root,), blocks = exported(new_repo)
    commit = blocks[encode_cid(root)]
    assert {"cid": encode_cid(root), "rev": commit["rev"]} == new_repo.commit()
    assert encode_cid(commit["data"]) in blocks
    kept = {cid: block["n"] for cid, block in blocks.items() if "n" in block}
    assert kept == {cid: number for number, cid in enumerate(cids) if number >= 20}


def test_an_export_since_a_revision_has_at_least_what_is_newer(repo):
    repo.put("old", {"n": 1}).raise_for_status()
    since = repo.commit()["rev"]
    cid = repo.put("new", {"n": 2}).raise_for_status().json()["cid"]
    (root,), blocks = exported(repo, since=since)
    assert {cid, encode_cid(root)} <= blocks.keys()


def test_the_status_of_a_repository_has_its_revision(repo):
    repo.put("r", {"n": 1}).raise_for_status()
    status = repo.get("sync.getRepoStatus", did=repo.did).raise_for_status().json()
    assert status == {"did": repo.did, "active": True, "rev": repo.commit()["rev"]}


@pytest.mark.parametrize("method", ["getRepo", "getRepoStatus", "listBlobs", "getLatestCommit"])
def test_a_repository_that_is_not_here_is_a_bad_request(repo, method):
    assert refused(repo.get(f"sync.{method}", did=NOBODY), 400, "RepoNotFound")
    assert refused(repo.get(f"sync.{method}", did="x"), 400, "InvalidRequest")
    assert refused(repo.get(f"sync.{method}"), 400, "InvalidRequest")


def test_the_blobs_that_records_name_are_listed_page_by_page(new_repo):
    assert new_repo.get("sync.listBlobs", did=new_repo.did).json() == {"cids": []}
    blobs = [new_repo.upload(b"%d" % number).json()["blob"] for number in range(6)]
    new_repo.put("one", {"b": blobs[:3]}).raise_for_status()
    new_repo.put("two", {"b": blobs[2:5]}).raise_for_status()
    listed, more = [], {}
    for size in (2, 2, 1):
        page = new_repo.get("sync.listBlobs", did=new_repo.did, limit=2, **more).raise_for_status().json()
        assert len(page["cids"]) == size
        listed += page["cids"]
        more = {"cursor": page["cursor"]}
    assert new_repo.get("sync.listBlobs", did=new_repo.did, **more).json() == {"cids": []}
    assert listed == sorted(blob["ref"]["$link"] for blob in blobs[:5])
    new_repo.delete("one").raise_for_status()
    assert len(new_repo.get("sync.listBlobs", did=new_repo.did).json()["cids"]) == 3
    for limit in (0, 1001, "x"):
        assert refused(new_repo.get("sync.listBlobs", did=new_repo.did, limit=limit), 400, "InvalidRequest")


def test_repositories_are_listed_page_by_page(repo, other_repo):
    whole = repo.get("sync.listRepos").raise_for_status().json()["repos"]
    listed, more = [], {}
    while page := repo.get("sync.listRepos", limit=1, **more).raise_for_status().json():
        listed += page["repos"]
        if not page["repos"]:
            break
        assert len(page["repos"]) == 1
        more = {"cursor": page["cursor"]}
    assert page == {"repos": []}
    assert [each["did"] for each in listed] == [each["did"] for each in whole]
    assert {repo.did, other_repo.did} <= {each["did"] for each in listed}
    assert all(set(each) == {"did", "head", "rev", "active"} for each in listed)
    assert refused(repo.get("sync.listRepos", cursor="x"), 400, "InvalidRequest")


def test_the_server_says_how_large_a_blob_may_be(repo):
    described = repo.get("server.describeServer").raise_for_status().json()
    assert repo.upload(bytes(described["blobUploadLimit"])).status_code == 200
    assert repo.upload(bytes(described["blobUploadLimit"] + 1)).status_code == 413
