"""An answer that trickles, that has no end or that does not say its size ends with an error that says so."""

import contextlib
import resource
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from atdata_core.errors import (
    AtdataError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardForbiddenError,
    StorageError,
)
from atdata_core.stores import http as web
from atdata_core.stores import http_transport, shard_streams
from atdata_core.stores.opening import open_shard, stat_shard
from atdata_core.stores.s3.objects import S3Endpoint

BODY = b"0123456789" * 1000
QUICK = 0.2
"""Seconds of silence after which a client of these tests gives up."""

Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def served(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers each request so, byte for byte, and what it was asked for."""
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode().partition(" ")[0])
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError):
                answer(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, "", "")).encode()


def fixed(data: bytes) -> Answer:
    return lambda connection: connection.sendall(data)


def slowly(beginning: bytes, piece: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(beginning)
        for _ in range(300):
            connection.sendall(piece)
            time.sleep(QUICK / 10)

    return answer


def for_ever(beginning: bytes, piece: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while True:
            connection.sendall(piece)

    return answer


def s3(address: str, attempts: int = 1) -> S3Endpoint:
    return S3Endpoint(address, "k" * 20, "s" * 40, attempts=attempts, timeout=QUICK)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(http_transport, "SILENCE_SECONDS", QUICK)
    web._client.cache_clear()
    yield
    web._client.cache_clear()


TRICKLES = {
    "status line": slowly(b"HTTP", b"/"),
    "headers": slowly(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
    "hints": slowly(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a redirect": slowly(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: ", b"x"),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("part", TRICKLES)
def test_an_answer_whose_beginning_trickles_is_given_up_as_a_silence_is(part: str):
    """Some seconds: eight requests, each given up after its time."""
    with served(TRICKLES[part]) as (address, asked):
        for look in (open_shard, stat_shard):
            with pytest.raises(ServiceUnavailableError, match=r"/a\.tar cannot be read now: it trickles, \d+ b"):
                look(f"{address}/a.tar")
        assert asked == ["GET"] * 4 + ["HEAD"] * 4


@pytest.mark.parametrize("part", TRICKLES)
def test_an_answer_of_s3_whose_beginning_trickles_is_given_up_as_a_silence_is(part: str):
    with served(TRICKLES[part]) as (address, asked):
        for look in (s3(address).open, s3(address).stat):
            with pytest.raises(ServiceUnavailableError, match=r"did not answer .* \(it trickles, \d+ bytes"):
                look("bucket", "a.tar")
        assert asked == ["GET", "HEAD"]


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "500 Oops"])
def test_a_body_of_s3_that_trickles_is_given_up(status: str):
    answer = slowly(head(status, "Content-Length: 1000000", "Content-Type: application/xml"), b"x")
    with (
        served(answer) as (address, _),
        pytest.raises(ServiceUnavailableError, match=r"did not answer .* \(it trickles, \d+ bytes"),
        s3(address).open("bucket", "a.tar") as stream,
    ):
        stream.read()


def test_who_takes_long_over_the_bytes_of_s3_is_not_taken_for_a_body_that_trickles():
    with (
        served(fixed(head("200 OK", f"Content-Length: {len(BODY)}") + BODY)) as (address, _),
        s3(address).open("bucket", "a.tar") as stream,
    ):
        begun = stream.read(100)
        time.sleep(2 * QUICK)
        assert begun + stream.read() == BODY


def test_a_service_that_thinks_before_each_answer_is_not_taken_for_one_that_trickles():
    """Two seconds: answers of few bytes on one connection, which together take longer than one may."""
    import httpx

    def answer(connection: socket.socket) -> None:
        for _ in range(6):
            time.sleep(0.3)
            connection.sendall(head("200 OK", "Content-Length: 1") + b"x")
            connection.recv(4096)

    with (
        served(answer) as (address, asked),
        httpx.Client(transport=http_transport.environment_transport(), timeout=1.2) as client,
    ):
        assert [client.get(address).text for _ in range(6)] == ["x"] * 6
        assert asked == ["GET"]


CHUNK = b"100000\r\n" + bytes(1 << 20) + b"\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        for_ever(head("403 Forbidden", "Transfer-Encoding: chunked"), CHUNK),
        for_ever(head("403 Forbidden"), bytes(1 << 20)),
        fixed(head("403 Forbidden", f"Content-Length: {1 << 50}") + bytes(20_000_000)),
    ],
    ids=["chunks", "no length", "a length that is a lie"],
)
def test_what_s3_says_to_a_refusal_is_read_up_to_a_bound(answer: Answer):
    with served(answer) as (address, asked):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ShardForbiddenError, match=r"s3://bucket/a\.tar may not be read"):
            s3(address).open("bucket", "a.tar")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
        assert asked == ["GET"]


ENDLESS = {
    "header": for_ever(b"HTTP/1.1 200 OK\r\nX: ", bytes(1 << 16)),
    "headers": for_ever(b"HTTP/1.1 200 OK\r\n", b"X: aaaa\r\n" * 1000),
    "hints": for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "size of a chunk": for_ever(head("403 Forbidden", "Transfer-Encoding: chunked"), b"0" * 10_000),
    "trailers": for_ever(head("403 Forbidden", "Transfer-Encoding: chunked") + b"0\r\n", b"X: a\r\n" * 1000),
}


@pytest.mark.parametrize("part", ENDLESS)
def test_no_part_of_an_answer_of_s3_may_be_without_end(part: str, monkeypatch: pytest.MonkeyPatch):
    from atdata_core.stores.s3 import clients

    monkeypatch.setattr(clients, "LARGEST_UNSTATED", 10_000_000)
    with served(ENDLESS[part]) as (address, _), pytest.raises(AtdataError):
        s3(address).open("bucket", "a.tar")


def test_a_list_of_s3_that_has_no_end_is_refused_with_its_cause():
    with (
        served(for_ever(head("200 OK", "Transfer-Encoding: chunked"), CHUNK)) as (address, asked),
        pytest.raises(ServiceRefusedError, match=r"127\.0\.0\.1 answered with more than 8,388,608 bytes"),
        s3(address, attempts=4).errors("bucket"),
    ):
        s3(address, attempts=4).client.list_objects_v2(Bucket="bucket")
    assert asked == ["GET"]


@pytest.mark.parametrize(
    "answer",
    [
        fixed(head("200 OK", 'ETag: "abc"', "Connection: close") + BODY),
        fixed(head("200 OK", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    ],
    ids=["no length", "chunks"],
)
def test_an_object_of_a_size_that_is_not_said_is_read_but_cannot_be_looked_at(answer: Answer):
    with served(answer) as (address, _):
        with s3(address).open("bucket", "a.tar") as stream:
            assert stream.read() == BODY
        with pytest.raises(StorageError, match=r"^s3://bucket/a\.tar: the server does not say how large"):
            s3(address).stat("bucket", "a.tar")


def test_an_object_of_a_size_that_is_not_said_is_given_up_after_a_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shard_streams, "LARGEST_UNSTATED", 5_000_000)
    with (
        served(for_ever(head("200 OK"), bytes(1 << 16))) as (address, _),
        s3(address).open("bucket", "a.tar") as stream,
        pytest.raises(StorageError, match=r"s3://bucket/a\.tar goes on after 5,000,000 bytes"),
    ):
        stream.read()


def test_a_size_below_zero_is_refused():
    with served(fixed(head("200 OK", "Content-Length: -4", "Connection: close"))) as (address, _):
        for look in (s3(address).open, s3(address).stat):
            with pytest.raises(StorageError, match=r"s3://bucket/a\.tar: the server does not say how large"):
                look("bucket", "a.tar")
