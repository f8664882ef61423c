"""What this project relies on in a PDS, held against the sandbox's own and the reference one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets

import httpx
import pytest

RAW_CID = "bafkreiafaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifau"
CBOR_CID = "bafyreiafaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifau"
NOBODY = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


def refused(reply: httpx.Response, status: int, error: str) -> bool:
    return (reply.status_code, reply.json()["error"]) == (status, error)


# Record keys


@pytest.mark.parametrize("rkey", ["a", "A.b-c_d:e~f", "...", "pkg.mod.Class:1.0.0", "x" * 512])
def test_a_record_key_of_the_allowed_characters_is_taken(repo, rkey):
    assert repo.put(rkey, {}).status_code == 200
    assert repo.read(rkey).json()["uri"] == f"at://{repo.did}/{repo.collection}/{rkey}"


@pytest.mark.parametrize("rkey", [".", "..", "", "a@b", "a+b", "a/b", "a=b", "a,b", "a b", "é", "x" * 513])
def test_any_other_record_key_is_refused_by_every_write(repo, rkey):
    assert refused(repo.put(rkey, {}), 400, "InvalidRequest")
    assert refused(repo.create({}, rkey=rkey), 400, "InvalidRequest")
    assert refused(repo.delete(rkey), 400, "InvalidRequest")
    assert refused(repo.apply(repo.write("create", rkey, {})), 400, "InvalidRequest")


def test_a_created_record_without_a_key_gets_a_tid(repo):
    first, second = repo.create({"n": 1}).json(), repo.create({"n": 2}).json()
    keys = [made["uri"].rpartition("/")[2] for made in (first, second)]
    assert all(re.fullmatch("[2-7a-z]{13}", key) for key in keys)
    assert keys == sorted(set(keys))


@pytest.mark.parametrize("collection", ["bad", "a.b", "science.example.contract#main", ""])
def test_a_collection_that_is_no_nsid_is_refused(repo, collection):
    repo.collection = collection
    assert refused(repo.put("a", {}), 400, "InvalidRequest")
    assert refused(repo.delete("a"), 400, "InvalidRequest")
    assert refused(repo.list(), 400, "InvalidRequest")


# The data model. The CIDs were computed by the reference PDS: both must give them.


@pytest.mark.parametrize(
    ("record", "cid"),
    [
        ({}, "bafyreif4sdnxfhoa6h7hjds2ojzjjw6tvjjhgtb7yd6ep3f6sw7syupnyu"),
        (
            {"a": 0, "b": 23, "c": 24, "d": 255, "e": 256, "f": 65536, "g": 2**32, "h": 2**53 - 1},
            "bafyreifoin7zmnrpaanljruos7n3pmy52v67uhiuzxptalw2xreechtcwe",
        ),
        (
            {"a": -1, "b": -24, "c": -25, "d": -256, "e": -257, "f": -(2**53 - 1)},
            "bafyreifbovp2opo3ajftwdoowxcntrs3savfx2tw2zs7d2ql6colpq4rma",
        ),
        (
            {"b": 1, "a": None, "aa": True, "B": False, "": [], "bbb": {}},
            "bafyreiedbzfvtu7htoqgsj7znbwoflkba5wbrgny6e4nzxz2jnbbbov3xq",
        ),
        ({"é": "日本語", "😀": "😀"}, "bafyreig6dlrfcuxvzxs2iscwvsfwz4vymkknmdz3tgrgcqkf2dvxplbfna"),
        (
            {"x": {"$bytes": "aGVsbG8="}, "y": [{"$link": CBOR_CID}, {"$link": RAW_CID}]},
            "bafyreidohdzas7cddpco3ec2rayz3obkpgbneo5oeflzubn4qdwvpfly7a",
        ),
        (
            {"x": {"$bytes": base64.b64encode(b"\x01\x71\x12\x20" + b"\x05" * 32).decode()}},
            "bafyreiezfz4qo75ylryllt3omfyg2hmm3jgc6ubo7nqtpdiuzfgraxkof4",
        ),
    ],
    ids=["empty", "integers", "negative", "key order", "unicode", "bytes and links", "bytes like a CID"],
)
def test_a_record_has_the_cid_of_its_canonical_form(repo, record, cid):
    repo.collection = "science.example.contract"
    assert repo.put("r", record).json()["cid"] == cid
    assert repo.read("r").json()["cid"] == cid


def key_order(value):
    """The keys of each object, from the outermost to the innermost."""
    if isinstance(value, list):
        return [key_order(item) for item in value]
    return [(key, key_order(inner)) for key, inner in value.items()] if isinstance(value, dict) else None


def test_keys_come_back_in_the_order_of_dag_cbor_at_every_depth(repo):
    blob = repo.upload(b"x").json()["blob"]
    inner = {"text": 1, "image": {"$type": "x", "b": 1, "a": 2}, "n": 2, "maybe": None, "tags": []}
    record = {
        "$type": repo.collection, **inner, "é": 1, "zz": 1, "Z": 1,
        "list": [inner, {"aaa": inner, "bb": 1}],
        "numbers": dict.fromkeys(["a", "01", "9", "10", "b", "-1", "aa", "4294967295", "4294967294", "0"], 1),
        "link": {"$link": CBOR_CID}, "raw": {"$bytes": "aGVsbG8"}, "blob": blob,
    }  # fmt: skip
    repo.put("r", record).raise_for_status()
    (listed,) = repo.list().json()["records"]
    by_length = ["n", "tags", "text", "image", "maybe"]
    for value in (repo.read("r").json()["value"], listed["value"]):
        assert list(value) == ["Z", "n", "zz", "é", "raw", "blob", "link", "list", "tags", "text", "$type",
                               "image", "maybe", "numbers"]  # fmt: skip
        assert list(value["image"]) == ["a", "b", "$type"]
        assert list(value["list"][0]) == by_length
        assert list(value["list"][1]) == ["bb", "aaa"]
        assert list(value["list"][1]["aaa"]) == by_length
        assert list(value["numbers"]) == ["0", "9", "10", "4294967294", "a", "b", "-1", "01", "aa", "4294967295"]
        assert list(value["blob"]) == ["ref", "size", "$type", "mimeType"]
    repo.apply(repo.write("update", "r", record), repo.write("create", "s", record)).raise_for_status()
    assert key_order(repo.read("s").json()["value"]) == key_order(listed["value"])


def test_a_whole_number_with_a_fraction_part_is_an_integer(repo):
    assert repo.put("r", {"x": 2.0}).json()["cid"] == repo.put("r", {"x": 2}).json()["cid"]
    assert repo.read("r").json()["value"]["x"] == 2


@pytest.mark.parametrize("record", [{"x": 1.5}, {"x": [{"y": 0.1}]}], ids=["plain", "nested"])
def test_a_float_is_refused(repo, record):
    assert refused(repo.put("r", record), 400, "InvalidRequest")
    assert refused(repo.read("r"), 400, "RecordNotFound")


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**70])
def test_an_integer_beyond_53_bits_is_an_internal_error(repo, number):
    assert refused(repo.put("r", {"x": number}), 500, "InternalServerError")
    assert refused(repo.read("r"), 400, "RecordNotFound")


@pytest.mark.parametrize("text", ["aGVsbG8=", "aGVsbG8", "", "-_-_"])
def test_bytes_come_back_as_base64(repo, text):
    repo.put("r", {"x": {"$bytes": text}}).raise_for_status()
    sent = base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    came = repo.read("r").json()["value"]["x"]["$bytes"]
    assert base64.b64decode(came + "=" * (-len(came) % 4)) == sent


@pytest.mark.parametrize("record", [[1], "x", None, 5, {"$link": CBOR_CID}, {"$bytes": "aGVsbG8="}])
def test_a_record_must_be_an_object(repo, record):
    assert refused(repo.put("r", record), 400, "InvalidRequest")


def test_the_type_is_the_collection(repo):
    repo.put("r", {"a": 1}).raise_for_status()
    assert repo.read("r").json()["value"]["$type"] == repo.collection
    assert repo.put("r", {"a": 1, "$type": repo.collection}).json().get("commit") is None
    assert refused(repo.put("r", {"$type": "some.other.type"}), 400, "InvalidRequest")


def test_a_field_called_proto_is_refused(repo):
    assert refused(repo.put("r", {"fields": {"__proto__": {}}}), 400, "InvalidRequest")


def test_what_is_no_json_is_refused(repo):
    headers = {"authorization": f"Bearer {repo.access}", "content-type": "application/json"}
    reply = repo.http.post("com.atproto.repo.putRecord", content=b"{", headers=headers)
    assert reply.status_code == 400


@pytest.mark.parametrize("missing", ["repo", "collection", "rkey", "record"])
def test_a_missing_field_is_refused(repo, missing):
    given = {"repo": repo.did, "collection": repo.collection, "rkey": "r", "record": {}}
    del given[missing]
    assert refused(repo.post("repo.putRecord", **given), 400, "InvalidRequest")


def test_an_unknown_lexicon_is_accepted_unless_validation_is_asked_for(repo):
    assert repo.put("r", {"n": 1}).json()["validationStatus"] == "unknown"
    assert "validationStatus" not in repo.put("r", {"n": 2}, validate=False).json()
    assert refused(repo.put("r", {"n": 3}, validate=True), 400, "InvalidRequest")
    assert refused(repo.create({"n": 3}, validate=True), 400, "InvalidRequest")


# putRecord, createRecord, deleteRecord


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


# applyWrites


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


# Reading


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


# Identity


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


def test_a_handle_is_given_once(repo):
    given = {"handle": repo.handle, "password": "some password", "email": f"{secrets.token_hex(5)}@example.com"}
    assert refused(repo.post("server.createAccount", token="", **given), 400, "InvalidRequest")
    assert refused(repo.post("server.createAccount", token="", **(given | {"handle": "x"})), 400, "InvalidRequest")


# Sessions


def _login(repo, identifier, password):
    return repo.post("server.createSession", token="", identifier=identifier, password=password)


def _claims(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def test_one_logs_in_with_handle_or_did(repo):
    for identifier in (repo.handle, repo.did, repo.handle.upper()):
        session = _login(repo, identifier, repo.password).raise_for_status().json()
        assert (session["did"], session["handle"], session["active"]) == (repo.did, repo.handle, True)
        who = repo.get("server.getSession", token=session["accessJwt"]).json()
        assert (who["did"], who["handle"]) == (repo.did, repo.handle)


@pytest.mark.parametrize("password", ["wrong", "", "x" * 600])
def test_a_wrong_password_is_refused(repo, password):
    assert refused(_login(repo, repo.handle, password), 401, "AuthenticationRequired")


@pytest.mark.parametrize("identifier", ["nobody.test", NOBODY, "x"])
def test_an_unknown_account_is_refused_as_a_wrong_password_is(repo, identifier):
    assert refused(_login(repo, identifier, repo.password), 401, "AuthenticationRequired")


def test_tokens_last_two_hours_and_ninety_days(repo):
    access, refresh = _claims(repo.access), _claims(repo.refresh)
    assert access["exp"] - access["iat"] == 2 * 60 * 60
    assert refresh["exp"] - refresh["iat"] == 90 * 24 * 60 * 60


def test_a_write_needs_a_token(repo):
    given = {"repo": repo.did, "collection": repo.collection, "rkey": "r", "record": {}}
    assert refused(repo.post("repo.putRecord", token="", **given), 401, "AuthMissing")
    assert refused(repo.post("repo.putRecord", token="nonsense", **given), 400, "InvalidToken")
    assert refused(repo.post("repo.putRecord", token=repo.refresh, **given), 400, "InvalidToken")
    tampered = repo.access[:-4] + ("AAAA" if not repo.access.endswith("AAAA") else "BBBB")
    assert refused(repo.post("repo.putRecord", token=tampered, **given), 400, "InvalidToken")


def test_one_writes_into_the_own_repository_alone(repo, other_repo):
    given = {"collection": repo.collection, "rkey": "r", "record": {}}
    assert repo.post("repo.putRecord", repo=repo.handle, **given).status_code == 200
    assert refused(repo.post("repo.putRecord", repo=other_repo.did, **given), 401, "AuthenticationRequired")
    assert refused(repo.post("repo.putRecord", repo=NOBODY, **given), 403, "AccountNotFound")
    assert refused(repo.post("repo.putRecord", repo="x", **given), 400, "InvalidRequest")


def test_a_refresh_token_gives_a_new_pair_and_once_more_the_same_session(repo):
    old = _login(repo, repo.did, repo.password).json()["refreshJwt"]
    first = repo.post("server.refreshSession", token=old).json()
    assert first["did"] == repo.did
    assert _claims(first["refreshJwt"])["jti"] != _claims(old)["jti"]
    assert repo.get("server.getSession", token=first["accessJwt"]).status_code == 200
    # The reply may have been lost, so the old token works for a while and leads to the same successor.
    again = repo.post("server.refreshSession", token=old).json()
    assert _claims(again["refreshJwt"])["jti"] == _claims(first["refreshJwt"])["jti"]


def test_a_refresh_needs_a_refresh_token(repo):
    assert refused(repo.post("server.refreshSession", token=repo.access), 400, "InvalidToken")
    assert refused(repo.post("server.refreshSession", token="nonsense"), 400, "InvalidToken")
    assert refused(repo.post("server.refreshSession", token=""), 401, "AuthMissing")


def test_a_session_that_was_ended_is_not_refreshed(repo):
    token = _login(repo, repo.did, repo.password).json()["refreshJwt"]
    assert repo.post("server.deleteSession", token=token).status_code == 200
    assert refused(repo.post("server.refreshSession", token=token), 400, "ExpiredToken")


def test_the_atproto_client_works_and_goes_on_from_a_session_string(repo, server):
    from atproto import Client

    client = Client(server.url)
    client.login(repo.handle, repo.password, fetch_bsky_profile=False)
    made = client.com.atproto.repo.create_record(
        {"repo": repo.did, "collection": repo.collection, "record": {"n": 1}}
    )
    again = Client(server.url)
    again.login(session_string=client.export_session_string(), fetch_bsky_profile=False)
    again.com.atproto.server.refresh_session(headers={"Authorization": f"Bearer {repo.refresh}"})
    rkey = made.uri.rpartition("/")[2]
    read = again.com.atproto.repo.get_record({"repo": repo.did, "collection": repo.collection, "rkey": rkey})
    assert (read.cid, read.value.n) == (made.cid, 1)
    listed = again.com.atproto.repo.list_records({"repo": repo.did, "collection": repo.collection})
    assert [record.uri for record in listed.records] == [made.uri]
    for each in (client, again):
        each.request.close()


# Blobs


def _blob_cid(data):
    raw = b"\x01\x55\x12\x20" + hashlib.sha256(data).digest()
    return "b" + base64.b32encode(raw).decode().lower().rstrip("=")


def test_a_blob_is_readable_once_a_record_names_it(repo):
    data = secrets.token_bytes(32)
    blob = repo.upload(data).raise_for_status().json()["blob"]
    cid = _blob_cid(data)
    assert blob == {"$type": "blob", "ref": {"$link": cid}, "mimeType": "text/x-thing", "size": 32}
    assert refused(repo.blob(cid), 400, "InvalidRequest")
    repo.put("r", {"deep": [{"blob": blob}]}).raise_for_status()
    reply = repo.blob(cid)
    assert reply.content == data
    assert reply.headers["content-type"].startswith("text/x-thing")
    assert reply.headers["content-length"] == "32"


def test_a_blob_goes_with_the_last_record_that_names_it(repo):
    blob = repo.upload(b"shared by two").json()["blob"]
    cid = blob["ref"]["$link"]
    repo.put("one", {"b": blob}).raise_for_status()
    repo.put("two", {"b": [blob, blob]}).raise_for_status()
    repo.delete("one").raise_for_status()
    assert repo.blob(cid).status_code == 200
    repo.put("two", {"b": blob, "n": 1}).raise_for_status()
    assert repo.blob(cid).status_code == 200
    repo.put("two", {"b": None}).raise_for_status()
    assert refused(repo.blob(cid), 400, "InvalidRequest")
    assert refused(repo.put("three", {"b": blob}), 400, "BlobNotFound")


def test_a_blob_moves_between_records_within_one_commit(repo):
    blob = repo.upload(b"on the move").json()["blob"]
    repo.put("old", {"b": blob}).raise_for_status()
    repo.apply(repo.write("delete", "old"), repo.write("create", "new", {"b": blob})).raise_for_status()
    assert repo.blob(blob["ref"]["$link"]).content == b"on the move"


def test_a_blob_that_was_not_uploaded_is_refused_with_its_record(repo):
    blob = {"$type": "blob", "ref": {"$link": RAW_CID}, "mimeType": "image/png", "size": 10}
    assert refused(repo.put("r", {"b": blob}), 400, "BlobNotFound")
    assert refused(repo.read("r"), 400, "RecordNotFound")


def test_a_blob_must_be_described_as_it_was_uploaded(repo):
    blob = repo.upload(b"described").json()["blob"]
    assert refused(repo.put("r", {"b": blob | {"mimeType": "text/other"}}), 400, "InvalidMimeType")
    assert refused(repo.put("r", {"b": blob | {"size": 3}}), 400, "InvalidSize")


def test_a_blob_is_the_uploaders_own(repo, other_repo):
    blob = repo.upload(b"not yours").json()["blob"]
    assert refused(other_repo.put("r", {"b": blob}), 400, "BlobNotFound")


def test_a_blob_in_the_form_of_old_is_refused(repo):
    assert refused(repo.put("r", {"x": {"cid": RAW_CID, "mimeType": "image/png"}}), 400, "InvalidRequest")


def test_an_upload_needs_a_type_and_a_login(repo):
    assert refused(repo.upload(b"x", "nonsense"), 400, "InvalidRequest")
    reply = repo.http.post("com.atproto.repo.uploadBlob", content=b"x", headers={"content-type": "text/plain"})
    assert refused(reply, 401, "AuthMissing")


def test_a_blob_above_the_servers_limit_is_too_large(repo):
    assert repo.upload(b"z" * (5 * 2**20)).status_code == 200
    assert repo.upload(b"z" * (5 * 2**20 + 1)).status_code == 413
