"""Blobs in the sandbox's PDS and the reference one."""

from __future__ import annotations

import base64
import hashlib
import secrets

from pds_replies import RAW_CID, refused


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
