"""The proxy that makes services far away: what it does to bytes and connections, and what it leaves alone."""

import random
import socket
import socketserver
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from benchmarks.delays import Service, far

ROUND_TRIP = 0.05


class _Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def echo():
    """URL of a server that sends back what it receives."""
    with _Server(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://user:word@127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()


def connected(url):
    return closing(socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10))


def seconds_of(connection, content):
    """How long it takes until the content is back, which is whole and in order."""
    start = time.monotonic()
    sender = threading.Thread(target=connection.sendall, args=(content,))
    sender.start()
    found = bytearray()
    while len(found) < len(content):
        found += connection.recv(1 << 16)
    sender.join()
    assert found == content
    return time.monotonic() - start


def test_the_first_answer_takes_two_round_trips_and_the_next_one_a_single_one(echo):
    with far(Service(echo, ROUND_TRIP)) as proxies, connected(*proxies.urls) as connection:
        assert seconds_of(connection, b"a question") >= 2 * ROUND_TRIP
        assert seconds_of(connection, b"another") >= ROUND_TRIP


def test_a_link_takes_its_time_for_bytes_which_come_whole_and_in_order_on_each_connection(echo):
    content = random.Random(0).randbytes(4 << 20)
    with (
        far(Service(echo, 0, 40e6)) as proxies,
        connected(*proxies.urls) as one,
        connected(*proxies.urls) as other,
    ):
        start = time.monotonic()
        beside = threading.Thread(target=seconds_of, args=(other, content))
        beside.start()
        seconds_of(one, content)
        beside.join()
        assert time.monotonic() - start >= 2 * len(content) / 40e6
        assert proxies.connections() == [2]


def test_what_an_end_closes_is_closed_at_the_other_end_after_the_last_byte():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        far(Service(f"tcp://127.0.0.1:{server.getsockname()[1]}", ROUND_TRIP)) as proxies,
        connected(*proxies.urls) as connection,
    ):
        there, _ = server.accept()
        there.sendall(b"the last word")
        there.close()
        assert connection.recv(100) == b"the last word"
        assert connection.recv(100) == b""


def test_a_url_keeps_its_user_and_path(echo):
    with far(Service(echo, 0)) as proxies:
        [url] = proxies.urls
    assert url.startswith("tcp://user:word@127.0.0.1:")
    assert url.endswith("/0")
    assert url != echo
