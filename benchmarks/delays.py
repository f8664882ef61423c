"""Services as if they were far away: a proxy that lets bytes wait, in a process of its own.

A connection pays one round trip before its first bytes go on, as a handshake does; after that every byte takes half
a round trip each way. All connections to a service share one link, whose rate may be bounded in each direction.
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
from typing import NamedTuple
from urllib.parse import urlsplit

_WINDOW = 8 << 20
"""Bytes that may be on their way on one connection, in one direction."""
_BUFFER = 1 << 20
"""Bytes that wait for a receiver who does not take them, before its sender has to wait."""
_QUEUE = 0.02
"""Seconds of bytes that may wait for a link: as with a router, who sends more than that has to wait."""


class _Link:
    """One direction of the way to a service: when bytes that are sent now arrive, and who may send."""

    def __init__(self, seconds: float, rate: float | None) -> None:
        self._seconds = seconds
        self._rate = rate
        self._free = 0.0
        self._held: deque[_End] = deque()
        self._loop = asyncio.get_running_loop()

    def arrival(self, count: int) -> float:
        now = self._loop.time()
        if self._rate is None:
            return now + self._seconds
        self._free = max(now, self._free) + count / self._rate
        return self._free + self._seconds

    def hold(self, end: _End) -> None:
        """Let an end wait while the link has enough to send; whoever waits longest goes on first."""
        if self._free - self._loop.time() <= _QUEUE:
            return
        end.stop("link")
        self._held.append(end)
        if len(self._held) == 1:
            self._loop.call_at(self._free - _QUEUE, self._release)

    def _release(self) -> None:
        self._held.popleft().go("link")
        if self._held:
            self._loop.call_at(self._free - _QUEUE, self._release)


class _End(asyncio.Protocol):
    """One end of a connection: what it receives goes to ``other``, in order, when it is due."""

    def __init__(
        self,
        link: _Link,
        made: Callable[[_End], None] = lambda end: None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self._link = link
        self._made = made
        self._lost = lost
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._stops: set[str] = set()
        self._loop = asyncio.get_running_loop()

    def stop(self, why: str) -> None:
        """Receive nothing for now; there may be several reasons."""
        self._stops.add(why)
        if self.transport is not None:
            self.transport.pause_reading()

    def go(self, why: str) -> None:
        """That reason is gone."""
        self._stops.discard(why)
        if not self._stops and self.transport is not None:
            self.transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(_BUFFER)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        self._later(data)
        self._bytes += len(data)
        if self._bytes > _WINDOW:
            self.stop("window")
        self._link.hold(self)

    def eof_received(self) -> bool:
        self._later(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._later(b"")
        self._lost()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.stop("receiver")

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.go("receiver")

    def _later(self, data: bytes) -> None:
        self._waiting.append(data)
        self._loop.call_at(self._link.arrival(len(data)), self._pass_on)

    def _pass_on(self) -> None:
        data = self._waiting.popleft()
        self._bytes -= len(data)
        if "window" in self._stops and self._bytes <= _WINDOW:
            self.go("window")
        way = self.other.transport if self.other is not None else None
        if way is None or way.is_closing():
            return
        if data:
            way.write(data)
        else:
            way.close()


class _Proxy:
    """What stands before a service.

    Attributes:
        most: Connections that were open at a time, at most.
    """

    def __init__(self, target: str, round_trip: float, rate: float | None) -> None:
        self.most = 0
        self._target = urlsplit(target)
        self._round_trip = round_trip
        self._there, self._back = _Link(round_trip / 2, rate), _Link(round_trip / 2, rate)
        self._open = 0
        self._tasks = set[asyncio.Task[None]]()
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> int:
        """Begin; the port."""
        made = partial(_End, self._there, self._met, self._left)
        server = await self._loop.create_server(made, "127.0.0.1", 0, backlog=1_000)
        return server.sockets[0].getsockname()[1]

    def _met(self, near: _End) -> None:
        self._open += 1
        self.most = max(self.most, self._open)
        near.stop("handshake")
        task = self._loop.create_task(self._joined(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _left(self) -> None:
        self._open -= 1

    async def _joined(self, near: _End) -> None:
        done = self._loop.time() + self._round_trip
        made = partial(_End, self._back)
        _, far = await self._loop.create_connection(made, self._target.hostname, self._target.port)
        near.other, far.other = far, near
        self._loop.call_at(done, near.go, "handshake")


async def _main(services: list[str]) -> None:
    proxies: list[_Proxy] = []
    for service in services:
        target, round_trip, rate = service.split(",")
        proxies.append(_Proxy(target, float(round_trip), float(rate) or None))
    print(*[await proxy.serve() for proxy in proxies], flush=True)
    # Until whoever has started it ends.
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        print(*[proxy.most for proxy in proxies], flush=True)


class Service(NamedTuple):
    """A service, and how far away it is to be.

    Attributes:
        url: Where it is.
        round_trip: Seconds.
        rate: Bytes a second in each direction, on all connections together; None: as they come.
    """

    url: str
    round_trip: float
    rate: float | None = None


class Far:
    """Services that are far away.

    Attributes:
        urls: Where they are found, in the order in which they were given.
    """

    def __init__(self, urls: list[str], process: subprocess.Popen[str]) -> None:
        self.urls = urls
        self._process = process

    def connections(self) -> list[int]:
        """How many connections each service had open at a time, at most."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [int(most) for most in self._process.stdout.readline().split()]


@contextmanager
def far(*services: Service) -> Iterator[Far]:
    """Proxies before services, until the context is left."""
    given = [f"{service.url},{service.round_trip},{service.rate or 0}" for service in services]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.delays", *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert process.stdout is not None
    # At its end it closes the standard input, and waits.
    with process:
        ports = process.stdout.readline().split()
        yield Far([_moved(service.url, port) for service, port in zip(services, ports, strict=True)], process)


def _moved(url: str, port: str) -> str:
    """The same URL at a port of this machine, with the user and the password that it names."""
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    return urlsplit(url)._replace(netloc=f"{user}{at}127.0.0.1:{port}").geturl()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
