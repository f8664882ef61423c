"""Round trips to Redis, requests to PDSes, S3 and web servers, and bytes, counted where they leave the process."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import httpx
from botocore.httpsession import URLLib3Session
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


@contextmanager
def requests() -> Iterator[Counter[str]]:
    """Count the requests that this process sends over http, by the host and port that they are sent to."""
    counts, by_httpx, by_boto = Counter[str](), httpx.HTTPTransport.handle_request, URLLib3Session.send

    def from_httpx(self: Any, request: httpx.Request) -> httpx.Response:
        counts[request.url.netloc.decode()] += 1
        return by_httpx(self, request)

    def from_boto(self: Any, request: Any) -> Any:
        counts[urlsplit(request.url).netloc] += 1
        return by_boto(self, request)

    with (
        patch.object(httpx.HTTPTransport, "handle_request", from_httpx),
        patch.object(URLLib3Session, "send", from_boto),
    ):
        yield counts


@dataclass
class Traffic:
    """Bytes so far."""

    sent: int = 0
    received: int = 0


@contextmanager
def traffic() -> Iterator[Traffic]:
    """Count the bytes that this process sends and receives through sockets, headers among them; none of TLS."""
    found = Traffic()
    send, send_all = socket.socket.send, socket.socket.sendall
    receive, receive_into = socket.socket.recv, socket.socket.recv_into

    # A count is read after the call: while that waits, other threads count.
    def sent(self: Any, data: Any, *flags: int) -> int:
        count = send(self, data, *flags)
        found.sent += count
        return count

    def all_sent(self: Any, data: Any, *flags: int) -> None:
        send_all(self, data, *flags)
        found.sent += memoryview(data).nbytes

    def received(self: Any, *arguments: int) -> bytes:
        data = receive(self, *arguments)
        found.received += len(data)
        return data

    def received_into(self: Any, *arguments: Any) -> int:
        count = receive_into(self, *arguments)
        found.received += count
        return count

    with (
        patch.object(socket.socket, "send", sent),
        patch.object(socket.socket, "sendall", all_sent),
        patch.object(socket.socket, "recv", received),
        patch.object(socket.socket, "recv_into", received_into),
    ):
        yield found
