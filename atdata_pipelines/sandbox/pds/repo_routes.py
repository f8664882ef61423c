"""``com.atproto.repo``: records and blobs."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from atdata_pipelines.sandbox.pds.blobs import MAX_BLOB_BYTES
from atdata_pipelines.sandbox.pds.errors import XrpcError, invalid
from atdata_pipelines.sandbox.pds.inputs import (
    Input,
    Parameters,
    account_named,
    read_body,
    read_input,
    sender,
)
from atdata_pipelines.sandbox.pds.repository import UNSET, Write
from atdata_pipelines.sandbox.pds.server import Pds

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
    return _written(did, write) | {"commit": commit.to_json()}


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
        swap=given.optional_cid("swapRecord") if given.has("swapRecord") else UNSET,
    )
    if current and current.cid == write.cid:
        return _written(did, write)
    commit = pds.repositories.commit(did, [write], given.optional_cid("swapCommit"))
    return _written(did, write) | {"commit": commit.to_json()}


async def delete_record(pds: Pds, request: Request) -> dict[str, Any]:
    """Remove a record; a success where there is none."""
    did, given = await _own_repo(pds, request)
    swap = given.optional_cid("swapRecord")
    write = Write("delete", given.text("collection"), given.text("rkey"), swap=UNSET if swap is None else swap)
    if pds.repositories.find(did, write.collection, write.rkey) is None:
        return {}
    return {"commit": pds.repositories.commit(did, [write], given.optional_cid("swapCommit")).to_json()}


async def apply_writes(pds: Pds, request: Request) -> dict[str, Any]:
    """Up to 200 writes in one commit."""
    did, given = await _own_repo(pds, request)
    asked = given.value("writes")
    if not isinstance(asked, list):
        raise invalid("Expected array value type at input/writes")
    validate = given.optional_bool("validate")
    writes = [_asked_write(pds, each, validate) for each in asked]
    commit = pds.repositories.commit(did, writes, given.optional_cid("swapCommit"))
    results = [
        {"$type": f"{_APPLY}#{write.action}Result"} | ({} if write.action == "delete" else _written(did, write))
        for write in writes
    ]
    return {"commit": commit.to_json(), "results": results}


async def get_record(pds: Pds, request: Request) -> dict[str, Any]:
    """One record, to anybody."""
    asked = Parameters(request)
    repo, collection, rkey = asked.text("repo"), asked.text("collection"), asked.text("rkey")
    account = pds.accounts.find(repo)
    if account is None:
        raise invalid("Could not locate record")
    record = pds.repositories.find(account.did, collection, rkey)
    if record is None or asked.optional_text("cid") not in (None, record.cid):
        uri = f"at://{account.did}/{collection}/{rkey}"
        raise XrpcError("RecordNotFound", f"Could not locate record: {uri}")
    return record.to_json()


async def list_records(pds: Pds, request: Request) -> dict[str, Any]:
    """A page of a collection, to anybody. The cursor comes with the last page too."""
    asked = Parameters(request)
    records = pds.repositories.list(
        account_named(pds, asked.text("repo")).did,
        asked.text("collection"),
        limit=asked.number("limit", default=50, largest=100),
        cursor=asked.optional_text("cursor"),
        reverse=asked.flag("reverse"),
    )
    page: dict[str, Any] = {"records": [record.to_json() for record in records]}
    return page | {"cursor": records[-1].rkey} if records else page


async def describe_repo(pds: Pds, request: Request) -> dict[str, Any]:
    """An account and its collections, to anybody."""
    account = pds.accounts.find(repo := Parameters(request).text("repo"))
    if account is None:
        raise XrpcError("RepoNotFound", f"Could not find repo for DID: {repo}")
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
    if not mime:
        raise invalid("Request encoding (Content-Type) required but not provided")
    data = await read_body(request, MAX_BLOB_BYTES)
    return {"blob": pds.blobs.upload(did, data, mime)}


async def _own_repo(pds: Pds, request: Request) -> tuple[str, Input]:
    account = sender(pds, request)
    given = await read_input(request)
    if given.text("repo").lower() not in (account.did, account.handle):
        raise XrpcError("AuthenticationRequired", "Authentication Required", status=401)
    return account.did, given


def _asked_write(pds: Pds, asked: Any, validate: bool | None) -> Write:
    if not isinstance(asked, dict):
        raise invalid("Expected object value type at input/writes")
    given = Input(asked)
    kind, collection = given.text("$type"), given.text("collection")
    match kind:
        case "com.atproto.repo.applyWrites#delete":
            return Write("delete", collection, given.text("rkey"))
        case "com.atproto.repo.applyWrites#create":
            rkey, value = given.optional_text("rkey"), given.value("value")
            return pds.repositories.prepare("create", collection, rkey, value, validate=validate)
        case "com.atproto.repo.applyWrites#update":
            rkey, value = given.text("rkey"), given.value("value")
            return pds.repositories.prepare("update", collection, rkey, value, validate=validate)
        case _:
            raise invalid(f"Action not supported: {kind}")


def _written(did: str, write: Write) -> dict[str, Any]:
    uri = f"at://{did}/{write.collection}/{write.rkey}"
    return {"uri": uri, "cid": write.cid, "validationStatus": "unknown"}
