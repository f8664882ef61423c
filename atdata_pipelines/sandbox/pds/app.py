"""The HTTP side: which route answers what, and how errors look."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from atdata_pipelines.sandbox.pds.routes import repo_routes, session_routes, sync_routes
from atdata_pipelines.sandbox.pds.server import Pds
from atdata_pipelines.sandbox.pds.xrpc_errors import XrpcError, internal, invalid

Handler = Callable[[Pds, Request], Awaitable["dict[str, Any] | Response | None"]]

QUERIES: dict[str, Handler] = {
    "com.atproto.server.describeServer": session_routes.describe_server,
    "com.atproto.server.getSession": session_routes.get_session,
    "com.atproto.identity.resolveHandle": session_routes.resolve_handle,
    "com.atproto.repo.getRecord": repo_routes.get_record,
    "com.atproto.repo.listRecords": repo_routes.list_records,
    "com.atproto.repo.describeRepo": repo_routes.describe_repo,
    "com.atproto.sync.getBlob": sync_routes.get_blob,
    "com.atproto.sync.getLatestCommit": sync_routes.get_latest_commit,
    "com.atproto.sync.getRecord": sync_routes.get_record,
    "com.atproto.sync.listRepos": sync_routes.list_repos,
}
PROCEDURES: dict[str, Handler] = {
    "com.atproto.server.createAccount": session_routes.create_account,
    "com.atproto.server.createSession": session_routes.create_session,
    "com.atproto.server.refreshSession": session_routes.refresh_session,
    "com.atproto.server.deleteSession": session_routes.delete_session,
    "com.atproto.repo.createRecord": repo_routes.create_record,
    "com.atproto.repo.putRecord": repo_routes.put_record,
    "com.atproto.repo.deleteRecord": repo_routes.delete_record,
    "com.atproto.repo.applyWrites": repo_routes.apply_writes,
    "com.atproto.repo.uploadBlob": repo_routes.upload_blob,
}

_log = logging.getLogger("uvicorn.error")


def pds_app(pds: Pds) -> Starlette:
    """The PDS: ``/xrpc/...``."""
    routes = [
        Route("/xrpc/_health", _health),
        *(Route(f"/xrpc/{name}", _answer(pds, handler)) for name, handler in QUERIES.items()),
        *(Route(f"/xrpc/{name}", _answer(pds, handler), methods=["POST"]) for name, handler in PROCEDURES.items()),
        Route("/xrpc/{method}", _unknown, methods=["GET", "POST"]),
    ]
    anyone = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return Starlette(routes=routes, middleware=[anyone])


def plc_app(pds: Pds) -> Starlette:
    """The PLC directory: ``/{did}`` and ``/{did}/data`` (https://web.plc.directory/spec/v0.1/did-plc)."""

    async def document(request: Request) -> Response:
        account = pds.accounts.find(did := request.path_params["did"])
        if account is None or account.did != did:
            return JSONResponse({"message": f"DID not registered: {did}"}, 404)
        return JSONResponse(pds.accounts.did_document(account), media_type="application/did+ld+json")

    async def data(request: Request) -> Response:
        account = pds.accounts.find(did := request.path_params["did"])
        if account is None or account.did != did:
            return JSONResponse({"message": f"DID not registered: {did}"}, 404)
        document = pds.accounts.did_document(account)
        service = document["service"][0]
        return JSONResponse(
            {
                "did": did,
                "alsoKnownAs": document["alsoKnownAs"],
                "rotationKeys": [],
                "verificationMethods": {"atproto": f"did:key:{pds.keys.multikey(did)}"},
                "services": {"atproto_pds": {"type": service["type"], "endpoint": service["serviceEndpoint"]}},
            }
        )

    return Starlette(routes=[Route("/_health", _health), Route("/{did}", document), Route("/{did}/data", data)])


def _answer(pds: Pds, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            reply = await handler(pds, request)
        except XrpcError as error:
            return _refusal(error)
        except Exception:
            _log.exception("%s failed", request.url.path)
            return _refusal(internal())
        if isinstance(reply, Response):
            return reply
        return Response(status_code=200) if reply is None else JSONResponse(reply)

    return answer


async def _health(request: Request) -> Response:
    return JSONResponse({"version": "atdata-pipelines sandbox"})


async def _unknown(request: Request) -> Response:
    if request.path_params["method"] in QUERIES.keys() | PROCEDURES.keys():
        return _refusal(invalid(f"Incorrect HTTP method ({request.method})"))
    return _refusal(XrpcError("MethodNotImplemented", "Method Not Implemented", status=501))


def _refusal(error: XrpcError) -> Response:
    return JSONResponse({"error": error.error, "message": error.message}, error.status)
