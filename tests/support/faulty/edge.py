"""Every way out of a process, with somebody watching: a proxy before each service."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Mapping
from enum import Enum, auto
from types import TracebackType
from urllib.parse import urlsplit

from faulty.messages import (
    Answer,
    Call,
    read_answer,
    read_command,
    read_redis_value,
    read_request,
    request_bytes,
)

_LIMIT = 1 << 26


class Fault(Enum):
    """What a client may meet in place of an answer."""

    RESET = auto()
    SILENCE = auto()
    CUT = auto()
    """Half of the body, then a reset."""


class Rule:
    """Says what becomes of calls; this one lets all of them pass. Asked by one thread."""

    def asked(self, call: Call) -> Fault | Answer | None:
        """Before the service sees the call; anything but None is what the client gets instead."""
        return None

    def answered(self, call: Call, answer: Answer | None) -> Fault | Answer | None:
        """After the service has acted; ``answer`` is None for Redis. None: the client gets the answer."""
        return None


class Tally(Rule):
    """Lets all pass, and remembers it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def asked(self, call: Call) -> Fault | Answer | None:
        """Remember a call."""
        self.calls.append(call)
        return None

    def at(self, service: str, method: str | None = None) -> list[Call]:
        """The calls to a service, those of one method only where one is given."""
        return [call for call in self.calls if call.service == service and method in (None, call.method)]

    def sent(self, service: str) -> int:
        """Bytes of the bodies that were put at a service."""
        return sum(len(call.body) for call in self.at(service, "PUT"))


class Edge:
    """Proxies on 127.0.0.1 for some services.

    Args:
        services: URLs (``http://`` or ``redis://``) by name.

    Attributes:
        urls: The same, leading through the proxies.
        rule: What becomes of calls; may be changed at any time.
    """

    def __init__(self, services: Mapping[str, str], rule: Rule | None = None) -> None:
        self.rule = rule or Rule()
        self.urls: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edge", daemon=True)
        self._thread.start()
        for name, url in services.items():
            parts = urlsplit(url)
            port = asyncio.run_coroutine_threadsafe(self._listen(name, url), self._loop).result()
            self.urls[name] = f"{parts.scheme}://127.0.0.1:{port}{parts.path}"

    @property
    def places(self) -> str:
        """The proxies as ``ATDATA_ALLOW_PRIVATE`` takes them."""
        return ",".join(urlsplit(url).netloc for url in self.urls.values())

    def __enter__(self) -> Edge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self, name: str, url: str) -> int:
        parts = urlsplit(url)
        serve = self._serve_redis if parts.scheme == "redis" else self._serve_http

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            # A killed client, a service that has gone: the other side sees its connection end.
            gone = (OSError, EOFError, ValueError, IndexError, asyncio.CancelledError)
            with contextlib.suppress(*gone):
                await serve(name, (parts.hostname or "", parts.port or 0), reader, writer)
            self._tasks.discard(task)
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=_LIMIT)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        await asyncio.sleep(0)  # connections that were accepted begin
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)

    async def _serve_http(
        self, name: str, target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def go_on() -> None:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()

        while (call := await read_request(name, reader, go_on)) is not None:
            said = self.rule.asked(call)
            if said is None:
                answer = await _forward(call, target)
                said = self.rule.answered(call, answer) or answer
                if said is Fault.CUT:
                    writer.write(answer.encoded(call.method)[: -len(answer.body) // 2 or None])
                    await writer.drain()
            if isinstance(said, Fault):
                return await _fail(said, reader, writer)
            writer.write(said.encoded(call.method))
            await writer.drain()

    async def _serve_redis(
        self, name: str, target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        back, onward = await asyncio.open_connection(*target, limit=_LIMIT)
        with contextlib.closing(onward):
            while (call := await read_command(name, reader)) is not None:
                said = self.rule.asked(call)
                if said is None:
                    onward.write(call.raw)
                    reply = await read_redis_value(back)
                    if reply is None:
                        return
                    said = self.rule.answered(call, None)
                    if said is None:
                        writer.write(reply)
                        await writer.drain()
                        continue
                assert isinstance(said, Fault)
                return await _fail(said, reader, writer)


async def _forward(call: Call, target: tuple[str, int]) -> Answer:
    back, onward = await asyncio.open_connection(*target, limit=_LIMIT)
    with contextlib.closing(onward):
        onward.write(request_bytes(call))
        return await read_answer(back, call.method)


async def _fail(fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if fault is Fault.SILENCE:
        while await reader.read(1 << 16):
            pass  # until the client gives up
        return
    connection = writer.get_extra_info("socket")
    # Closing without lingering sends RST.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
