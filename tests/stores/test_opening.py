"""Shards are opened and looked at wherever they lie; what goes wrong has a name."""

import contextlib
import gzip
import http.server
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from atdata_core.errors import (
    AtdataError,
    PrivateAddressError,
    RateLimitedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardForbiddenError,
    ShardMissingError,
    StorageError,
)
from atdata_core.protocols import ShardStat
from atdata_core.stores import http as web
from atdata_core.stores import http_transport, shard_streams
from atdata_core.stores.opening import open_shard, probe, stat_shard
from atdata_core.stores.private_addresses import check_public
from atdata_core.stores.s3.objects import S3Endpoint

BODY = b"0123456789" * 100_000

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Site:
    """A web server whose answers a test chooses."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append(f"{self.command} {self.path}")
                self.close_connection = True
                answer = site.answers.get(self.path.partition("?")[0])
                answer(self) if answer else self.send_error(404)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def file(self, path: str, body: bytes = BODY, **headers: str) -> str:
        def answer(request: http.server.BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()
            if request.command == "GET":
                request.wfile.write(body)

        self.answers[path] = answer
        return self.url + path

    def status(self, path: str, code: int, **headers: str) -> str:
        def answer(request: http.server.BaseHTTPRequestHandler) -> None:
            request.send_response(code)
            for name, value in {"Content_Length": "0", **headers}.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()

        self.answers[path] = answer
        return self.url + path


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def read(url: str, **options: object) -> bytes:
    with open_shard(url, **options) as stream:
        return stream.read()


def test_a_file_is_opened_by_path_and_by_file_url(tmp_path: Path):
    path = tmp_path / "a b.tar"
    path.write_bytes(BODY)
    for url in (str(path), path.as_uri()):
        assert read(url) == BODY
        assert stat_shard(url) == ShardStat(size=len(BODY))


def test_a_file_that_is_missing_or_a_directory_is_named(tmp_path: Path):
    with pytest.raises(ShardMissingError, match=r"gone\.tar") as caught:
        open_shard(str(tmp_path / "gone.tar"))
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(ShardMissingError):
        stat_shard(str(tmp_path / "gone" / "a.tar"))
    with pytest.raises(StorageError, match="directory"):
        open_shard(str(tmp_path))
    with pytest.raises(StorageError):
        open_shard("a\0b.tar")


def test_a_web_shard_is_streamed_and_looked_at(site: Site):
    url = site.file("/a.tar", ETag='"abc"')
    with open_shard(url) as stream:
        assert stream.read(4) == b"0123"
        assert stream.read() == BODY[4:]
    assert stat_shard(url) == ShardStat(size=len(BODY), etag="abc")
    assert site.requests == ["GET /a.tar", "HEAD /a.tar"]


def test_the_url_is_not_looked_into_for_each_piece_of_a_body(site: Site, monkeypatch: pytest.MonkeyPatch):
    shown: list[str] = []
    monkeypatch.setattr(web, "displayed", lambda url: shown.append(url) or "")
    with open_shard(site.file("/a.tar", BODY * 8, ETag='"abc"')) as stream:
        assert len(stream.read()) == 8 * len(BODY)
    assert shown == []


@pytest.mark.parametrize("etag", ['W/"abc"', 'w/"abc"', '""'])
def test_an_etag_that_allows_other_bytes_is_told_as_none(site: Site, etag: str):
    url = site.file("/bucket/a.tar", ETag=etag)
    assert stat_shard(url) == ShardStat(size=len(BODY), etag=None)
    assert probe(url, inside=True).etag is None
    assert S3Endpoint.anonymous_at(site.url, None).stat("bucket", "a.tar").etag is None


def test_redirects_are_followed(site: Site):
    site.file("/new.tar")
    site.status("/moved.tar", 302, Location="/new.tar")
    assert read(site.status("/old.tar", 301, Location=f"{site.url}/moved.tar")) == BODY


def test_a_redirect_loop_ends(site: Site):
    with pytest.raises(ServiceRefusedError, match="redirects"):
        read(site.status("/loop.tar", 302, Location="/loop.tar"))


def test_a_server_that_knows_no_head_is_asked_with_get(site: Site):
    url = site.file("/a.tar")
    whole = site.answers["/a.tar"]
    site.answers["/a.tar"] = lambda request: (
        request.send_error(403) if request.command == "HEAD" else whole(request)
    )
    assert stat_shard(url).size == len(BODY)


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_shard_whose_size_its_server_does_not_say_is_read_and_its_bytes_are_counted(site: Site, encoding):
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("ETag", '"abc"')
        if encoding:
            request.send_header("Content-Encoding", encoding)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(gzip.compress(BODY) if encoding else BODY)

    site.answers["/a.tar"] = answer
    # Encoded bytes have another version than those that are read.
    assert stat_shard(f"{site.url}/a.tar") == ShardStat(size=len(BODY), etag=None if encoding else "abc")
    assert site.requests == ["HEAD /a.tar", "GET /a.tar"]


@pytest.mark.parametrize(
    ("code", "error", "transient"),
    [
        (404, ShardMissingError, False),
        (410, ShardMissingError, False),
        (401, ShardForbiddenError, False),
        (403, ShardForbiddenError, False),
        (418, ServiceRefusedError, False),
        (204, ServiceRefusedError, False),
        (429, RateLimitedError, True),
        (500, ServiceUnavailableError, True),
        (503, ServiceUnavailableError, True),
    ],
)
def test_each_refusal_of_a_server_has_its_error(site: Site, code: int, error: type[AtdataError], transient: bool):
    url = site.status("/a.tar", code, Retry_After="7")
    for look in (open_shard, stat_shard):
        with pytest.raises(error, match=str(code)) as caught:
            look(f"{url}?X-Amz-Signature=hunter2")
        assert caught.value.transient is transient
        assert "hunter2" not in f"{caught.value} {caught.value.facts}"
        assert type(pickle.loads(pickle.dumps(caught.value))) is error
    if code == 429:
        assert caught.value.retry_after == 7


def test_a_connection_that_drops_may_pass(site: Site):
    site.file("/short.tar", BODY[:1000], Content_Length="2000")
    with open_shard(f"{site.url}/short.tar") as stream, pytest.raises(ServiceUnavailableError, match=r"short\.tar"):
        stream.read()


def test_a_server_that_is_down_may_come_back():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.tar"
    with pytest.raises(ServiceUnavailableError, match="Check the network"):
        open_shard(url)


@pytest.mark.parametrize("url", ["http://", "https:///x", "http://[::1/a.tar", "http://host:port/a"])
def test_a_malformed_url_is_refused(url: str):
    for look in (open_shard, stat_shard):
        with pytest.raises(StorageError):
            look(url)


class Reader:
    """A store that opens its shards itself."""

    def open_shard(self, url: str) -> object:
        return f"opened {url}"

    def stat_shard(self, url: str) -> ShardStat:
        return ShardStat(size=len(url))


class Namer:
    """A store that only names a URL to read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_url(self, url: str) -> str:
        return str(self.folder / url.rpartition("/")[2])


def test_a_store_that_opens_shards_is_asked():
    assert open_shard("mine://x", store=Reader()) == "opened mine://x"
    assert stat_shard("mine://x", store=Reader()) == ShardStat(size=8)


def test_a_store_that_names_urls_is_asked(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"here")
    assert read("mine://bucket/a.tar", store=Namer(tmp_path)) == b"here"
    assert stat_shard("mine://bucket/a.tar", store=Namer(tmp_path)).size == 4


def test_an_s3_shard_is_read_with_the_keys_of_the_environment(
    environ: dict[str, str], s3: dict[str, str], bucket: str
):
    client = boto3.client(
        "s3",
        endpoint_url=s3["AWS_ENDPOINT"],
        aws_access_key_id=s3["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=s3["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    client.put_object(Bucket=bucket, Key="a b.tar", Body=BODY)
    url = f"s3://{bucket}/a b.tar"
    assert read(url) == BODY
    assert stat_shard(url).size == len(BODY)
    with pytest.raises(ShardMissingError, match="gone"):
        open_shard(f"s3://{bucket}/gone.tar")


def test_wrong_keys_are_named_when_nobody_may_read_either(
    environ: dict[str, str], bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(AtdataError) as caught:
        open_shard(f"s3://{bucket}/a.tar")
    assert isinstance(caught.value, ShardForbiddenError)
    assert "wrong-secret" not in f"{caught.value} {caught.value.facts}"


PRIVATE = [
    "http://127.0.0.1/a",
    "http://localhost:8080/a",
    "http://10.1.2.3/a",
    "http://192.168.0.1/a",
    "http://169.254.169.254/latest/meta-data",
    "http://100.64.0.1/a",
    "http://0.0.0.0/a",
    "http://2130706433/a",
    "http://[::1]/a",
    "http://[::ffff:127.0.0.1]/a",
    "http://[64:ff9b::7f00:1]/a",
    "http://[2002:7f00:1::]/a",
    "http://[fe80::1]/a",
    "http://[fd00::1]/a",
    "http://224.0.0.1/a",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_address_is_refused_when_a_record_names_it(url: str):
    with pytest.raises(PrivateAddressError, match="ATDATA_ALLOW_PRIVATE"):
        check_public(url)


def test_a_public_address_is_used_as_it_is():
    assert check_public("http://8.8.8.8/a") is None
    assert check_public("http://[2001:4860:4860::8888]/a") is None


def test_a_name_is_resolved_once_and_every_address_counts(monkeypatch: pytest.MonkeyPatch):
    def resolve(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    resolve("93.184.216.34")
    assert check_public("http://data.example/a") == "93.184.216.34"
    resolve("93.184.216.34", "127.0.0.1")
    with pytest.raises(PrivateAddressError):
        check_public("http://data.example/a")


def test_a_name_that_does_not_resolve_may_later(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ServiceUnavailableError, match=r"data\.example"):
        check_public("http://data.example/a")


@pytest.mark.parametrize(
    "name", ["ATDATA_S3_ENDPOINT", "ATDATA_PUBLISH_ENDPOINT", "ATDATA_PDS_URL", "ATDATA_PLC_URL"]
)
def test_host_and_port_of_a_configured_endpoint_are_trusted(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "http://127.0.0.1:9000")
    assert check_public("http://127.0.0.1:9000/bucket/a.tar") is None
    with pytest.raises(PrivateAddressError):
        check_public("http://127.0.0.1:9001/bucket/a.tar")


def test_what_the_client_itself_uses_is_trusted():
    assert check_public("http://localhost:2583/x", configured=["http://localhost:2583"]) is None


@pytest.mark.parametrize("allowed", ["10.1.2.3", "10.1.2.3:80", "other, 10.1.2.3:80 "])
def test_what_is_listed_is_allowed(allowed: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", allowed)
    assert check_public("http://10.1.2.3/a") is None
    with pytest.raises(PrivateAddressError):
        check_public("http://10.1.2.4/a")


def test_a_guarded_shard_is_not_fetched_from_a_private_address(site: Site):
    url = site.file("/a.tar")
    for look in (open_shard, stat_shard):
        with pytest.raises(PrivateAddressError):
            look(url, guarded=True)
    assert site.requests == []


def test_a_redirect_to_a_private_address_is_not_followed(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", f"127.0.0.1:{site.port}")
    site.file("/a.tar")
    assert read(f"{site.url}/a.tar", guarded=True) == BODY
    # Another name of this machine, which is not listed.
    url = site.status("/away.tar", 302, Location=f"http://localhost:{site.port}/a.tar")
    with pytest.raises(PrivateAddressError):
        open_shard(url, guarded=True)
    assert site.requests == ["GET /a.tar", "GET /away.tar"]


def test_a_guarded_request_goes_to_the_address_that_was_checked(site: Site, monkeypatch: pytest.MonkeyPatch):
    from atdata_core.stores import http_transport

    seen: list[str] = []
    site.file("/a.tar")
    whole = site.answers["/a.tar"]

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Host"])
        whole(request)

    site.answers["/a.tar"] = answer
    # Stands for a public name: no name here resolves to a public address that answers.
    monkeypatch.setattr(http_transport, "check_public", lambda url, **_: "127.0.0.1")
    assert read(f"http://data.example:{site.port}/a.tar", guarded=True) == BODY
    assert seen == [f"data.example:{site.port}"]


def test_a_guarded_url_names_no_file_of_this_machine(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(StorageError, match="publisher"):
        open_shard(str(tmp_path / "a.tar"), guarded=True)


def test_importing_the_library_loads_no_service_client():
    code = (
        "import sys, atdata_core, atdata_core.shards.dataset, atdata_core.stores.opening\n"
        "print(sorted({'boto3','botocore','redis','atproto','webdataset','httpx','torch'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_importing_the_library_alone_loads_no_numpy():
    code = (
        "import sys, atdata_core, atdata_core.promotion.options\n"
        "from atdata_core.local import LocalDatasetEntry\n"
        "print('numpy' in sys.modules, atdata_core.Dataset.__name__, 'numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False Dataset True"


@pytest.fixture
def special(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Make a path that is no regular file."""
    # The path of a socket has room for some 100 characters.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as unix:

        def make(kind: str) -> Path:
            path = Path(short) / "s" if kind == "socket" else tmp_path / "a.tar"
            match kind:
                case "pipe":
                    os.mkfifo(path)
                case "device":
                    path.symlink_to("/dev/zero")
                case _:
                    unix.bind(str(path))
            return path

        yield make


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_a_path_that_may_have_no_end_is_refused_before_it_is_opened(kind: str, special: Callable[[str], Path]):
    path = special(kind)
    for look in (open_shard, stat_shard):
        for url in (str(path), path.as_uri()):
            with pytest.raises(StorageError, match=f"is a {kind}"):
                look(url)


def test_a_disk_that_fails_while_it_is_read_is_an_error_of_ours(tmp_path: Path):
    link = tmp_path / "a.tar"
    link.symlink_to("/proc/self/mem")  # a regular file whose first page gives EIO
    for method, arguments in (("read", ()), ("read", (512,)), ("readinto", (bytearray(1 << 20),))):
        with open_shard(str(link)) as stream, pytest.raises(StorageError, match=r"a\.tar cannot be read on:.*disk"):
            getattr(stream, method)(*arguments)


class Pouring:
    """The body of an answer that has no end: zeros, in chunks of HTTP or until the connection ends."""

    def __init__(self, *, chunked: bool, pause: float = 0.0, size: int = 1 << 16) -> None:
        self.chunked, self.pause, self.size = chunked, pause, size

    def __call__(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if self.chunked:
            request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        piece = bytes(self.size)
        with contextlib.suppress(OSError):
            while True:
                request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.chunked else piece)
                time.sleep(self.pause)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_does_not_say_where_it_ends_is_given_up_after_a_bound(
    chunked: bool, site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shard_streams, "LARGEST_UNSTATED", 5_000_000)
    site.answers["/a.tar"] = Pouring(chunked=chunked)
    with (
        open_shard(f"{site.url}/a.tar?X-Amz-Signature=hunter2") as stream,
        pytest.raises(StorageError, match=r"/a\.tar.* goes on after 5,000,000 bytes.*Content-Length") as caught,
    ):
        stream.read()
    assert "hunter2" not in str(caught.value)


def test_a_body_that_goes_on_after_the_size_it_announced_is_given_up(site: Site):
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "3000")
        Pouring.__call__(Pouring(chunked=True), _Headless(request))

    class _Headless:
        def __init__(self, request: http.server.BaseHTTPRequestHandler) -> None:
            self._request = request

        def __getattr__(self, name: str) -> object:
            return (lambda *_: None) if name == "send_response" else getattr(self._request, name)

    site.answers["/a.tar"] = answer
    with (
        open_shard(f"{site.url}/a.tar") as stream,
        pytest.raises(StorageError, match="the 3,000 bytes that it announced"),
    ):
        stream.read()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Waits a tenth of a second for an answer."""
    monkeypatch.setattr(http_transport, "SILENCE_SECONDS", 0.1)
    web._client.cache_clear()
    yield
    web._client.cache_clear()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("stated", [True, False])
def test_a_body_that_trickles_is_given_up_and_named(stated: bool, site: Site):
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if stated:
            request.send_header("Content-Length", "1000000")
        request.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(500):
                request.wfile.write(b"x")
                time.sleep(0.02)

    site.answers["/a.tar"] = answer
    with (
        open_shard(f"{site.url}/a.tar") as stream,
        pytest.raises(ServiceUnavailableError, match=r"/a\.tar cannot be read now: it trickles, \d+ bytes in"),
    ):
        stream.read()


@pytest.mark.usefixtures("impatient")
def test_who_takes_long_over_the_bytes_is_not_taken_for_a_body_that_trickles(site: Site):
    with web.open_web(site.file("/a.tar", BODY[:5000])) as stream:
        begun = stream.read(1000)
        time.sleep(0.3)
        assert begun + stream.read() == BODY[:5000]
