"""Each harm that hostile input once did, in whatever room: tars, arrays, schemas, records, URLs, services."""

from __future__ import annotations

import io
import socket
import tarfile

import msgpack
import pytest

from atdata_core.atmosphere.client import AtmosphereClient
from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.atmosphere.record_format.lexicon import check
from atdata_core.atmosphere.record_format.parse import PublishedShard, read_schema_record
from atdata_core.atmosphere.xrpc.session import Session
from atdata_core.common.retry_after import service_of
from atdata_core.common.urls import local_path
from atdata_core.errors import (
    LoginError,
    PreflightError,
    PrivateAddressError,
    RefusedError,
    SampleError,
    SchemaError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardCorruptError,
    StorageError,
)
from atdata_core.local import schema_registry
from atdata_core.local.shard_claims import ShardClaims
from atdata_core.promotion.options import Values
from atdata_core.samples.arrays import decode_array
from atdata_core.samples.schema import decode, from_field_list
from atdata_core.state.facts import LAST_RESULT, RESULTS
from atdata_core.state.redis_state import RedisLedger
from atdata_core.stores.s3.objects import S3Endpoint
from tar_members import read_members


def header(kind, size):
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


class Endless(io.RawIOBase):
    """The same bytes again and again, counted."""

    def __init__(self, block):
        self.sent = 0
        self._block = block

    def read(self, size=-1):
        self.sent += len(self._block)
        assert self.sent < 64 << 20, "it goes on reading"
        return self._block


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K", b"X"])
def test_extended_headers_without_end_are_not_gathered(kind):
    body = b"12 a=bbbbbb\n" * 40 + bytes(32)
    stream = Endless((header(kind, 480) + body) * 64)
    with pytest.raises(ShardCorruptError, match="1 MiB"):
        list(read_members(stream, url="x.tar"))
    assert stream.sent < 8 << 20


@pytest.mark.parametrize("kind", [b"x", b"g", b"L"])
def test_one_extended_header_that_is_too_large_is_not_read(kind):
    stream = Endless(header(kind, 1 << 30) + bytes(1 << 16))
    with pytest.raises(ShardCorruptError, match="1 MiB"):
        list(read_members(stream, url="x.tar"))
    assert stream.sent < 1 << 20


def npy(shape, descr="'<f4'", padding=0):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}{' ' * padding}\n".encode()
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        npy("(" + ("9" * 4000 + ",") * 4 + ")"),
        npy("(" + "1," * 70 + ")"),
        npy("(1,)", padding=1 << 20) + bytes(4),
        npy("[" + "1," * 100_000 + "]"),
    ],
)
def test_an_array_header_that_is_too_much_is_refused(data):
    with pytest.raises(SampleError):
        decode_array(data)


def test_headers_of_arrays_that_are_long_are_not_remembered():
    from atdata_core.samples.arrays import _remembered_npy_header

    before = _remembered_npy_header.cache_info().currsize
    for number in range(20):
        decode_array(npy("(1,)", padding=2000 + number) + bytes(4))
    assert _remembered_npy_header.cache_info().currsize == before


def test_a_schema_with_thousands_of_fields_is_refused_and_types_of_strangers_are_not_kept():
    import gc
    import weakref

    def record(count):
        kind = {"$type": "local#primitive", "primitive": "int"}
        return {"name": "Wide", "fields": [{"name": f"f{at}", "fieldType": kind} for at in range(count)]}

    with pytest.raises(SchemaError, match="5,000 fields"):
        decode(record(5000))
    made = decode(record(3))
    assert decode(record(3)) is made
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None


def nested(depth):
    value = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


def test_a_record_that_is_nested_too_deeply_is_refused():
    deep = nested(5000)
    with pytest.raises(PreflightError, match="deep"):
        check("science.alt.dataset.label", "2222222222222", {"a": deep}, did="did:plc:a")
    for value in ({"$type": deep}, {"$type": "science.alt.dataset.schema", "name": deep}):
        with pytest.raises(SchemaError):
            read_schema_record(value)
    for field in ({"name": deep}, {"name": "a", "fieldType": {"$type": deep}}):
        with pytest.raises(SchemaError):
            from_field_list([field], name="Old", version="1.0.0")
    with pytest.raises(SchemaError):
        decode({"name": deep})
    with pytest.raises(SchemaError):
        decode({"name": deep, "fields": [deep]})


def test_values_of_another_type_in_a_record_are_left_out():
    assert Values.from_json({"tags": True, "description": 5, "license": "MIT"}) == Values(license="MIT")


class Commands:
    """A pipeline of ``OneValue``."""

    def __init__(self, redis):
        self._redis = redis
        self._answers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __getattr__(self, command):
        return lambda *arguments: self._answers.append(getattr(self._redis, command)(*arguments))

    def execute(self, raise_on_error=True):
        return self._answers


class OneValue:
    """A Redis that holds one value only, wherever one looks."""

    def __init__(self, value):
        self.connection_pool = self
        self.connection_kwargs = {}
        self._value = value

    def hget(self, *_):
        return self._value

    get = hget

    def hmget(self, _, names):
        return [self._value for _ in names]

    def hgetall(self, *_):
        return {b"s3://b/k": self._value}

    def mget(self, *_):
        return [self._value, self._value]

    def pipeline(self, **_):
        return Commands(self)


@pytest.mark.parametrize("value", [b"{", b"[]", b"5", b"\xff", b"[" * 100_000, b'{"url": 5}', b'{"url": "x"}'])
def test_what_is_damaged_in_redis_is_refused_or_as_good_as_lost(value, caplog):
    redis = OneValue(value)
    with pytest.raises(RefusedError, match="Insert the dataset again"):
        ShardClaims(redis).read("cid")
    with pytest.raises(SchemaError):
        schema_registry.get(redis, "local://schemas/a.B@1.0.0")
    ledger = RedisLedger(redis)
    if not value.startswith(b'{"'):
        assert ledger.get(LAST_RESULT("a")) is None
        assert list(ledger.get_all("dataset", "a").of(*RESULTS)) == []
        assert "damaged" in caplog.text


@pytest.mark.parametrize("url", ["s3://host:-1/x", "http://[x", "https://h:99999999/"])
def test_a_url_without_a_usable_host_has_no_gate_of_its_own(url):
    assert service_of(url) == url


def test_addresses_that_cannot_be_are_refused_in_our_words():
    with pytest.raises(StorageError):
        local_path("x://[")
    with pytest.raises(ServiceRefusedError):
        Session("https://[")
    for url in ("https://xn--/a.tar", "https://xn--:80/a.tar"):
        with pytest.raises(StorageError):
            PublishedShards([PublishedShard(url)]).open_shard(url)
    with pytest.raises(ServiceRefusedError):
        Session("https://xn--").call("GET", "a.b.c")
    with pytest.raises(LoginError):
        AtmosphereClient("http://127.0.0.1:9").login_with_session("a:::did:plc:a:::\ud83d:::x:::http://127.0.0.1:9")


@pytest.fixture
def listener():
    """A port of this machine that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


@pytest.mark.usefixtures("time_passes")
def test_an_s3_endpoint_whose_name_leads_home_the_second_time_is_not_connected_to(listener, monkeypatch):
    port = listener.getsockname()[1]
    answers = iter(["93.184.216.34"])

    def resolve(host, port, *_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers, "127.0.0.1"), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    shard = PublishedShard("s3://bucket/key", endpoint=f"http://turning.example:{port}")
    with pytest.raises(PrivateAddressError):
        PublishedShards([shard]).open_shard(shard.url)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_a_guarded_s3_client_reads_from_an_endpoint_that_is_allowed(s3, bucket, monkeypatch):
    place = s3["AWS_ENDPOINT"].removeprefix("http://")
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", place)
    from dataclasses import replace

    endpoint = replace(S3Endpoint.from_credentials(s3), guarded=True)
    endpoint.client.put_object(Bucket=bucket, Key="k", Body=b"bytes")
    with endpoint.open(bucket, "k") as stream:
        assert stream.read() == b"bytes"


def test_clients_of_many_endpoints_are_not_all_kept():
    from atdata_core.stores.s3 import clients

    for port in range(1, 40):
        assert S3Endpoint.anonymous_at(f"http://127.0.0.1:{port}").client
    assert len(clients._clients) <= 16


def test_a_bomb_of_nested_lists_is_refused():
    from atdata_core.samples.metadata import unpack

    head = b"\xdd" + (1000).to_bytes(4, "big")
    for data in (head * 900 + b"\xc0" * 1000, b"\x91" * 5000 + b"\xc0"):
        with pytest.raises(ValueError, match="msgpack"):
            unpack(data)
    assert unpack(msgpack.packb({"a": [1]})) == {"a": [1]}


def test_clients_share_what_botocore_knows_of_s3():
    models = {
        id(S3Endpoint.anonymous_at(f"http://127.0.0.1:{port}").client.meta.service_model._service_description)
        for port in range(50, 55)
    }
    assert len(models) == 1


@pytest.mark.usefixtures("time_passes")
def test_a_login_that_failed_leaves_no_client_behind():
    import gc

    def accounts():
        gc.collect()
        return sum(type(each).__name__ == "Account" for each in gc.get_objects())

    before = accounts()
    for _ in range(3):
        with pytest.raises(ServiceUnavailableError):
            AtmosphereClient("http://127.0.0.1:9").login("a.test", "secret")
    assert accounts() <= before


def test_a_password_is_not_sent_to_where_a_service_points(listener):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    elsewhere = f"http://127.0.0.1:{listener.getsockname()[1]}/xrpc/com.atproto.server.createSession"

    class Pointing(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(307)
            self.send_header("Location", elsewhere)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Pointing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(ServiceRefusedError, match="redirects"):
            AtmosphereClient(f"http://127.0.0.1:{server.server_port}").login("a.test", "secret")
        server.shutdown()
    with pytest.raises(TimeoutError):
        listener.accept()
