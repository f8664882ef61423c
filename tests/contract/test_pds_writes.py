"""How records are written, alone and many at once, in the sandbox's PDS and the reference one."""

from __future__ import annotations

import json

import pytest

from pds_replies import refused


def test_putting_the_same_content_makes_no_commit(repo):
    first = repo.put("r", {"n": 1}).json()
    before = repo.commit()
    second = repo.put("r", {"n": 1}).json()
    assert "commit" in first
    assert "commit" not in second
    assert second["cid"] == first["cid"]
    assert repo.commit() == before


def test_every_change_is_a_commit_with_a_later_rev(repo):
    revs = [repo.commit()["rev"]]
    for number in range(3):
        commit = repo.put("r", {"n": number}).json()["commit"]
        assert commit == repo.commit()
        revs.append(commit["rev"])
    revs.append(repo.delete("r").json()["commit"]["rev"])
    assert revs == sorted(set(revs))


def test_swap_null_means_only_if_absent(repo):
    assert "commit" in repo.put("r", {"n": 1}, swapRecord=None).json()
    again = repo.put("r", {"n": 1}, swapRecord=None)
    assert (again.status_code, again.json().get("commit")) == (200, None)
    assert refused(repo.put("r", {"n": 2}, swapRecord=None), 400, "InvalidSwap")
    assert repo.read("r").json()["value"]["n"] == 1


def test_swap_with_a_cid_means_only_if_unchanged(repo):
    first = repo.put("r", {"n": 1}).json()["cid"]
    second = repo.put("r", {"n": 2}, swapRecord=first).json()["cid"]
    assert refused(repo.put("r", {"n": 3}, swapRecord=first), 400, "InvalidSwap")
    assert repo.read("r").json()["cid"] == second
    assert refused(repo.put("absent", {"n": 3}, swapRecord=first), 400, "InvalidSwap")
    assert repo.put("r", {"n": 2}, swapRecord=first).status_code == 200


def test_swap_commit_means_only_if_the_repository_is_unchanged(repo):
    head = repo.commit()["cid"]
    assert repo.put("r", {"n": 1}, swapCommit=head).status_code == 200
    assert refused(repo.put("r", {"n": 2}, swapCommit=head), 400, "InvalidSwap")
    assert refused(repo.create({"n": 2}, swapCommit=head), 400, "InvalidSwap")
    assert refused(repo.delete("r", swapCommit=head), 400, "InvalidSwap")
    assert refused(repo.apply(repo.write("create", "x", {}), swapCommit=head), 400, "InvalidSwap")
    assert repo.read("r").json()["value"]["n"] == 1


@pytest.mark.parametrize("value", ["zzz", 5, ""])
def test_a_swap_that_is_no_cid_is_refused(repo, value):
    assert repo.put("r", {}, swapRecord=value).status_code == 400


def test_null_is_refused_where_it_means_nothing(repo):
    assert refused(repo.put("r", {}, swapCommit=None), 400, "InvalidRequest")
    assert refused(repo.put("r", {}, validate=None), 400, "InvalidRequest")
    assert refused(repo.delete("r", swapRecord=None), 400, "InvalidRequest")


def test_creating_an_existing_record_is_an_internal_error_and_changes_nothing(repo):
    repo.create({"n": 1}, rkey="r").raise_for_status()
    before = repo.commit()
    assert repo.create({"n": 2}, rkey="r").status_code == 500
    assert repo.create({"n": 1}, rkey="r").status_code == 500
    assert repo.commit() == before


def test_deleting_a_missing_record_is_a_success_without_a_commit(repo):
    reply = repo.delete("nothing")
    assert (reply.status_code, reply.json()) == (200, {})


def test_deleting_with_another_cid_is_refused(repo):
    first = repo.put("r", {"n": 1}).json()["cid"]
    repo.put("r", {"n": 2}).raise_for_status()
    assert refused(repo.delete("r", swapRecord=first), 400, "InvalidSwap")
    assert repo.delete("r", swapRecord=repo.read("r").json()["cid"]).status_code == 200
    assert refused(repo.read("r"), 400, "RecordNotFound")


def test_two_hundred_writes_are_one_commit(repo):
    before = repo.commit()
    writes = [repo.write("create", f"k{number:03}", {"n": number}) for number in range(200)]
    reply = repo.apply(*writes).raise_for_status().json()
    assert reply["commit"] == repo.commit() != before
    assert len(reply["results"]) == 200
    assert len(repo.list(limit=100).json()["records"]) == 100


def test_more_than_two_hundred_writes_are_refused(repo):
    writes = [repo.write("create", f"k{number}", {}) for number in range(201)]
    assert refused(repo.apply(*writes), 400, "InvalidRequest")
    assert repo.list().json()["records"] == []


def test_results_come_in_the_order_of_the_writes(repo):
    repo.apply(repo.write("create", "a", {"n": 1}), repo.write("create", "b", {"n": 1}))
    reply = repo.apply(
        repo.write("delete", "b"), repo.write("update", "a", {"n": 2}), repo.write("create", "c", {"n": 3})
    )
    results = reply.json()["results"]
    kinds = [result["$type"].partition("#")[2] for result in results]
    assert kinds == ["deleteResult", "updateResult", "createResult"]
    assert results[1]["cid"] == repo.read("a").json()["cid"]
    assert results[2]["uri"] == repo.read("c").json()["uri"]


@pytest.mark.parametrize(("action", "rkey"), [("create", "there"), ("delete", "absent"), ("update", "absent")])
def test_one_impossible_write_undoes_all(repo, action, rkey):
    repo.put("there", {"n": 1}).raise_for_status()
    before = repo.commit()
    value = None if action == "delete" else {"n": 2}
    assert repo.apply(repo.write("create", "new", {}), repo.write(action, rkey, value)).status_code == 500
    assert refused(repo.read("new"), 400, "RecordNotFound")
    assert repo.commit() == before


def test_many_writes_follow_the_commit_that_the_ones_before_have_made(repo):
    head = repo.commit()["cid"]
    for number in range(3):
        made = (
            repo.apply(repo.write("create", f"r{number}", {"n": number}), swapCommit=head).raise_for_status().json()
        )
        assert made["commit"] == repo.commit()
        head = made["commit"]["cid"]
    repo.put("theirs", {}).raise_for_status()
    assert refused(repo.apply(repo.write("create", "r3", {}), swapCommit=head), 400, "InvalidSwap")
    assert refused(repo.read("r3"), 400, "RecordNotFound")


def test_that_another_commit_came_between_counts_more_than_what_it_has_made(repo):
    """So a create of what a rival made, or a request sent twice, is told as such and is no internal error."""
    head = repo.commit()["cid"]
    create = repo.write("create", "r", {"n": 1})
    repo.apply(create, swapCommit=head).raise_for_status()
    assert refused(repo.apply(create, swapCommit=head), 400, "InvalidSwap")
    repo.delete("r").raise_for_status()
    assert refused(repo.apply(repo.write("update", "r", {}), swapCommit=head), 400, "InvalidSwap")


def test_the_same_content_in_many_writes_is_a_commit_all_the_same(repo):
    repo.put("r", {"n": 1}).raise_for_status()
    before = repo.commit()
    made = repo.apply(repo.write("update", "r", {"n": 1}), swapCommit=before["cid"]).raise_for_status().json()
    assert made["commit"] == repo.commit() != before


def test_a_request_of_more_than_a_million_bytes_is_too_large(repo):
    empty = len(json.dumps({"repo": repo.did, "collection": repo.collection, "rkey": "r", "record": {"x": ""}}))
    # httpx writes JSON without spaces, so this is a little below the limit, and the next one above.
    assert repo.put("r", {"x": "y" * (1_000_000 - empty)}).status_code == 200
    assert repo.put("r", {"x": "y" * 1_000_001}).status_code == 413
    large = [repo.write("create", f"k{number}", {"x": "y" * 100_000}) for number in range(11)]
    assert repo.apply(*large).status_code == 413
    assert repo.read("r").json()["value"]["x"] == "y" * (1_000_000 - empty)


@pytest.mark.parametrize("change", [{"$type": "x"}, {"$type": None}, {"value": None}, {"collection": "bad"}])
def test_a_malformed_write_is_refused(repo, change):
    assert refused(repo.apply(repo.write("create", "r", {}) | change), 400, "InvalidRequest")
