"""The process: ``python -m atdata_pipelines.sandbox.pds --folder DIR --port N --plc-port M``."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from atdata_pipelines.sandbox.pds.app import pds_app, plc_app
from atdata_pipelines.sandbox.pds.server import Pds


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def _by_port(pds: ASGIApp, plc: ASGIApp, plc_port: int) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = plc if scope.get("server", (None, None))[1] == plc_port else pds
        await chosen(scope, receive, send)

    return app


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="A small PDS and PLC directory on 127.0.0.1")
    parser.add_argument("--folder", type=Path, required=True, help="where accounts and records are kept")
    parser.add_argument("--port", type=int, required=True, help="port of the PDS")
    parser.add_argument("--plc-port", type=int, required=True, help="port of the PLC directory")
    given = parser.parse_args()

    pds = Pds(given.folder, f"http://127.0.0.1:{given.port}", os.environ.pop("PDS_INVITE_CODE", ""))
    app = _by_port(pds_app(pds), plc_app(pds), given.plc_port)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
    )
    try:
        uvicorn.Server(config).run(sockets=[_listen(given.port), _listen(given.plc_port)])
    finally:
        pds.database.close()


if __name__ == "__main__":
    main()
