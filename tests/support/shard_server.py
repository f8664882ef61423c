"""A web server of files that knows ETags and parts, or does not, and counts what it is asked and what it sends."""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

PIECE = 1 << 15


@dataclass
class File:
    """What lies at a path, and how it is served. ``cut``: the connection ends after so many bytes of an answer."""

    data: bytes
    etag: str | None = None
    ranges: bool = True
    length: bool = True
    head: bool = True
    cut: int | None = None
    status: int | None = None

    def __post_init__(self) -> None:
        if self.etag is None:
            self.etag = f'"{hashlib.md5(self.data).hexdigest()}"'


class Asked(NamedTuple):
    """A request; ``at`` is the byte from which on it wants the file."""

    method: str
    path: str
    at: int


class ShardServer:
    """The server.

    Attributes:
        files: By path; may be changed at any time.
        asked: All requests.
        sent: Bytes of bodies, by path.
        seconds: Waited before each piece of a body.
        passed: Called before each piece.
    """

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.asked: list[Asked] = []
        self.sent: Counter[str] = Counter()
        self.seconds = 0.0
        self.passed: Callable[[], object] = lambda: None
        self._busy, self._lock = 0, threading.Lock()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def setup(self) -> None:
                super().setup()
                # Else all of a shard is sent before anybody takes it.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)

            def do_GET(self) -> None:
                server._answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def process_request(self, request: Any, client_address: Any) -> None:
                with server._lock:
                    server._busy += 1
                super().process_request(request, client_address)

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                super().process_request_thread(request, client_address)
                with server._lock:
                    server._busy -= 1

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # whoever asked is gone

        self._server = Server(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self._server.server_port}"

    def put(self, path: str, data: bytes, **how: object) -> str:
        """Serve a file; its URL."""
        self.files[path] = File(data, **how)  # pyright: ignore[reportArgumentType]
        return f"http://{self.place}{path}"

    def gets(self, path: str | None = None) -> list[Asked]:
        """The requests of bytes."""
        return [each for each in self.asked if each.method == "GET" and path in (None, each.path)]

    def settle(self) -> None:
        """Wait until everything was answered that was asked by now, also by processes that are gone."""
        # It is taken after all that wait to be.
        with socket.create_connection(tuple(self.place.split(":"))) as last:
            last.shutdown(socket.SHUT_WR)
            assert last.recv(1) == b""
        while self._busy:
            time.sleep(0.01)

    @contextmanager
    def serving(self) -> Iterator[ShardServer]:
        """Answer until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        path = unquote(request.path)
        file = self.files.get(path)
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        at = int(wanted[1]) if wanted else 0
        self.asked.append(Asked(request.command, path, at))
        if file is None or file.status or (request.command == "HEAD" and not file.head):
            request.send_error((file and file.status) or (405 if file else 404))
            return
        if not file.ranges or request.headers.get("If-Range", file.etag) != file.etag:
            at = 0
        request.send_response(206 if at else 200)
        if file.etag:
            request.send_header("ETag", file.etag)
        if at:
            request.send_header("Content-Range", f"bytes {at}-{len(file.data) - 1}/{len(file.data)}")
        if file.length:
            request.send_header("Content-Length", str(len(file.data) - at))
        request.end_headers()
        if request.command == "GET":
            self._send(request, path, file.data[at:][: file.cut])

    def _send(self, request: http.server.BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        for start in range(0, len(body), PIECE):
            self.passed()
            time.sleep(self.seconds)
            piece = body[start : start + PIECE]
            request.wfile.write(piece)
            self.sent[path] += len(piece)
