"""The body of an answer: never more bytes than make sense, and no longer than they may take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from atdata_core.atmosphere.xrpc.service_errors import of_endless_reply
from atdata_core.common.retry_after import too_slow

if TYPE_CHECKING:
    import httpx

MAX_REPLY = 1 << 26
"""Bytes (64 MiB): more than a blob or a page of the largest records; a hostile service may send for ever."""


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
            raise of_endless_reply(url, most)
        taken = time.monotonic() - begun
        if too_slow(taken, len(received), silence):
            raise httpx.ReadError(f"its answer trickles, {len(received):,} bytes in {taken:.0f} s")
    return bytes(received)
