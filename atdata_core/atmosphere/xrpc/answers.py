"""Answers of a service: their bodies, and what went wrong, as one of our errors.

A body has never more bytes than make sense, and takes no longer than it may.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from atdata_core.common.network_settings import tls_trouble
from atdata_core.common.retry_after import seconds_to_wait
from atdata_core.errors import AtdataError, RateLimitedError, ServiceRefusedError, ServiceUnavailableError
from atdata_core.secrets import masked
from atdata_core.stores.http_transport import too_slow

if TYPE_CHECKING:
    import httpx

MAX_REPLY = 1 << 26
"""Bytes (64 MiB): more than a blob or a page of the largest records; a hostile service may send for ever."""
MAX_WORDS = 300
"""Characters that are shown of what a service says."""
NOT_IMPLEMENTED = "MethodNotImplemented"
"""What a PDS says of a method that it does not have: https://atproto.com/specs/xrpc."""
_READ = 64 * MAX_WORDS


def read_body(response: httpx.Response, url: str, *, silence: float, most: int = MAX_REPLY) -> bytes:
    """The body of an answer that was not read yet.

    Args:
        response: The answer.
        url: What was asked, for errors.
        silence: Seconds that it may take, besides those for its bytes.
        most: Bytes that it may have.

    Raises:
        ServiceRefusedError: It has more.
        httpx.HTTPError: It broke off, or trickles.
    """
    import httpx

    received, begun = bytearray(), time.monotonic()
    for chunk in response.iter_bytes():
        received += chunk
        if len(received) > most:
            service, method = _place(url)
            raise refused(
                f"{service} answered {method} with more than {most:,} bytes. Is this the right address?", service
            )
        taken = time.monotonic() - begun
        if too_slow(taken, len(received), silence):
            raise httpx.ReadError(f"its answer trickles, {len(received):,} bytes in {taken:.0f} s")
    return bytes(received)


def of_reply(url: str, status: int, headers: Mapping[str, str], body: bytes) -> AtdataError:
    """The error of an answer that is no success.

    Args:
        url: What was asked; its query is not shown.
        status: HTTP status, 300 or above.
        headers: Of the answer, lower-case names.
        body: XRPC's ``{"error": ..., "message": ...}``, or anything.
    """
    service, method = _place(url)
    error, message = _words(body)
    said = ": ".join(part for part in (error, message) if part) or "no reason given"
    if status == 429:
        wait = seconds_to_wait(headers)
        when = "later" if wait is None else f"in {wait:.0f} s"
        return RateLimitedError(
            f"{service} takes no more requests from this account or address for now ({method}). Try again {when}.",
            service=service,
            status=status,
            retry_after=wait,
        )
    # 501: a PDS that has no such method will not have it soon.
    if status >= 500 and error != NOT_IMPLEMENTED:
        return ServiceUnavailableError(
            f"{service} failed at {method}: {status} {said}. Try again later.",
            service=service,
            status=status,
            retry_after=seconds_to_wait(headers),
        )
    if status < 400:
        target = urlsplit(headers.get("location", "")).netloc or "another address"
        return refused(f"{service} redirects {method} to {target}. Use the final address.", service, status)
    # A PDS names its reason; what gives none, a page for instance, is hardly one.
    unlike = error is None and "/xrpc/" in url
    page = _page(headers, body)
    hint = (
        ""
        if page is None
        else (f" That is a page{page}, which a gateway, proxy or firewall before it sends: ask whoever runs that.")
    )
    hint += " Is this the address of a PDS? Check ATDATA_PDS_URL or base_url." if unlike else ""
    return refused(f"{service} refused {method}. It answered {status} {said}.{hint}", service, status, error)


def of_transport(url: str, error: BaseException) -> AtdataError:
    """The error of a request that got no answer."""
    import httpx

    service, method = _place(url)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | UnicodeError):
        return refused(f"{service} is no usable address of a service.", service, None)
    if said := tls_trouble(error):
        return refused(f"{service} {said}.", service, None)
    reason = "it took too long" if isinstance(error, httpx.TimeoutException) else str(error)
    return ServiceUnavailableError(
        f"{service} cannot be reached ({method}: {reason or type(error).__name__}). "
        "Check the address and that the service runs, then try again.",
        service=service,
        status=None,
    )


def can_pass(error: Exception) -> bool:
    """Whether an error is one of httpx's that may be gone later."""
    import httpx

    return isinstance(error, httpx.TransportError)


def refused(
    message: str, service: str | None, status: int | None = 200, error: str | None = None
) -> ServiceRefusedError:
    """The error of a service that does not do, or is not, what it should; ``error`` is its own name for it."""
    return ServiceRefusedError(message, service=service, status=status, error=error)


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    # A URL from a record may carry a user and password.
    service = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return service, parts.path.removeprefix("/xrpc/").strip("/") or "/"


def _page(headers: Mapping[str, str], body: bytes) -> str | None:
    """The title of a page for people, to be put into a sentence; None where an answer is none."""
    start = body[:_READ].decode(errors="replace").lstrip("\ufeff \r\n\t")
    if "html" not in headers.get("content-type", "") and not start.startswith("<"):
        return None
    title = re.search(r"<title[^>]*>([^<]*)", start, re.IGNORECASE)
    text = " ".join(title[1].split()) if title else ""
    return f" (HTML, {_shown(text)!r})" if text else " (HTML)"


def _words(body: bytes) -> tuple[str | None, str | None]:
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(value, dict):
        return None, None
    fields = cast("dict[str, Any]", value)
    error, message = fields.get("error"), fields.get("message")
    return (
        _shown(error) if isinstance(error, str) and error else None,
        _shown(message) if isinstance(message, str) else None,
    )


def _shown(text: str) -> str:
    if len(text) <= MAX_WORDS:
        return text  # errors mask what they hold
    # Masked before it is cut: nobody knows the first half of a password for what it is.
    return masked(text[:_READ])[:MAX_WORDS]
