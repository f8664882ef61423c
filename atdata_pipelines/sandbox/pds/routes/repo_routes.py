"""``com.atproto.repo``: records and blobs."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from atdata_pipelines.sandbox.pds.repositories.blob_store import MAX_BLOB_BYTES
from atdata_pipelines.sandbox.pds.repositories.repository import UNSET, RepoWrite, check_key
from atdata_pipelines.sandbox.pds.routes.inputs import (
    Input,
    Parameters,
    read_body,
    read_input,
    repo_not_found,
    sender,
)
from atdata_pipelines.sandbox.pds.server import Pds
from atdata_pipelines.sandbox.pds.xrpc_errors import XrpcError, invalid

_APPLY = "com.atproto.repo.applyWrites"


async def create_record(pds: Pds, request: Request) -> dict[str, Any]:
    """A new record; 500 where the key is taken."""
    did, given = await _own_repo(pds, request)
    write = pds.repositories.prepare(
        "create",
        given.text("collection"),
        given.optional_text("rkey"),
        given.value("record"),
        validate=given.optional_bool("validate"),
    )
    commit = pds.repositories.commit(did, [write], given.optional_cid("swapCommit"))
    return write.to_json(did) | {"commit": commit.to_json()}


async def put_record(pds: Pds, request: Request) -> dict[str, Any]:
    """A record under a key, new or changed; no commit where it is there already."""
    did, given = await _own_repo(pds, request)
    collection, rkey = given.text("collection"), given.text("rkey")
    current = pds.repositories.find(did, collection, rkey)
    write = pds.repositories.prepare(
        "update" if current else "create",
        collection,
        rkey,
        given.value("record"),
        validate=given.optional_bool("validate"),
        swap=given.cid_or_null("swapRecord") if given.has("swapRecord") else UNSET,
    )
    if current and current.cid == write.cid:
        return write.to_json(did)
    commit = pds.repositories.commit(did, [write], given.optional_cid("swapCommit"))
    return write.to_json(did) | {"commit": commit.to_json()}


async def delete_record(pds: Pds, request: Request) -> dict[str, Any]:
    """Remove a record; a success where there is none."""
    did, given = await _own_repo(pds, request)
    swap = given.optional_cid("swapRecord") or UNSET
    write = RepoWrite("delete", given.text("collection"), given.text("rkey"), swap=swap)
    check_key(write.collection, write.rkey)
    if pds.repositories.find(did, write.collection, write.rkey) is None:
        return {}
    return {"commit": pds.repositories.commit(did, [write], given.optional_cid("swapCommit")).to_json()}


async def apply_writes(pds: Pds, request: Request) -> dict[str, Any]:
    """Up to 200 writes in one commit."""
    did, given = await _own_repo(pds, request)
    listed = given.value("writes")
    if not isinstance(listed, list):
        raise invalid("Expected array value type at input/writes")
    validate = given.optional_bool("validate")
    writes = [_write_of(pds, each, validate) for each in listed]
    commit = pds.repositories.commit(did, writes, given.optional_cid("swapCommit"))
    results = [
        {"$type": f"{_APPLY}#{write.action}Result"} | ({} if write.action == "delete" else write.to_json(did))
        for write in writes
    ]
    return {"commit": commit.to_json(), "results": results}


async def get_record(pds: Pds, request: Request) -> dict[str, Any]:
    """One record, to anybody."""
    parameters = Parameters(request)
    repo, collection, rkey = parameters.repo("repo"), parameters.text("collection"), parameters.text("rkey")
    cid = parameters.optional_cid("cid")
    check_key(collection, rkey)
    account = pds.accounts.find(repo)
    if account is None:
        raise invalid("Could not locate record")
    record = pds.repositories.find(account.did, collection, rkey)
    if record is None or cid not in (None, record.cid):
        uri = f"at://{account.did}/{collection}/{rkey}"
        raise XrpcError("RecordNotFound", f"Could not locate record: {uri}")
    return record.to_json()


async def list_records(pds: Pds, request: Request) -> dict[str, Any]:
    """A page of a collection, to anybody. The cursor comes with the last page too."""
    parameters = Parameters(request)
    repo, collection = parameters.repo("repo"), parameters.text("collection")
    check_key(collection, None)
    account = pds.accounts.find(repo)
    if account is None:
        raise invalid(f"Could not find repo: {repo}")
    records = pds.repositories.list(
        account.did,
        collection,
        limit=parameters.number("limit", default=50, largest=100),
        cursor=parameters.optional_text("cursor"),
        reverse=parameters.flag("reverse"),
    )
    page: dict[str, Any] = {"records": [record.to_json() for record in records]}
    return page | {"cursor": records[-1].rkey} if records else page


async def describe_repo(pds: Pds, request: Request) -> dict[str, Any]:
    """An account and its collections, to anybody."""
    account = pds.accounts.find(repo := Parameters(request).repo("repo"))
    if account is None:
        raise repo_not_found(repo)
    return {
        "handle": account.handle,
        "did": account.did,
        "didDoc": pds.accounts.did_document(account),
        "collections": pds.repositories.collections(account.did),
        "handleIsCorrect": True,
    }


async def upload_blob(pds: Pds, request: Request) -> dict[str, Any]:
    """Bytes that a record is going to name."""
    did = sender(pds, request).did
    mime = request.headers.get("content-type", "").partition(";")[0].strip()
    if "/" not in mime:
        raise invalid("Request encoding (Content-Type) required but not provided")
    data = await read_body(request, MAX_BLOB_BYTES, too_large="PayloadTooLarge")
    return {"blob": pds.blobs.upload(did, data, mime)}


async def _own_repo(pds: Pds, request: Request) -> tuple[str, Input]:
    account = sender(pds, request)
    given = await read_input(request)
    named = pds.accounts.find(given.repo("repo"))
    if named is None:
        raise XrpcError("AccountNotFound", "SandboxAccount not found", status=403)
    if named != account:
        raise XrpcError("AuthenticationRequired", "Authentication Required", status=401)
    return account.did, given


def _write_of(pds: Pds, write: Any, validate: bool | None) -> RepoWrite:
    if not isinstance(write, dict):
        raise invalid("Expected object value type at input/writes")
    given = Input(write)
    kind, collection = given.text("$type"), given.text("collection")
    match kind:
        case "com.atproto.repo.applyWrites#delete":
            check_key(collection, given.text("rkey"))
            return RepoWrite("delete", collection, given.text("rkey"))
        case "com.atproto.repo.applyWrites#create":
            rkey, value = given.optional_text("rkey"), given.value("value")
            return pds.repositories.prepare("create", collection, rkey, value, validate=validate)
        case "com.atproto.repo.applyWrites#update":
            rkey, value = given.text("rkey"), given.value("value")
            return pds.repositories.prepare("update", collection, rkey, value, validate=validate)
        case _:
            raise invalid(f"Action not supported: {kind}")
