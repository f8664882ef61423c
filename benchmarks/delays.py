"""A service as if it were far away: a proxy that lets bytes wait, in a process of its own.

A connection pays one round trip before its first bytes go on, as a handshake does; after that every byte takes half
a round trip each way. All connections of a service share one link, whose rate may be bounded in each direction.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

_WINDOW = 8 << 20
"""Bytes that may be on their way on one connection: at 40 ms it could carry 200 MB a second."""


class _Link:
    """One direction of the way to a service: when bytes that are sent now arrive."""

    def __init__(self, seconds: float, rate: float | None) -> None:
        self._seconds = seconds
        self._rate = rate
        self._free = 0.0

    def arrival(self, now: float, count: int) -> float:
        if self._rate is None:
            return now + self._seconds
        self._free = max(now, self._free) + count / self._rate
        return self._free + self._seconds


class _End(asyncio.Protocol):
    """One end of a connection: what it receives goes to ``other``, in order, when it is due."""

    def __init__(self, link: _Link, made: Callable[[_End], None] | None = None) -> None:
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self.not_before = 0.0
        self._link = link
        self._made = made
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        self._later(data)
        self._bytes += len(data)
        if self._bytes > _WINDOW and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._later(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._later(b"")

    def _later(self, data: bytes) -> None:
        now = max(self._loop.time(), self.not_before)
        self._waiting.append(data)
        self._loop.call_at(self._link.arrival(now, len(data)), self._pass_on)

    def _pass_on(self) -> None:
        data = self._waiting.popleft()
        if self._bytes > _WINDOW >= self._bytes - len(data) and self.transport is not None:
            self.transport.resume_reading()
        self._bytes -= len(data)
        way = self.other.transport if self.other is not None else None
        if way is None or way.is_closing():
            return
        if data:
            way.write(data)
        else:
            way.close()


async def _serve(target: str, round_trip: float, rate: float | None) -> int:
    """Start a proxy before a service; its port."""
    loop, host, port = asyncio.get_running_loop(), urlsplit(target).hostname, urlsplit(target).port
    there, back = _Link(round_trip / 2, rate), _Link(round_trip / 2, rate)

    def met(near: _End) -> None:
        near.not_before = loop.time() + round_trip
        near.transport.pause_reading()  # pyright: ignore[reportOptionalMemberAccess]
        tasks.add(loop.create_task(joined(near)))

    async def joined(near: _End) -> None:
        _, far = await loop.create_connection(partial(_End, back), host, port)
        near.other, far.other = far, near
        near.transport.resume_reading()  # pyright: ignore[reportOptionalMemberAccess]

    tasks = set[asyncio.Task[None]]()
    server = await loop.create_server(partial(_End, there, met), "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]


async def _main(services: list[str]) -> None:
    ports = []
    for service in services:
        target, round_trip, rate = service.split(",")
        ports.append(await _serve(target, float(round_trip), float(rate) or None))
    print(*ports, flush=True)
    # Until whoever has started it ends.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def far(*services: tuple[str, float, float | None]) -> Iterator[list[str]]:
    """Proxies before services; their URLs. ``services``: URL, seconds of a round trip, bytes a second or None."""
    given = [f"{url},{round_trip},{rate or 0}" for url, round_trip, rate in services]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.delays", *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        ports = process.stdout.readline().split()
        yield [_moved(url, port) for (url, *_), port in zip(services, ports, strict=True)]
        process.stdin.close()


def _moved(url: str, port: str) -> str:
    """The same URL at a port of this machine, with the user and the password that it names."""
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    return urlsplit(url)._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
