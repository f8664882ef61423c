"""How HTTP requests go out: by which way, over which connections, where to, and how long an answer may take."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from ..common.network_settings import proxy_of, tls_context
from .private_addresses import check_public

if TYPE_CHECKING:
    import httpcore
    import httpx

SILENCE_SECONDS = 60.0
"""How long an answer may be silent, where whoever asks says nothing else."""

SLOWEST = 4096
"""Bytes a second, on average, below which an answer is given up: one that trickles would be waited for for ever."""

_MOST_WAYS = 64
"""Hosts whose connections are kept: records of others may name as many as they like."""


def too_slow(seconds: float, count: int, silence: float) -> bool:
    """Whether so many bytes of an answer have been waited for too long; ``silence`` are the seconds for none."""
    return seconds > silence + count / SLOWEST


class ReadRate:
    """How quickly the bytes of one answer come: beginning, headers and body alike.

    What passes between two reads does not count: whoever works on the bytes may take as long as it takes.
    """

    def __init__(self) -> None:
        self.received = 0
        self._waited = 0.0

    def note(self, seconds: float, count: int, silence: float) -> None:
        """Note that so many bytes were waited for so long; raises ``TimeoutError`` where that is ``too_slow``."""
        self.received += count
        self._waited += seconds
        if count and too_slow(self._waited, self.received, silence):
            raise TimeoutError(f"it trickles, {self.received:,} bytes in {self._waited:.0f} s")


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
            before, silence = time.monotonic(), timeout or SILENCE_SECONDS
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


def on_living_connections(inner: httpx.BaseTransport) -> httpx.BaseTransport:
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


def guarded_transport(inner: httpx.BaseTransport, strict: bool) -> httpx.BaseTransport:
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
