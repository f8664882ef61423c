"""Shards behind ``http(s)://``: streamed, with errors that say whether trying again can help."""

from __future__ import annotations

import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast
from urllib.parse import urlsplit

from ..errors import (
    RateLimitedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardForbiddenError,
    ShardMissingError,
    StorageError,
)
from ..protocols import ShardStat
from ..urls import displayed
from .private import check_public

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
_MOST_REDIRECTS = 10
_CHUNK = 1 << 20


def open_web(url: str, *, guarded: bool = False) -> BinaryIO:
    """The body of ``GET url`` as it arrives; redirects are followed, and checked too when ``guarded``.

    Raises:
        As ``access.open_shard``; the service errors also while reading, when the connection drops.
    """
    return cast("BinaryIO", io.BufferedReader(_Body(_send("GET", url, guarded), url), _CHUNK))


def stat_web(url: str, *, guarded: bool = False) -> ShardStat:
    """Size and ETag that the server states; raises as ``open_web`` does.

    Raises:
        StorageError: The server does not say how large the shard is.
    """
    try:
        response = _send("HEAD", url, guarded)
    except (ShardForbiddenError, ServiceRefusedError):
        # A presigned URL is signed for one method, and some servers know no HEAD.
        response = _send("GET", url, guarded)
    response.close()
    length = response.headers.get("content-length", "")
    etag = response.headers.get("etag", "").removeprefix("W/").strip('"')
    if not length.isdigit() or "content-encoding" in response.headers:
        raise StorageError(
            f"{displayed(url)}: the server does not say how large the shard is. Serve it as a plain file.",
            urls=[displayed(url)],
        )
    return ShardStat(size=int(length), etag=etag or None)


class _Body(io.RawIOBase):
    """A response as a file that is read forward."""

    def __init__(self, response: httpx.Response, url: str) -> None:
        super().__init__()
        self._response = response
        self._url = url
        self._chunks = response.iter_bytes(_CHUNK)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest:
            with _errors(self._url):
                self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._response.close()
        super().close()


def _send(method: str, url: str, guarded: bool) -> httpx.Response:
    """The response after redirects, its body unread."""
    with _errors(url):
        client = _client(os.getpid(), guarded)
        # identity: a digest is of the bytes that lie there.
        request = client.build_request(method, url, headers={"Accept-Encoding": "identity"})
        response = client.send(request, stream=True)
    if response.status_code != 200:
        response.close()
        _refuse(response, url)
    return response


@lru_cache(maxsize=4)
def _client(process: int, guarded: bool) -> httpx.Client:
    # By process: a forked worker must not share its parent's connections. None is kept open in between:
    # shards are large, so a new connection each time is not what takes long.
    import httpx

    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(
        transport=_guarded_transport(httpx.HTTPTransport(limits=limits)) if guarded else None,
        limits=limits,
        timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
        follow_redirects=True,
        max_redirects=_MOST_REDIRECTS,
    )


def _guarded_transport(inner: httpx.BaseTransport) -> httpx.BaseTransport:
    """Connects only where ``check_public`` allows, redirects included."""
    import httpx

    class Guarded(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            address = check_public(str(request.url))
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
    import httpx

    shown, service = displayed(url), _host(url)
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise StorageError(f"{shown} is no http(s) URL. Use a full one.", urls=[shown]) from None
    except httpx.TooManyRedirects:
        raise ServiceRefusedError(
            f"{shown} redirects more than {_MOST_REDIRECTS} times. Use the URL that it should lead to.",
            service=service,
            status=None,
            error="too many redirects",
        ) from None
    except httpx.HTTPError as why:
        raise ServiceUnavailableError(
            f"{shown} cannot be read now: {why or type(why).__name__}. Check the network, or try again.",
            service=service,
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
        after = response.headers.get("retry-after", "")
        raise RateLimitedError(
            f"{shown}: too many requests (HTTP 429). Try again later.",
            retry_after=int(after) if after.isdigit() else None,
            **facts,
        )
    if status >= 500 or status == 408:
        raise ServiceUnavailableError(f"{shown} cannot be read now (HTTP {status}). Try again.", **facts)
    raise ServiceRefusedError(
        f"{shown} was answered with HTTP {status}, not with the shard. Check the URL.",
        error=response.reason_phrase,
        **facts,
    )
