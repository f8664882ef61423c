"""Hostile addresses: URLs, patterns, at-uris, redirects, names that lead home, documents that name a PDS."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

from atdata_core.atmosphere.client import AtmosphereClient
from atdata_core.atmosphere.identity import Resolver
from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.atmosphere.record_format.parse import PublishedShard
from atdata_core.atmosphere.record_format.record_keys import AtUri
from atdata_core.atmosphere.xrpc.session import Session
from atdata_core.common.urls import displayed, expand, literal, local_path, parse_s3, refuse_credentials, scheme
from atdata_core.errors import AtdataError
from atdata_core.samples.schema import parse_schema_ref
from atdata_core.secrets import holds_secret
from atdata_core.stores.opening import open_shard, stat_shard
from atdata_core.stores.s3.objects import S3Endpoint
from hostile.binary import Target
from hostile.mutation import hurt
from hostile.watch import NAMES

_HOSTS = (
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "[::1]", "[::]",
    "0.0.0.0", "0",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[fe80::1%25lo]", "[fe80::1%lo]", "[fc00::1]",
    "169.254.169.254", "2852039166", "[fd00:ec2::254]", "10.0.0.1", "192.168.0.1", "100.64.0.1", "224.0.0.1",
    "127.0.0.1.",
    "user@127.0.0.1", "public.example@127.0.0.1", "127.0.0.1#@public.example", "public.example\\@127.0.0.1",
    "127.0.0.1%00.public.example", "①②⑦.⓪.⓪.①", "127。0。0。1", "ｌｏｃａｌｈｏｓｔ", "turning.example", *NAMES,
    "", " ", "\x00",
    "[2002:7f00:1::]", "[::127.0.0.1]", "a" * 300 + ".example", "xn--", "[", "]", "[v1.x]", "999.1.1.1",
    "metadata.google.internal",
)  # fmt: skip
_SCHEMES = (
    "http://",
    "https://",
    "s3://",
    "HTTP://",
    "file://",
    "ftp://",
    "gopher://",
    "pipe:",
    "//",
    "",
    "http:/",
    "jar:http://",
)
_PATHS = (
    "/",
    "/a.tar",
    "/latest/meta-data/",
    "/../../etc/passwd",
    "/%2e%2e/x",
    "?token=abcdefgh",
    "#x",
    "/\r\nX: y",
    "/{0..9}",
)
_PATTERNS = (
    "{0..1000000000}", "{a,b}{a,b}" * 20, "{" * 100, "}" * 3, "{0..5..0}", "{5..0..-2}", "{a..z..99999999999}",
    "{a..Z}", "{,}",
    "\\" * 99, "::" * 50, "{00001..2}", "{1..2" + "0" * 4000 + "}", "{x,{y,{z," * 30 + "}" * 90, "{0..9}" * 12,
    "{}", "a::b[::]c",
)  # fmt: skip
_URIS = (
    "at://did:plc:abc/a.b.c/x", "at://did:web:127.0.0.1/a.b.c/x", "at://127.0.0.1/a.b.c/x", "at://x.y/a.b.c/..",
    "at://",
    "at://did:plc:" + "a" * 5000 + "/a.b.c/x", "at://did:web:x%3A80%2F@127.0.0.1/a.b.c/x",
    "AT://did:plc:abc/a.b.c/x",
    "local://schemas/a.B@1.0.0", "local://schemas/" + "a." * 5000 + "B@1.0.0",
    "atdata://local/schema/__class__@9.9.9",
)  # fmt: skip


class Trap:
    """A server that sends everybody elsewhere, and one that nobody may come to.

    ``hits`` counts requests at the second.
    """

    def __init__(self) -> None:
        self.target = "/"
        self.document: Any = {}
        self.hits = 0
        self.place = self._serve(self._redirect)
        self.private = self._serve(self._hit)

    def _redirect(self, handler: BaseHTTPRequestHandler) -> None:
        if "did" in handler.path or "xrpc" in handler.path:
            body = self.document if isinstance(self.document, bytes) else json.dumps(self.document).encode()
            handler.send_response(200)
        else:
            body = b""
            handler.send_response_only(307)
            handler.wfile.write(
                b"HTTP/1.0 307 x\r\nLocation: " + self.target.encode("utf-8", "replace") + b"\r\n\r\n"
            )
            return
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _hit(self, handler: BaseHTTPRequestHandler) -> None:
        self.hits += 1
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _serve(self, act: Callable[[BaseHTTPRequestHandler], None]) -> tuple[str, int]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                act(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[0], server.server_address[1]  # type: ignore[return-value]


def targets(trap: Trap, turn_back: Callable[[], None]) -> tuple[Target, ...]:
    """What reads addresses, against the servers of a trap."""
    host, port = trap.place
    private = trap.private[1]
    service = f"http://{host}:{port}"
    asking, client = Session(service, timeout=2), AtmosphereClient(service, timeout=2)

    def url(rng: Random) -> str:
        where = rng.choice(_HOSTS)
        if where and rng.random() < 0.6:
            where = f"{where}:{rng.choice((private, private, 80, 0, 65536, -1, '', '8o'))}"
        return rng.choice(_SCHEMES[:3] if rng.random() < 0.7 else _SCHEMES) + where + rng.choice(_PATHS)

    def text(rng: Random) -> str:
        found = rng.choice((*_PATTERNS, *_URIS, url(rng)))
        return (
            hurt(found.encode("utf-8", "replace"), rng).decode("utf-8", "replace") if rng.random() < 0.5 else found
        )

    def read_text(given: str) -> None:
        turn_back()
        displayed(given), holds_secret(given), literal(given)
        for read in (
            lambda: expand(given), lambda: expand([given]), lambda: scheme(given), lambda: parse_s3(given),
            lambda: local_path(given), lambda: refuse_credentials(given), lambda: AtUri.parse(given),
            lambda: parse_schema_ref(given), lambda: S3Endpoint.anonymous_at(given),
            lambda: AtmosphereClient(given),
            lambda: open_shard(given, guarded=True), lambda: stat_shard(given, guarded=True),
        ):  # fmt: skip
            _try(read)

    def redirect(rng: Random) -> str:
        return url(rng) if rng.random() < 0.8 else hurt(url(rng).encode(), rng).decode("utf-8", "replace")

    def follow(given: str) -> None:
        turn_back()
        trap.target = given.replace("\r", "").replace("\n", "")
        _try(lambda: open_shard(f"{service}/a.tar", guarded=True).read())
        _try(lambda: stat_shard(f"{service}/a.tar", guarded=True))

    def shard(rng: Random) -> PublishedShard:
        endpoint = rng.choice((url(rng), f"http://{rng.choice(_HOSTS)}:{private}", None))
        where = rng.choice((url(rng), "s3://bucket/key", "s3://" + rng.choice(_HOSTS) + "/key", rng.choice(_ARNS)))
        return PublishedShard(
            where, endpoint=endpoint, region=rng.choice((None, "us-east-1", url(rng), "a.b/", "x@y"))
        )

    def read_shard(given: PublishedShard) -> None:
        turn_back()
        reader = PublishedShards([given])
        _try(lambda: reader.stat_shard(given.url))
        turn_back()
        _try(lambda: reader.open_shard(given.url).read())

    def document(rng: Random) -> tuple[str, Any]:
        did = rng.choice(
            ("did:plc:abc", f"did:web:{rng.choice(_HOSTS)}", f"did:web:127.0.0.1%3A{private}", url(rng))
        )
        endpoint = rng.choice((url(rng), 5, None, [], {}, "x" * 5000))
        kind = rng.choice(("AtprotoPersonalDataServer", None, [], 1))
        listed: Any = [{"id": rng.choice(("#atproto_pds", did, 7)), "type": kind, "serviceEndpoint": endpoint}]
        found: Any = {"id": did, "service": rng.choice((listed, listed, listed, {}, "x", [None, 1, []]))}
        return did, hurt(json.dumps(found).encode(), rng) if rng.random() < 0.3 else found

    def read_document(given: tuple[str, Any]) -> None:
        turn_back()
        did, trap.document = given
        _try(lambda: Resolver(asking).service_of(did))
        client._resolver = Resolver(asking)  # one that remembers nothing
        _try(lambda: client.get_record(f"at://{did}/a.b.c/x"))
        _try(lambda: client.get_blob(did, "bafkreiabc"))
        _try(lambda: client.list_records("a.b.c", repo=did))
        _try(lambda: client.latest_commit(did))

    def session(rng: Random) -> str:
        valid = ":::".join(
            ("a.example", "did:plc:abc", "eyJhbGciOiJIUzI1NiJ9.e30.AA", "eyJhbGciOiJIUzI1NiJ9.e30.AA", url(rng))
        )
        return hurt(valid.encode(), rng).decode("utf-8", "replace")

    def resume(given: str) -> None:
        turn_back()
        trap.document = {"did": "did:plc:abc", "handle": "a.example", "active": True}
        _try(lambda: client.login_with_session(given))

    return (
        Target("texts", text, read_text),
        Target("redirects", redirect, follow),
        Target("shards", shard, read_shard),
        Target("documents", document, read_document),
        Target("sessions", session, resume),
    )


def use_once(trap: Trap) -> None:
    """Make a client of each kind: what they load stays."""
    service = "http://{}:{}".format(*trap.place)
    _try(
        lambda: AtmosphereClient(service).login_with_session(
            "a.b:::did:plc:abc:::eyJhIjoxfQ.e30.AA:::eyJhIjoxfQ.e30.AA"
        )
    )
    _try(lambda: stat_shard(f"{service}/a.tar", guarded=True))
    _try(lambda: S3Endpoint.anonymous_at(service).stat("bucket", "key"))


_ARNS = (
    "s3://arn:aws:s3:us-east-1:123456789012:accesspoint:x/key",
    "s3://arn:aws:s3:127.0.0.1:123456789012:accesspoint:x/key",
    "s3://arn:aws:s3-outposts:us-east-1:1:outpost:op-1:accesspoint:x/key", "s3://../key", "s3://b#x/key",
    "s3://b?x=1/key",
)  # fmt: skip


def _try(act: Callable[[], object]) -> None:
    try:
        act()
    except AtdataError as error:
        str(error)
