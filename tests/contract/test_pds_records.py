"""What a record may be, and be called, in the sandbox's PDS and the reference one."""

from __future__ import annotations

import base64
import re

import pytest

from pds_replies import CBOR_CID, RAW_CID, refused


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
