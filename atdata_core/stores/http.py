"""Shards behind ``http(s)://``: streamed, with errors that say whether trying again can help."""

from __future__ import annotations

import atexit
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import urlsplit

from ..common.concurrency import THREADS, limit_of
from ..common.network_settings import proxy_of, tls_context, tls_trouble
from ..common.retry_after import ReadRate, http_hooks, seconds_to_wait, with_retries
from ..common.urls import displayed
from ..errors import (
    RateLimitedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardChangedError,
    ShardForbiddenError,
    ShardMissingError,
    StorageError,
)
from ..protocols import ShardStat, strong_etag
from .private_addresses import check_public
from .shard_streams import CHUNK, Opened, PartRead, ResumableRead, changed_while_read, is_rest, read_ahead

if TYPE_CHECKING:
    import httpcore
    import httpx

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
FIRST_BYTES = "bytes=0-511"
"""The range that is asked for to see what anonymous readers get."""
_FEW = {str(count) for count in range(513)}
PROBE_SECONDS = 5.0
"""How long that waits for an answer: there may be a wall that lets nothing through."""
_MOST_REDIRECTS = 10
_AT_ONCE = 1 << 20
_MOST_WAYS = 64
"""Hosts whose connections are kept: records of others may name as many as they like."""


def open_web(url: str, *, guarded: bool = False) -> BinaryIO:
    """The body of ``GET url`` as it arrives; redirects are followed, and checked too when ``guarded``.

    A transfer that breaks off is resumed where the server gives an ETag and parts of the shard.

    Raises:
        ShardChangedError: The shard was replaced while it was read.
        And as ``opening.open_shard``; the service errors also while reading, when the connection drops.
    """
    body = transfer_web(url, guarded=guarded)
    return read_ahead(body, body.size)


def transfer_web(url: str, *, guarded: bool = False, part: PartRead | None = None) -> ResumableRead:
    """As ``open_web``, nothing of it fetched ahead; from where a part ends, if the server goes on there."""

    def rest(at: int, version: str) -> Opened | None:
        return _open_rest(url, guarded, at, size, version)

    if part is not None:
        size = part.size
        with suppress(ShardChangedError):
            if first := with_retries(lambda: rest(part.at, part.version)):
                return ResumableRead(first, rest, url, part)
    first = _opened(with_retries(lambda: _send("GET", url, guarded)), url)
    size = first.size
    return ResumableRead(first, rest, url)


def stat_web(url: str, *, guarded: bool = False) -> ShardStat:
    """Size and strong ETag that the server states; where it says no size the shard is read, and its bytes counted.

    Raises as ``open_web`` does.
    """
    try:
        response = with_retries(lambda: _send("HEAD", url, guarded))
    except (ShardForbiddenError, ServiceRefusedError):
        # A presigned URL is signed for one method, and some servers know no HEAD.
        response = with_retries(lambda: _send("GET", url, guarded))
    with _errors(url), closing(response):
        if response.request.method == "HEAD":
            # Read to its end, which it is at, it leaves its connection to the next.
            response.read()
    length = response.headers.get("content-length", "")
    if length.isdigit() and "content-encoding" not in response.headers:
        return ShardStat(size=int(length), etag=strong_etag(response.headers.get("etag")))
    with closing(transfer_web(url, guarded=guarded)) as body:
        size = sum(map(len, iter(lambda: body.take(CHUNK), b"")))
        return ShardStat(size=size, etag=body.version and strong_etag(body.version))


def first_bytes(url: str, *, guarded: bool) -> httpx.Headers:
    """The headers of ``GET url`` for its ``FIRST_BYTES``; raises as ``open_web`` does.

    ``guarded``: no private address, not even a configured one.
    """

    def look() -> httpx.Headers:
        response = _send("GET", url, guarded, True, Range=FIRST_BYTES)
        with _errors(url), closing(response):
            if response.headers.get("content-length", "").strip() in _FEW:
                # It is quicker to read them than to connect anew for the next shard.
                response.read()
        return response.headers

    return with_retries(look)


def _open_rest(url: str, guarded: bool, at: int, size: int | None, etag: str) -> Opened | None:
    """The shard from a byte on; None where the server gives no parts."""
    wanted = {"Range": f"bytes={at}-", "If-Range": etag}
    try:
        response = _send("GET", url, guarded, **wanted)
    except ServiceRefusedError as error:
        if error.status not in (412, 416):
            raise
        raise changed_while_read(displayed(url), etag, None) from None
    found = response.headers.get("etag")
    if found != etag:
        response.close()
        raise changed_while_read(displayed(url), etag, found)
    # Its range says whether it is a part: not every server calls it 206.
    if not is_rest(response.headers.get("content-range"), at, size):
        response.close()
        return None
    return _opened(response, url)


def _opened(response: httpx.Response, url: str) -> Opened:
    headers = response.headers
    etag, length = headers.get("etag", ""), headers.get("content-length", "")
    # A weak ETag allows other bytes, and encoded bytes are counted otherwise than those that are read.
    plain = "content-encoding" not in headers
    strong = plain and etag.startswith('"') and etag != '""'
    size = int(length) if plain and length.isdecimal() else None
    network = response.extensions.get("network_stream")
    small = size is not None and size <= CHUNK
    if size is None or small or network is None or "transfer-encoding" in headers:
        # Read to its end so, a small one leaves its connection to the next.
        take = _pieces(response)
    else:
        take = _straight(response, network, size)

    def read(count: int) -> bytes:
        with _errors(url):
            return take(count)

    def stop() -> None:
        # Closing a socket does not wake who reads from it, shutting it down does.
        with suppress(OSError, AttributeError):
            network.get_extra_info("socket").shutdown(socket.SHUT_RD)  # pyright: ignore[reportOptionalMemberAccess]

    return Opened(read, response.close, stop, etag if strong else None, size)


def _pieces(response: httpx.Response) -> Callable[[int], bytes]:
    """Gives a body of any kind as it arrives, so that a break loses nothing."""
    chunks, rest = response.iter_bytes(), memoryview(b"")

    def take(count: int) -> bytes:
        nonlocal rest
        rest = rest or memoryview(next(chunks, b""))
        given, rest = bytes(rest[:count]), rest[count:]
        return given

    return take


def _straight(response: httpx.Response, network: Any, size: int) -> Callable[[int], bytes]:
    """Gives a body that is so many bytes and nothing else, from the connection itself.

    httpx takes a body apart in pieces of 64 KiB and copies each four times, for half of what a shard costs. What
    came together with the headers is one piece, and is asked of it; what follows on the connection are the bytes.
    """
    import httpx

    first, rest, missing = iter(response.iter_raw()), memoryview(b""), size
    begun = False

    def take(count: int) -> bytes:
        nonlocal rest, missing, begun
        if not begun:
            rest, begun = memoryview(next(first, b"")), True
        if rest:
            data, rest = bytes(rest[:count]), rest[count:]
        elif missing:
            data = network.read(min(count, missing, _AT_ONCE), timeout=_SILENCE_SECONDS)
            if not data:
                raise httpx.RemoteProtocolError(f"the connection ended {missing} bytes early")
        else:
            data = b""
        missing -= len(data)
        return data

    return take


def _send(method: str, url: str, guarded: bool, strict: bool = False, /, **more: str) -> httpx.Response:
    """The response after redirects, its body unread: one request, with ``more`` headers.

    ``strict``: where guarded, configured endpoints are not trusted; and a silent server is soon given up.
    """
    with _errors(url):
        client = _client(os.getpid(), guarded, strict)
        # identity: a digest is of the bytes that lie there.
        request = client.build_request(method, url, headers={"Accept-Encoding": "identity", **more})
        with limit_of(url).request(method) as slot:
            response = client.send(request, stream=True)
            slot.status = response.status_code
    if response.status_code not in ((200, 206) if more else (200,)):
        response.close()
        _refuse(response, url)
    return response


@lru_cache(maxsize=4)
def _client(process: int, guarded: bool, strict: bool) -> httpx.Client:
    # By process: a forked worker must not share its parent's connections.
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=THREADS)
    transport = _on_living_connections(environment_transport(limits))
    client = httpx.Client(
        transport=_guarded_transport(transport, strict) if guarded else transport,
        timeout=PROBE_SECONDS if strict else httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
        event_hooks=http_hooks(),
        follow_redirects=True,
        max_redirects=_MOST_REDIRECTS,
    )
    atexit.register(client.close)
    return client


def _on_living_connections(inner: httpx.BaseTransport) -> httpx.BaseTransport:
    """Sends a request anew whose connection was kept, and had been given up by the server in the meantime."""
    import httpx

    class OnLivingConnections(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            before = _connected.count
            try:
                return inner.handle_request(request)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if _connected.count != before:
                    raise
                return inner.handle_request(request)

        def close(self) -> None:
            inner.close()

    return OnLivingConnections()


def environment_transport(limits: httpx.Limits | None = None, *, until: float = math.inf) -> httpx.BaseTransport:
    """Sends each request directly, or by the proxy that the environment names for it.

    Which way, is by the Host header: the URL may hold the address that the host was found at. An answer that
    trickles, be it its headers, ends as a silence does, and at ``until`` (of ``time.monotonic``) any answer ends.

    Raises:
        NetworkSettingsError: At a request: a variable names a proxy, or authorities, that cannot be used.
    """
    import httpx

    kept = limits or httpx.Limits(max_connections=100, max_keepalive_connections=20)

    class ByEnvironment(httpx.BaseTransport):
        def __init__(self) -> None:
            self._lock = threading.Lock()
            self._ways: dict[Any, httpx.HTTPTransport] = {}

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            proxy, tls = proxy_of(f"{request.url.scheme}://{request.headers.get('Host', '')}"), tls_context()
            # One that is held to an address must not get the connection of another host at that address.
            key = proxy, tls, request.extensions.get("sni_hostname")
            with self._lock:
                way = self._ways.pop(key, None)
                if way is None:
                    # Only a proxy that is itself spoken to by TLS takes a context.
                    ours = tls if proxy is not None and proxy.startswith("https:") else None
                    by = None if proxy is None else httpx.Proxy(proxy, ssl_context=ours)
                    way = httpx.HTTPTransport(verify=tls, limits=kept, proxy=by)
                    # httpx leaves no other way to say how connections are made.
                    way._pool._network_backend = _paced_connections(until)  # pyright: ignore[reportPrivateUsage]
                # The last one used stands last; one that is dropped ends with its last answer.
                self._ways[key] = way
                if len(self._ways) > _MOST_WAYS:
                    del self._ways[next(iter(self._ways))]
            return way.handle_request(request)

        def close(self) -> None:
            for way in self._ways.values():
                way.close()

    return ByEnvironment()


class _Connected(threading.local):
    count = 0
    """Connections that were made in this thread."""


_connected = _Connected()


def _paced_connections(until: float) -> httpcore.NetworkBackend:
    """Makes connections whose reads keep to ``ReadRate``, from each request to the next, and are over at a time."""
    import httpcore

    class Paced(httpcore.NetworkStream):
        def __init__(self, stream: httpcore.NetworkStream) -> None:
            self._stream = stream
            self._pace = ReadRate()

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            before, silence = time.monotonic(), timeout or _SILENCE_SECONDS
            if before >= until:
                raise httpcore.ReadTimeout("its answer takes too long")
            data = self._stream.read(max_bytes, min(silence, until - before))
            try:
                self._pace.note(time.monotonic() - before, len(data), silence)
            except TimeoutError as why:
                raise httpcore.ReadTimeout(str(why)) from None
            return data

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._pace = ReadRate()
            self._stream.write(buffer, timeout)

        def close(self) -> None:
            self._stream.close()

        def start_tls(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
            return Paced(self._stream.start_tls(*args, **options))

        def get_extra_info(self, info: str) -> Any:
            return self._stream.get_extra_info(info)

    class Connections(httpcore.SyncBackend):
        def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
            _connected.count += 1
            return Paced(super().connect_tcp(*args, **options))

    return Connections()


def _guarded_transport(inner: httpx.BaseTransport, strict: bool) -> httpx.BaseTransport:
    """Connects only where ``check_public`` allows, redirects included."""
    import httpx

    class Guarded(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            address = check_public(str(request.url), environment=not strict)
            if address is None:
                return inner.handle_request(request)
            # Host header and TLS go on naming the host.
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode("ascii")},
            )
            return inner.handle_request(pinned)

    return Guarded()


@contextmanager
def _errors(url: str) -> Generator[None]:
    import httpcore
    import httpx

    # What may be shown of the URL is found out where it is: this is entered for each piece of a body.
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        shown = displayed(url)
        raise StorageError(f"{shown} is no http(s) URL. Use a full one.", urls=[shown]) from None
    except httpx.TooManyRedirects:
        raise ServiceRefusedError(
            f"{displayed(url)} redirects more than {_MOST_REDIRECTS} times. Use the URL that it should lead to.",
            service=_host(url),
            status=None,
            error="too many redirects",
        ) from None
    except (httpx.HTTPError, httpcore.NetworkError, httpcore.TimeoutException) as why:
        if said := tls_trouble(why):
            raise ServiceRefusedError(
                f"{displayed(url)} {said}.", service=_host(url), status=None, error="certificate"
            ) from None
        raise ServiceUnavailableError(
            f"{displayed(url)} cannot be read now: {why or type(why).__name__}. Check the network, or try again.",
            service=_host(url),
            status=None,
        ) from None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _refuse(response: httpx.Response, url: str) -> NoReturn:
    status, shown = response.status_code, displayed(url)
    facts: dict[str, Any] = {"service": _host(url), "status": status}
    if status in (404, 410):
        raise ShardMissingError(f"There is no shard at {shown} (HTTP {status}). Check the URL.", url=shown)
    if status in (401, 403):
        raise ShardForbiddenError(
            f"{shown} may not be read (HTTP {status}). Make it public, or give a data store that has access.",
            url=shown,
        )
    if status == 429:
        raise RateLimitedError(
            f"{shown}: too many requests (HTTP 429). Try again later.",
            retry_after=seconds_to_wait(response.headers),
            **facts,
        )
    if status >= 500 or status == 408:
        raise ServiceUnavailableError(
            f"{shown} cannot be read now (HTTP {status}). Try again.",
            retry_after=seconds_to_wait(response.headers),
            **facts,
        )
    raise ServiceRefusedError(
        f"{shown} was answered with HTTP {status}, not with the shard. Check the URL.",
        error=response.reason_phrase,
        **facts,
    )
