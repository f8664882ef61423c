"""What the PDS answers, by the name of the XRPC method."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from atdata_pipelines.sandbox.pds.accounts import SandboxAccount
from atdata_pipelines.sandbox.pds.repository import MAX_BLOB_BYTES, UNSET, RepoWrite, check_key
from atdata_pipelines.sandbox.pds.server import Pds, RequestFields, bearer_token, read_body
from atdata_pipelines.sandbox.pds.syntax import XrpcError, invalid

Handler = Callable[[Pds, Request], Awaitable["dict[str, Any] | Response | None"]]

QUERIES: dict[str, Handler] = {}
PROCEDURES: dict[str, Handler] = {}


def _answers(table: dict[str, Handler], method: str) -> Callable[[Handler], Handler]:
    def keep(handler: Handler) -> Handler:
        table[f"com.atproto.{method}"] = handler
        return handler

    return keep


# Accounts, sessions, handles


@_answers(QUERIES, "server.describeServer")
async def describe_server(pds: Pds, request: Request) -> dict[str, Any]:
    """What the server offers."""
    return {
        "did": "did:web:localhost",
        "availableUserDomains": [".test"],
        "inviteCodeRequired": bool(pds.invite_code),
        "blobUploadLimit": MAX_BLOB_BYTES,
    }


@_answers(PROCEDURES, "server.createAccount")
async def create_account(pds: Pds, request: Request) -> dict[str, Any]:
    """A new account and its first session."""
    given = await RequestFields.of_body(request)
    code = given.optional_text("inviteCode") or ""
    if not hmac.compare_digest(code.encode(), pds.invite_code.encode()):
        raise XrpcError(
            "InvalidInviteCode", "Provided invite code not available" if code else "No invite code provided"
        )
    account = pds.create_account(given.text("handle"), given.text("password"))
    return _identity(pds, account) | pds.tokens.open_session(account.did)


@_answers(PROCEDURES, "server.createSession")
async def create_session(pds: Pds, request: Request) -> dict[str, Any]:
    """Log in."""
    given = await RequestFields.of_body(request)
    account = pds.accounts.login(given.text("identifier"), given.text("password"))
    return _identity(pds, account) | {"active": True} | pds.tokens.open_session(account.did)


@_answers(PROCEDURES, "server.refreshSession")
async def refresh_session(pds: Pds, request: Request) -> dict[str, Any]:
    """New tokens for a refresh token."""
    did, tokens = pds.tokens.rotate(bearer_token(request))
    account = pds.accounts.find(did)
    if account is None:
        raise invalid(f"Could not find user info for account: {did}")
    return _identity(pds, account) | {"active": True} | tokens


@_answers(QUERIES, "server.getSession")
async def get_session(pds: Pds, request: Request) -> dict[str, Any]:
    """Who is logged in."""
    return _identity(pds, pds.sender(request)) | {"active": True}


@_answers(PROCEDURES, "server.deleteSession")
async def delete_session(pds: Pds, request: Request) -> None:
    """Log out."""
    pds.tokens.revoke(bearer_token(request))


@_answers(QUERIES, "identity.resolveHandle")
async def resolve_handle(pds: Pds, request: Request) -> dict[str, Any]:
    """The DID of a handle of this server."""
    account = pds.accounts.find(RequestFields.of_query(request).handle())
    if account is None:
        raise XrpcError("HandleNotFound", "Unable to resolve handle")
    return {"did": account.did}


# Records and blobs


@_answers(PROCEDURES, "repo.createRecord")
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
    return write.to_json(did) | {"commit": commit._asdict()}


@_answers(PROCEDURES, "repo.putRecord")
async def put_record(pds: Pds, request: Request) -> dict[str, Any]:
    """A record under a key, new or changed; no commit where it is there already."""
    did, given = await _own_repo(pds, request)
    collection, rkey = given.text("collection"), given.text("rkey")
    current = pds.repositories.find(did, collection, rkey)
    swap = UNSET
    if given.has("swapRecord"):
        swap = None if given.value("swapRecord") is None else given.cid("swapRecord")
    write = pds.repositories.prepare(
        "update" if current else "create",
        collection,
        rkey,
        given.value("record"),
        validate=given.optional_bool("validate"),
        swap=swap,
    )
    if current and current["cid"] == write.cid:
        return write.to_json(did)
    commit = pds.repositories.commit(did, [write], given.optional_cid("swapCommit"))
    return write.to_json(did) | {"commit": commit._asdict()}


@_answers(PROCEDURES, "repo.deleteRecord")
async def delete_record(pds: Pds, request: Request) -> dict[str, Any]:
    """Remove a record; a success where there is none."""
    did, given = await _own_repo(pds, request)
    swap = given.optional_cid("swapRecord") or UNSET
    write = RepoWrite("delete", given.text("collection"), given.text("rkey"), swap=swap)
    check_key(write.collection, write.rkey)
    if pds.repositories.find(did, write.collection, write.rkey) is None:
        return {}
    return {"commit": pds.repositories.commit(did, [write], given.optional_cid("swapCommit"))._asdict()}


@_answers(PROCEDURES, "repo.applyWrites")
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
        {"$type": f"com.atproto.repo.applyWrites#{write.action}Result"}
        | ({} if write.action == "delete" else write.to_json(did))
        for write in writes
    ]
    return {"commit": commit._asdict(), "results": results}


@_answers(QUERIES, "repo.getRecord")
async def get_record(pds: Pds, request: Request) -> dict[str, Any]:
    """One record, to anybody."""
    given = RequestFields.of_query(request)
    repo, collection, rkey = given.repo(), given.text("collection"), given.text("rkey")
    cid = given.optional_cid("cid")
    check_key(collection, rkey)
    account = pds.accounts.find(repo)
    if account is None:
        raise invalid("Could not locate record")
    record = pds.repositories.find(account.did, collection, rkey)
    if record is None or cid not in (None, record["cid"]):
        uri = f"at://{account.did}/{collection}/{rkey}"
        raise XrpcError("RecordNotFound", f"Could not locate record: {uri}")
    return record


@_answers(QUERIES, "repo.listRecords")
async def list_records(pds: Pds, request: Request) -> dict[str, Any]:
    """A page of a collection, to anybody. The cursor comes with the last page too."""
    given = RequestFields.of_query(request)
    repo, collection = given.repo(), given.text("collection")
    check_key(collection, None)
    account = pds.accounts.find(repo)
    if account is None:
        raise invalid(f"Could not find repo: {repo}")
    records = pds.repositories.list(
        account.did,
        collection,
        limit=given.number("limit", default=50, largest=100),
        cursor=given.optional_text("cursor"),
        reverse=given.flag("reverse"),
    )
    page: dict[str, Any] = {"records": records}
    return page | {"cursor": records[-1]["uri"].rpartition("/")[2]} if records else page


@_answers(QUERIES, "repo.describeRepo")
async def describe_repo(pds: Pds, request: Request) -> dict[str, Any]:
    """An account and its collections, to anybody."""
    account = pds.account_of(RequestFields.of_query(request).repo())
    collections = pds.repositories.collections(account.did)
    return _identity(pds, account) | {"collections": collections, "handleIsCorrect": True}


@_answers(PROCEDURES, "repo.uploadBlob")
async def upload_blob(pds: Pds, request: Request) -> dict[str, Any]:
    """Bytes that a record is going to name."""
    did = pds.sender(request).did
    mime = request.headers.get("content-type", "").partition(";")[0].strip()
    if "/" not in mime:
        raise invalid("Request encoding (Content-Type) required but not provided")
    data = await read_body(request, MAX_BLOB_BYTES, too_large="PayloadTooLarge")
    return {"blob": pds.blobs.upload(did, data, mime)}


# What other servers ask


@_answers(QUERIES, "sync.getBlob")
async def get_blob(pds: Pds, request: Request) -> Response:
    """A blob's bytes, to anybody, never as something that a browser would run."""
    given = RequestFields.of_query(request)
    did, cid = given.did(), given.cid("cid")
    data, mime = pds.blobs.read(pds.account_of(did).did, cid)
    return Response(
        data,
        media_type=mime,
        headers={
            "x-content-type-options": "nosniff",
            "content-disposition": f'attachment; filename="{cid}"',
            "content-security-policy": "default-src 'none'; sandbox",
        },
    )


@_answers(QUERIES, "sync.getLatestCommit")
async def get_latest_commit(pds: Pds, request: Request) -> dict[str, Any]:
    """The state of a repository: changes with every write that changes something."""
    return pds.repositories.head(RequestFields.of_query(request).did())._asdict()


@_answers(QUERIES, "sync.getRecord")
async def prove_record(pds: Pds, request: Request) -> Response:
    """The proof of what is, or is not, under a key: the signed commit, the way down its tree, the record."""
    given = RequestFields.of_query(request)
    did, collection, rkey = given.did(), given.text("collection"), given.text("rkey")
    check_key(collection, rkey)
    return Response(pds.repositories.prove(did, collection, rkey), media_type="application/vnd.ipld.car")


@_answers(QUERIES, "sync.listRepos")
async def list_repos(pds: Pds, request: Request) -> dict[str, Any]:
    """Every repository here, on one page."""
    repos: list[dict[str, Any]] = []
    for account in pds.accounts.all():
        head = pds.repositories.head(account.did)
        repos.append({"did": account.did, "head": head.cid, "rev": head.rev, "active": True})
    return {"repos": repos}


def _identity(pds: Pds, account: SandboxAccount) -> dict[str, Any]:
    return {"did": account.did, "handle": account.handle, "didDoc": pds.accounts.did_document(account)}


async def _own_repo(pds: Pds, request: Request) -> tuple[str, RequestFields]:
    account = pds.sender(request)
    given = await RequestFields.of_body(request)
    named = pds.accounts.find(given.repo())
    if named is None:
        raise XrpcError("AccountNotFound", "Account not found", status=403)
    if named != account:
        raise XrpcError("AuthenticationRequired", "Authentication Required", status=401)
    return account.did, given


def _write_of(pds: Pds, write: Any, validate: bool | None) -> RepoWrite:
    if not isinstance(write, dict):
        raise invalid("Expected object value type at input/writes")
    given = RequestFields(write)
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
