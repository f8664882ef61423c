"""Round trips to Redis and requests to a PDS, counted where they leave the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from redis.connection import AbstractConnection


class Tally:
    """How many there were so far."""

    total = 0


@contextmanager
def round_trips() -> Iterator[Tally]:
    """Count what this process sends to Redis; a pipeline is sent at once, and counts once.

    A new connection's greetings count as well: connect before.
    """
    tally, send = Tally(), AbstractConnection.send_packed_command

    def counted(self: Any, command: Any, check_health: bool = True) -> Any:
        tally.total += 1
        return send(self, command, check_health)

    AbstractConnection.send_packed_command = counted  # type: ignore[method-assign]
    try:
        yield tally
    finally:
        AbstractConnection.send_packed_command = send  # type: ignore[method-assign]


class CountingTransport(httpx.HTTPTransport):
    """The network, with a count of requests."""

    total = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Count, and send."""
        self.total += 1
        return super().handle_request(request)
