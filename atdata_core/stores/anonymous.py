"""A shard as somebody sees it who has no key: the first bytes are asked for, once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..common.urls import parse_s3, scheme
from .digests import strong_etag

FIRST_BYTES = "bytes=0-511"


class Probe(NamedTuple):
    """What a server says of a whole shard when its first bytes are asked for; None: it does not say."""

    size: int | None
    etag: str | None


def probe(url: str, endpoint: str | None = None, region: str | None = None, *, inside: bool = False) -> Probe:
    """Ask for the first bytes of a shard without any key.

    Args:
        url: ``s3://`` or ``http(s)://``.
        endpoint: The S3 service of an ``s3://`` URL; None is AWS.
        region: Its region.
        inside: Strangers share our private network. Else a private address is none that they can reach, a
            configured one neither, except those that ``ATDATA_ALLOW_PRIVATE`` lists.

    Raises:
        PrivateAddressError: Only this network reaches it.
        ShardForbiddenError, ShardMissingError: A stranger is turned away, or told that it is not there.
        StorageError: The URL is not understood.
        ServiceError: The server did not answer as it should.
    """
    if scheme(url) == "s3":
        return _glance_s3(url, endpoint, region, inside)
    from .http import first_bytes

    return _of_headers(first_bytes(url, FIRST_BYTES, guarded=not inside))


def _glance_s3(url: str, endpoint: str | None, region: str | None, inside: bool) -> Probe:
    from .http import GLANCE_SECONDS
    from .private_addresses import check_public
    from .s3.objects import S3Endpoint

    bucket, key = parse_s3(url)
    if endpoint is not None and not inside:
        check_public(endpoint, environment=False)
    stranger = replace(S3Endpoint.anonymous_at(endpoint, region), timeout=GLANCE_SECONDS)
    with stranger.errors(bucket, key):
        answer: dict[str, Any] = stranger.client.get_object(Bucket=bucket, Key=key, Range=FIRST_BYTES)
    answer["Body"].close()
    return _of_headers(answer["ResponseMetadata"]["HTTPHeaders"])


def _of_headers(headers: Mapping[str, str]) -> Probe:
    """From the headers of an answer, lower-case names."""
    etag = strong_etag(headers.get("etag"))
    if "content-encoding" in headers:
        return Probe(None, etag)
    part = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("content-range", ""))
    # Without a range this is the whole shard: some servers know no parts.
    whole = headers.get("content-length", "") if "content-range" not in headers else ""
    return Probe(int(part[1]) if part else int(whole) if whole.isdecimal() else None, etag)
