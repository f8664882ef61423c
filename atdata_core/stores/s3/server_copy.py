"""Having an S3 service copy an object from one of its buckets to another: no byte passes through here."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 comes without types.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from ...errors import (
    AtdataError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardForbiddenError,
    ShardMissingError,
)
from .multipart import NOT_IMPLEMENTED, Multipart
from .objects import S3Endpoint
from .upload import as_new

ONE_CALL = 5 << 30
"""Bytes that S3 copies in one request; a larger object is copied in ranges, where the server knows that."""

RANGE = 1 << 30
"""Bytes of such a range."""

_QUICK = 256 << 20
_LONG_SECONDS = 900.0
"""A server says nothing while it copies. An object above ``_QUICK`` bytes may take it this long."""


def copy_within(
    endpoint: S3Endpoint, source: tuple[str, str], target: tuple[str, str], *, size: int, etag: str
) -> str | None:
    """Copy an object, unless something lies at its destination; what the service says of it proves nothing.

    Metadata of the source stay behind, as when its bytes are sent.

    Args:
        endpoint: The service; its keys read the source and write the target.
        source: Bucket and key of an object.
        target: Bucket and key of its copy.
        size: Bytes of the source.
        etag: Its ETag, without quotes. (Not every server looks at it.)

    Returns:
        An ETag, without quotes: of the copy, or, as some servers have it, of the source when it was copied. None
        where the service does not copy it: it knows no copies, does not let these keys read the source, the source
        is another one by now, or the target is there. Nothing was written then.

    Raises:
        ServiceUnavailableError, RateLimitedError: The service failed; it may pass.
    """
    if size > _QUICK and endpoint.timeout is None:
        endpoint = replace(endpoint, timeout=_LONG_SECONDS)
    try:
        if size > ONE_CALL:
            return _in_ranges(endpoint, source, target, size, etag)
        return as_new(partial(_at_once, endpoint, source, target, etag))
    except (ShardForbiddenError, ShardMissingError, ServiceRefusedError):
        return None
    except ServiceUnavailableError as error:
        if error.status != NOT_IMPLEMENTED:
            raise
        return None


def _at_once(
    endpoint: S3Endpoint, source: tuple[str, str], target: tuple[str, str], etag: str, condition: Mapping[str, str]
) -> str:
    with endpoint.errors(*target):
        answer = endpoint.client.copy_object(
            Bucket=target[0],
            Key=target[1],
            CopySource={"Bucket": source[0], "Key": source[1]},
            CopySourceIfMatch=f'"{etag}"',
            MetadataDirective="REPLACE",
            # With it a server that keeps digests can prove the copy.
            ChecksumAlgorithm="SHA256",
            **condition,
        )
    return str(answer.get("CopyObjectResult", {}).get("ETag", "")).strip('"')


def _in_ranges(
    endpoint: S3Endpoint, source: tuple[str, str], target: tuple[str, str], size: int, etag: str
) -> str | None:
    parts = Multipart(endpoint, *target)
    place = {"Bucket": source[0], "Key": source[1]}
    try:
        for first in range(0, size, RANGE):
            if not parts.copy(place, first, min(first + RANGE, size) - 1, etag):
                parts.abort()
                return None
        as_new(partial(parts.complete, size))
    except AtdataError:
        parts.abort()
        raise
    return ""
