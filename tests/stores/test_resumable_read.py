"""Reads and writes that go on after a fault, through a faulty server in front of the real S3."""

import hashlib
import http.client
import http.server
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from atdata_core.errors import (
    AtdataError,
    RateLimitedError,
    ServiceUnavailableError,
    ShardChangedError,
    ShardMissingError,
)
from atdata_core.stores.opening import open_shard, stat_shard
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_core.stores.s3.upload import S3Upload

BODY = random.Random(7).randbytes(3_000_000)

Answer = tuple[int, list[tuple[str, str]], bytes]


class Request(NamedTuple):
    """A request as the front saw it."""

    method: str
    path: str
    range: str | None


class Fault(NamedTuple):
    """What happens to a request.

    It is refused with a status (and a header); its answer is lost, cut after so many bytes, robbed of a
    header, or that to the first request once more.
    """

    status: int | None = None
    header: tuple[str, str] | None = None
    lost: bool = False
    cut: int | None = None
    without: str | None = None
    first: bool = False


class Front:
    """An HTTP server that hands everything on to the S3 server, but for the faults that a test asks for."""

    def __init__(self, backend: str) -> None:
        self.faults: list[Fault | None] = []
        self.applies: Callable[[Request], bool] = lambda asked: True
        self.before: Callable[[], object] = lambda: None
        self.asked: list[Request] = []
        self._answers: list[Answer] = []
        self._backend = urlsplit(backend)
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                front._answer(self)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def ranges(self) -> list[str | None]:
        """Of the GET requests of objects."""
        return [asked.range for asked in self.asked if asked.method == "GET"]

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        asked = Request(request.command, request.path, request.headers.get("Range"))
        self.asked.append(asked)
        fault = (self.faults.pop(0) if self.faults and self.applies(asked) else None) or Fault()
        if fault.status is not None:
            request.send_response(fault.status)
            request.send_header("Content-Length", "0")
            request.send_header("Connection", "close")
            if fault.header:
                request.send_header(*fault.header)
            request.end_headers()
            return
        if asked.range:
            self.before()
        self._answers.append(self._answers[0] if fault.first else self._backends(request, body))
        status, headers, data = self._answers[-1]
        if fault.lost:
            # A reset, not an orderly end.
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
            return
        request.send_response_only(status)
        for name, value in headers:
            if name.lower() not in (fault.without, "connection"):
                request.send_header(name, value)
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(data[: fault.cut])  # and then the connection ends

    def _backends(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self._backend.hostname or "", self._backend.port)
        # The Host header stays: it is signed.
        headers = {name: value for name, value in request.headers.items() if name.lower() != "expect"}
        connection.request(request.command, request.path, body or None, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), data


@pytest.fixture
def front(s3: dict[str, str]) -> Iterator[Front]:
    made = Front(s3["AWS_ENDPOINT"])
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def straight(s3: dict[str, str]) -> S3Endpoint:
    """The S3 server itself."""
    return S3Endpoint.from_credentials(s3)


@pytest.fixture
def endpoint(s3: dict[str, str], front: Front) -> S3Endpoint:
    """The S3 server behind the front."""
    return S3Endpoint.from_credentials({**s3, "AWS_ENDPOINT": front.url})


@pytest.fixture
def shard(straight: S3Endpoint, bucket: str) -> tuple[str, str]:
    """Bucket and key of an object."""
    straight.client.put_object(Bucket=bucket, Key="a.tar", Body=BODY)
    return bucket, "a.tar"


@pytest.fixture
def opener(
    endpoint: S3Endpoint, front: Front, shard: tuple[str, str], request: pytest.FixtureRequest
) -> Callable[[], bytes]:
    """Reads the object whole, through S3 or as a web page (signed, since the server wants that)."""

    def read() -> bytes:
        if request.param == "s3":
            stream = endpoint.open(*shard)
        else:
            place = {"Bucket": shard[0], "Key": shard[1]}
            stream = open_shard(endpoint.client.generate_presigned_url("get_object", Params=place))
        with stream:
            return stream.read()

    return read


both = pytest.mark.parametrize("opener", ["s3", "web"], indirect=True)
BREAK = Fault(cut=2_000_000)
MIB = 1 << 20


@both
def test_a_read_that_breaks_off_goes_on_where_it_stopped(opener, front):
    front.faults = [BREAK, Fault(cut=500_000), Fault(status=500)]
    assert hashlib.sha256(opener()).digest() == hashlib.sha256(BODY).digest()
    first, second, third, fourth = front.ranges()
    assert first is None
    starts = [int(found.removeprefix("bytes=").rstrip("-")) for found in (second, third, fourth)]
    assert 0 < starts[0] <= 2_000_000
    assert starts[0] <= starts[1] == starts[2] <= 2_500_000


@both
def test_a_read_that_breaks_off_again_and_again_is_given_up_after_four_transfers(opener, front):
    front.faults = [BREAK] + [Fault(cut=10)] * 9
    with pytest.raises(ServiceUnavailableError, match=r"a\.tar"):
        opener()
    assert len(front.ranges()) == 4


@both
def test_a_read_does_not_go_on_in_another_object(opener, front, straight, shard):
    # This server answers whatever the condition of the request is: the ETag tells.
    front.before = lambda: straight.client.put_object(Bucket=shard[0], Key=shard[1], Body=BODY[::-1])
    front.faults = [BREAK]
    with pytest.raises(ShardChangedError, match="changed while it was read") as caught:
        opener()
    assert (caught.value.expected, caught.value.found) == tuple(
        f'"{hashlib.md5(body).hexdigest()}"' for body in (BODY, BODY[::-1])
    )
    assert len(front.ranges()) == 2


@both
def test_a_server_that_minds_the_condition_says_itself_that_it_is_another_object(opener, front):
    front.faults = [BREAK, Fault(status=412)]
    with pytest.raises(ShardChangedError, match="changed while it was read"):
        opener()
    assert len(front.ranges()) == 2


@both
def test_a_read_does_not_go_on_in_an_object_that_became_shorter(opener, front, straight, shard):
    front.before = lambda: straight.client.put_object(Bucket=shard[0], Key=shard[1], Body=BODY[:1000])
    front.faults = [BREAK]
    with pytest.raises(ShardChangedError, match="changed while it was read"):
        opener()


@both
def test_without_an_etag_nothing_tells_that_it_is_the_same_object(opener, front):
    front.faults = [Fault(cut=2_000_000, without="etag")]
    with pytest.raises(ServiceUnavailableError):
        opener()
    assert front.ranges() == [None]


@both
def test_a_server_that_gives_no_parts_is_not_resumed(opener, front):
    front.faults = [BREAK, Fault(first=True)]
    with pytest.raises(ServiceUnavailableError):
        opener()
    assert len(front.ranges()) == 2


@both
def test_what_was_deleted_while_it_was_read_is_missing(opener, front, straight, shard):
    front.before = lambda: straight.client.delete_object(Bucket=shard[0], Key=shard[1])
    front.faults = [BREAK]
    with pytest.raises(ShardMissingError):
        opener()


@both
def test_a_read_goes_on_no_earlier_than_the_server_asked(opener, front, time_passes):
    front.faults = [BREAK, Fault(status=503, header=("Retry-After", "9"))]
    assert opener() == BODY
    assert 8.9 <= sum(time_passes.slept) < 12
    front.faults = [BREAK, Fault(status=429, header=("Retry-After", "300"))]
    with pytest.raises(RateLimitedError) as caught:
        opener()
    assert caught.value.retry_after == 300


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_request_that_s3_refuses_for_now_is_sent_four_times(endpoint, front, shard, status):
    front.faults = [Fault(status=status)] * 3
    assert endpoint.stat(*shard).size == len(BODY)
    front.faults = [Fault(status=status)] * 9
    front.asked.clear()
    with pytest.raises((RateLimitedError, ServiceUnavailableError), match=str(status)):
        endpoint.stat(*shard)
    assert len(front.asked) == 4


def test_what_s3_refuses_for_good_is_asked_once_and_once_by_get_for_the_reason(endpoint, front, shard):
    front.faults = [Fault(status=403)]
    with pytest.raises(AtdataError) as caught:
        endpoint.stat(*shard)
    assert not caught.value.transient
    assert [request.method for request in front.asked] == ["HEAD", "GET"]


def test_faults_of_a_bad_day_do_not_use_up_the_retries(endpoint, front, shard):
    # botocore's own account would be empty after 36 of these.
    for _ in range(25):
        front.faults = [Fault(status=500)] * 2
        assert endpoint.stat(*shard).size == len(BODY)


def test_s3_is_left_alone_for_as_long_as_it_asks(endpoint, front, shard, time_passes):
    front.faults = [Fault(status=503, header=("Retry-After", "20"))]
    assert endpoint.stat(*shard).size == len(BODY)
    assert 19.9 <= sum(time_passes.slept) < 22
    front.faults = [Fault(status=503, header=("Retry-After", "61"))]
    front.asked.clear()
    with pytest.raises(ServiceUnavailableError) as caught:
        endpoint.stat(*shard)
    assert caught.value.retry_after == 61
    for look in (
        lambda: endpoint.stat(*shard),
        lambda: endpoint.open(*shard),
        lambda: stat_shard(f"{front.url}/x"),
    ):
        with pytest.raises(RateLimitedError, match="left alone"):
            look()
    assert len(front.asked) == 1


def test_a_timeout_of_the_endpoint_bounds_every_silence(s3, bucket):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        endpoint = S3Endpoint(address, "key", "secret", timeout=0.05)
        with pytest.raises(ServiceUnavailableError, match="timed out"):
            endpoint.stat(bucket, "a.tar")


def test_an_upload_whose_answers_are_lost_is_complete(endpoint, straight, front, bucket):
    front.faults = [Fault(lost=True)] * 2
    with S3Upload(endpoint, bucket, "small.tar") as upload:
        upload.write(BODY)
        upload.commit()
    assert straight.stat(bucket, "small.tar").size == len(BODY)
    assert [asked.method for asked in front.asked][:4] == ["PUT"] * 3 + ["HEAD"]


def test_an_upload_in_parts_whose_completion_is_answered_to_nobody_is_complete(endpoint, straight, front, bucket):
    front.applies = lambda asked: asked.method == "POST" and "uploadId=" in asked.path
    front.faults = [Fault(lost=True)]
    data = BODY * 12
    with S3Upload(endpoint, bucket, "large.tar") as upload:
        upload.write(data)
        upload.commit()
    assert front.faults == []
    with straight.open(bucket, "large.tar") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == upload.sha256
