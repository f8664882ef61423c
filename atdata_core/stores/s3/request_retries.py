"""How often and when a request to an S3 service is sent again: as everywhere else in this library.

botocore's own retries are switched off, for three reasons: they do not know ``Retry-After``, they pay from an
account that a bad hour empties (500 tokens a client, 14 a retry; then the first fault of a call fails it), and
they sleep where nobody can see it.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# botocore comes without types.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...common import retry_after
from ...errors import PrivateAddressError
from .s3_errors import SLOW

_PASSES = (429, 500, 502, 503, 504)
_PASSES_BY_NAME = SLOW | {"RequestTimeout", "RequestTimeoutException", "InternalError"}


def send_again(client: Any, most: int) -> None:
    """Make a boto3 S3 client wait at the gates, and send a request at most so often."""

    def wait(request: Any, **_: Any) -> None:
        retry_after.ours.wait(retry_after.service_of(request.url))

    def needs_retry(
        response: Any, attempts: int, caught_exception: Any, request_dict: Mapping[str, Any], **_: Any
    ) -> float | None:
        if response is not None:
            http, _parsed = response
            retry_after.note_answer(request_dict["url"], http.status_code, _lowered(http.headers))
        if attempts >= most or not _passes(response, caught_exception):
            return None
        retry_after.ours.pause(attempts)
        return 0.0  # seconds that botocore sleeps on top

    client.meta.events.register_first("before-send.s3", wait)
    client.meta.events.register("needs-retry.s3", needs_retry)


def _passes(response: Any, error: Any) -> bool:
    """Whether a request that was answered so, or not at all, may succeed soon."""
    from botocore.exceptions import ConnectionError, HTTPClientError

    if response is None:
        guarded = isinstance(getattr(error, "kwargs", {}).get("error"), PrivateAddressError)
        return isinstance(error, ConnectionError | HTTPClientError) and not guarded
    http, parsed = response
    if (retry_after.seconds_to_wait(_lowered(http.headers)) or 0.0) > retry_after.LONGEST_WAIT:
        return False
    return http.status_code in _PASSES or parsed.get("Error", {}).get("Code") in _PASSES_BY_NAME


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
