"""Shards and services behind a proxy, and behind certificates of one's own authority."""

import datetime
import http.client
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.errors import AtdataError, NetworkSettingsError, PrivateAddressError
from atdata_core.stores.opening import open_shard, stat_shard
from atdata_core.stores.s3.objects import S3Endpoint

NAME = "data.atdata.invalid"
"""Nobody on this machine resolves it (RFC 6761)."""


class _Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Proxy(_Quiet):
    """Knows one name, and fetches it from the server whose address ``to`` holds."""

    asked: list[str]
    to: str

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        if parts.hostname != NAME:
            return self.send_error(502)
        connection = http.client.HTTPConnection(self.to)
        connection.request(self.command, parts.path)
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", answer.headers["Content-Length"])
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    do_HEAD = do_GET


class Origin(_Quiet):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"bytes")

    do_HEAD = do_GET


@contextmanager
def served(handler: type[_Quiet], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of a proxy that alone resolves ``NAME``."""
    asked: list[str] = []
    with served(Origin) as origin, served(type("Proxying", (Proxy,), {"asked": asked, "to": origin})) as address:
        monkeypatch.setenv("http_proxy", f"http://{address}")
        monkeypatch.setenv("no_proxy", "")
        yield asked


def test_a_shard_whose_name_only_the_proxy_resolves_is_read_through_it(proxy: list[str]):
    url = f"http://{NAME}/a.tar"
    assert stat_shard(url, guarded=True).size == 5
    with open_shard(url, guarded=True) as shard:
        assert shard.read() == b"bytes"
    assert proxy == [f"HEAD {url}", f"GET {url}"]


def test_an_object_whose_endpoint_only_the_proxy_resolves_is_read_through_it(proxy: list[str]):
    endpoint = S3Endpoint.anonymous_at(f"http://{NAME}", guarded=True)
    assert endpoint.stat("b", "a.tar").size == 5
    assert proxy == [f"HEAD http://{NAME}/b/a.tar"]


@pytest.mark.parametrize("host", ["10.1.2.3", "2130706433", "localhost", "[::1]"])
def test_no_proxy_is_asked_for_a_private_address(proxy: list[str], host: str):
    with pytest.raises(PrivateAddressError):
        open_shard(f"http://{host}/a.tar", guarded=True)
    with pytest.raises(PrivateAddressError):
        S3Endpoint.anonymous_at(f"http://{host}", guarded=True).stat("b", "a.tar")
    assert proxy == []


@pytest.mark.parametrize(
    "variables",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:1080"},
        {"HTTP_PROXY": "http://[::1"},
        {"SSL_CERT_FILE": "/nowhere/ca.pem"},
    ],
)
def test_what_the_environment_gets_wrong_is_told_by_shards_and_accounts_alike(
    monkeypatch, variables: dict[str, str]
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    url = "http://data.example/a.tar"
    calls = (
        lambda: open_shard(url),
        lambda: AtmosphereClient("http://pds.example").login("alice.test", "password"),
        lambda: AtmosphereClient("http://pds.example").get_record("at://did:plc:z72i7hdynmk6r22z27h6tvur/a.b.c/d"),
    )
    for call in calls:
        with pytest.raises(NetworkSettingsError, match=next(iter(variables))):
            call()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "socks5h://127.0.0.1:1080"),
        ("HTTPS_PROXY", "http://proxy:port"),
        ("AWS_CA_BUNDLE", "/nowhere/ca.pem"),
        ("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
    ],
)
def test_what_the_environment_gets_wrong_is_told_by_s3(monkeypatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(NetworkSettingsError, match=name):
        S3Endpoint.anonymous_at("https://s3.example").stat("b", "k")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a certificate of an address that vouches for itself, valid from a day to another, and its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def made(address: str = "127.0.0.1", days: tuple[int, int] = (-1, 1), hosts: tuple[str, ...] = ()) -> Path:
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=A lab")
        begin, end = (datetime.datetime.now() + datetime.timedelta(days=each) for each in days)
        names = [x509.IPAddress(ipaddress.ip_address(address)), *map(x509.DNSName, hosts)]
        signed = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin)
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(names), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256())
        )
        file = tmp_path_factory.mktemp("authority") / "ca.pem"
        plain = serialization.NoEncryption()
        file.write_bytes(
            signed.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        )
        return file

    return made


@pytest.fixture(scope="module")
def authority(certificate: Callable[..., Path]) -> Path:
    """A certificate of 127.0.0.1 that is valid today."""
    return certificate()


def asked_by_tls(address: str) -> Iterator[Callable[[], object]]:
    """Everything that speaks TLS, but Redis."""
    yield lambda: stat_shard(f"https://{address}/a.tar").size
    yield lambda: S3Endpoint.anonymous_at(f"https://{address}", region="own").stat("b", "a.tar").size
    yield lambda: AtmosphereClient(f"https://{address}").login("alice.test", "password")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"days": (-3, -1)}, "not valid at this time.*clock says 20"),
        ({"days": (1, 3)}, "not valid at this time.*clock says 20"),
        ({"address": "127.0.0.9"}, "for another name"),
        ({}, "wants a certificate of its clients"),
        (None, "speaks no TLS at that port"),
    ],
    ids=["expired", "not yet valid", "another name", "clients", "plain"],
)
def test_each_trouble_with_tls_is_named_for_what_it_is(
    certificate: Callable[..., Path], monkeypatch, made: dict[str, Any] | None, said: str
):
    tls = None
    if made is not None:
        file = certificate(**made)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        if not made:
            tls.verify_mode = ssl.CERT_REQUIRED
            tls.load_verify_locations(file)
    with served(Origin, tls) as address:
        by_http, by_s3, by_xrpc = asked_by_tls(address)
        # Where a certificate of clients is wanted, boto3 may find the connection closed before it is told so.
        for call in (by_http, by_xrpc, *([by_s3] * (made != {}))):
            with pytest.raises(AtdataError, match=f"(?s){said}"):
                call()


class Kept(Origin):
    protocol_version = "HTTP/1.1"


def test_a_connection_that_is_kept_is_not_one_to_another_host_at_the_same_address(
    certificate: Callable[..., Path], monkeypatch
):
    file = certificate(hosts=("one.example",))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    # As for two hosts whose public address is the same, such as buckets behind one network of caches.
    monkeypatch.setattr("atdata_core.stores.http_transport.check_public", lambda *_, **__: "127.0.0.1")
    with served(Kept, tls) as address:
        port = address.partition(":")[2]
        assert stat_shard(f"https://one.example:{port}/a.tar", guarded=True).size == 5
        with pytest.raises(AtdataError, match="for another name"):
            stat_shard(f"https://two.example:{port}/a.tar", guarded=True)


def test_an_authority_of_ones_own_is_asked_for_by_name_and_then_trusted_by_all(authority: Path, monkeypatch):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority)
    with served(Origin, tls) as address:
        for call in asked_by_tls(address):
            with pytest.raises(AtdataError, match=r"no authority vouches for .*SSL_CERT_FILE"):
                call()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        for call in list(asked_by_tls(address))[:2]:
            assert call() == 5
