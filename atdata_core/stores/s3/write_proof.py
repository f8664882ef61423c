"""How it is known that an object in S3 holds the bytes it should."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import ShardConflictError
from ...protocols import ShardStat, WriteProof
from ..digests import sha256_of
from .objects import S3Endpoint


def prove(
    endpoint: S3Endpoint,
    place: tuple[str, str],
    url: str,
    stat: ShardStat,
    *,
    size: int,
    sha256: str,
    etags: Iterable[str | None] = (),
) -> WriteProof:
    """The cheapest proof that the service offers for an object that it has.

    Args:
        endpoint: The service.
        place: Bucket and key.
        url: The object's URL, for the error.
        stat: What the service says of it.
        size: Bytes that it should have.
        sha256: Their digest.
        etags: What its ETag may be then: the MD5 of the same bytes, one by which they were known before.

    Returns:
        With ``"server sha256"``, ``"etag md5"`` or ``"read back"``.

    Raises:
        ShardConflictError: it holds something else.
    """
    if stat.size != size:
        raise _conflict(url, f"{size} bytes", f"{stat.size} bytes")
    if stat.sha256 is not None:
        if stat.sha256 != sha256:
            raise _conflict(url, sha256, stat.sha256)
        return WriteProof(url, "server sha256", stat.etag)
    if stat.etag is not None and stat.etag in etags:
        return WriteProof(url, "etag md5", stat.etag)
    with endpoint.open(*place) as body:
        found = sha256_of(body)
    if found != sha256:
        raise _conflict(url, sha256, found)
    return WriteProof(url, "read back", stat.etag)


def _conflict(url: str, expected: str, found: str) -> ShardConflictError:
    return ShardConflictError(
        f"Another object lies at {url}: {expected} expected, {found} found. It is left as it is; remove it or "
        "choose another prefix.",
        url=url,
        expected=expected,
        found=found,
    )
