"""The HTTP side: which route answers what, and how errors look."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from atdata_pipelines.sandbox.pds.firehose import error_frame
from atdata_pipelines.sandbox.pds.routes import PROCEDURES, QUERIES, Handler
from atdata_pipelines.sandbox.pds.server import Pds
from atdata_pipelines.sandbox.pds.syntax import XrpcError, internal, invalid

FIREHOSE = "com.atproto.sync.subscribeRepos"
POLICY = 1008
"""Why a WebSocket is closed after an error."""

_log = logging.getLogger("uvicorn.error")


def pds_app(pds: Pds) -> Starlette:
    """The PDS: ``/xrpc/...``."""
    routes = [
        Route("/xrpc/_health", _health),
        *(Route(f"/xrpc/{name}", _answer(pds, handler)) for name, handler in QUERIES.items()),
        *(Route(f"/xrpc/{name}", _answer(pds, handler), methods=["POST"]) for name, handler in PROCEDURES.items()),
        WebSocketRoute(f"/xrpc/{FIREHOSE}", _subscription(pds)),
        Route("/xrpc/{method}", _unknown, methods=["GET", "POST"]),
    ]
    anyone = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return Starlette(routes=routes, middleware=[anyone])


def plc_app(pds: Pds) -> Starlette:
    """The PLC directory: ``/{did}`` and ``/{did}/data`` (https://web.plc.directory/spec/v0.1/did-plc)."""

    def directory(show: Callable[[dict[str, Any]], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            account = pds.accounts.find(did := request.path_params["did"])
            if account is None or account.did != did:
                return JSONResponse({"message": f"DID not registered: {did}"}, 404)
            return show(pds.accounts.did_document(account))

        return answer

    def document(of: dict[str, Any]) -> Response:
        return JSONResponse(of, media_type="application/did+ld+json")

    def data(of: dict[str, Any]) -> Response:
        service, key = of["service"][0], of["verificationMethod"][0]["publicKeyMultibase"]
        return JSONResponse(
            {
                "did": of["id"],
                "alsoKnownAs": of["alsoKnownAs"],
                "rotationKeys": [],
                "verificationMethods": {"atproto": f"did:key:{key}"},
                "services": {"atproto_pds": {"type": service["type"], "endpoint": service["serviceEndpoint"]}},
            }
        )

    return Starlette(
        routes=[
            Route("/_health", _health),
            Route("/{did}", directory(document)),
            Route("/{did}/data", directory(data)),
        ]
    )


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


def _subscription(pds: Pds) -> Callable[[WebSocket], Awaitable[None]]:
    async def send(websocket: WebSocket) -> None:
        with suppress(WebSocketDisconnect):
            async for frame in _frames(pds, websocket.query_params.get("cursor")):
                await websocket.send_bytes(frame)
                # Who gets all the events of before leaves room for the others.
                await asyncio.sleep(0)
            await websocket.close(POLICY)

    async def serve(websocket: WebSocket) -> None:
        await websocket.accept()
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(send(websocket))
            while (await websocket.receive())["type"] != "websocket.disconnect":
                pass
            sending.cancel()

    return serve


async def _frames(pds: Pds, cursor: str | None) -> AsyncIterator[bytes]:
    if cursor and not re.fullmatch("[0-9]{1,16}", cursor):
        yield error_frame("InvalidRequest", "Expected integer value type: cursor")
        return
    async for frame in pds.firehose.listen(int(cursor) if cursor else None):
        yield frame


async def _health(request: Request) -> Response:
    return JSONResponse({"version": "atdata-pipelines sandbox"})


async def _unknown(request: Request) -> Response:
    if request.path_params["method"] in QUERIES.keys() | PROCEDURES.keys() | {FIREHOSE}:
        return _refusal(invalid(f"Incorrect HTTP method ({request.method})"))
    return _refusal(XrpcError("MethodNotImplemented", "Method Not Implemented", status=501))


def _refusal(error: XrpcError) -> Response:
    return JSONResponse({"error": error.error, "message": error.message}, error.status)
