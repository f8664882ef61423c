"""Shards behind ``http(s)://``: streamed, with errors that say whether trying again can help."""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import urlsplit

from ..common.concurrency import THREADS, limit_of
from ..common.network_settings import tls_trouble
from ..common.retry_after import http_hooks, seconds_to_wait, with_retries
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
from . import http_transport
from .shard_streams import CHUNK, Opened, PartRead, ResumableRead, changed_while_read, is_rest, read_ahead

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 10.0
FIRST_BYTES = "bytes=0-511"
"""The range that is asked for to see what anonymous readers get."""
_FEW = {str(count) for count in range(513)}
PROBE_SECONDS = 5.0
"""How long that waits for an answer: there may be a wall that lets nothing through."""
_MOST_REDIRECTS = 10
_AT_ONCE = 1 << 20


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
            data = network.read(min(count, missing, _AT_ONCE), timeout=http_transport.SILENCE_SECONDS)
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
    transport = http_transport.on_living_connections(http_transport.environment_transport(limits))
    usual = httpx.Timeout(http_transport.SILENCE_SECONDS, connect=_CONNECT_SECONDS)
    client = httpx.Client(
        transport=http_transport.guarded_transport(transport, strict) if guarded else transport,
        timeout=PROBE_SECONDS if strict else usual,
        event_hooks=http_hooks(),
        follow_redirects=True,
        max_redirects=_MOST_REDIRECTS,
    )
    atexit.register(client.close)
    return client


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
