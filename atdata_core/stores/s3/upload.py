"""Writing one S3 object with bounded memory, and knowing what was written.

Its bytes are sent, in one request or in parts, or the service copies them from another of its objects. Until the
last request nothing can be seen at the destination.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# boto3 comes without types.

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import BinaryIO, NamedTuple, TypeVar

from ...common.concurrency import arriving
from ...errors import (
    AtdataError,
    ServiceUnavailableError,
    ShardChangedError,
    ShardConflictError,
)
from ...protocols import ShardStat, WriteProof
from ..shard_streams import sha256_of
from .multipart import NOT_IMPLEMENTED, Multipart, is_refusal, md5_of
from .objects import S3Endpoint

R = TypeVar("R")
S3Key = tuple[str, str]
"""Bucket and key of an object."""

SINGLE = 32 << 20
"""Bytes up to which an object of unknown size is sent at once (its ETag is then its MD5 on most servers)."""
PART = 16 << 20
"""Bytes of a part of such an object; S3 takes 10,000 parts of at least 5 MiB."""
RESUMABLE_PART = 8 << 20
"""Bytes of a part of an object whose size is known, and what one takes of memory while it is sent."""
MOST_PARTS = 10_000
"""That S3 allows; parts of an object beyond 80 GB are larger."""
_MIB = 1 << 20

ONE_CALL = 5 << 30
"""Bytes that S3 copies in one request; a larger object is copied in ranges, where the server knows that."""
RANGE = 1 << 30
"""Bytes of such a range."""
_QUICK = 256 << 20
_LONG_SECONDS = 900.0
"""A server says nothing while it copies. An object above ``_QUICK`` bytes may take it this long."""


class S3Upload:
    """A file-like object to write into; ``commit`` makes the object appear, leaving without it drops all.

    Bytes are digested while they pass: ``size``, ``sha256`` and ``md5`` (hex) tell of what was written so far,
    ``etag`` (after ``commit``) is the server's. The bucket must be there.
    """

    def __init__(self, endpoint: S3Endpoint, bucket: str, key: str) -> None:
        self.size = 0
        self.etag: str | None = None
        self._endpoint = endpoint
        self._place = {"Bucket": bucket, "Key": key}
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._buffer = bytearray()
        self._parts = Multipart(endpoint, bucket, key)

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes so far."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        """MD5 of the bytes so far."""
        return self._md5.hexdigest()

    def write(self, data: bytes | memoryview) -> int:
        """Takes bytes; sends parts when enough have gathered. Raises as ``S3Endpoint.stat`` does."""
        self._sha256.update(data)
        self._md5.update(data)
        self._buffer += data
        self.size += len(data)
        while self.size > SINGLE and len(self._buffer) >= PART:
            part = bytes(memoryview(self._buffer)[:PART])
            del self._buffer[:PART]
            self._parts.send(part)
        return len(data)

    def commit(self) -> None:
        """Makes the object appear. Raises as ``S3Endpoint.stat`` does."""
        if self._parts.begun:
            if self._buffer:
                self._parts.send(self._rest())
            self._parts.complete(self.size, {})
        else:
            put(self._endpoint, self._place, self._rest(), self._sha256.digest(), {})
        # Asked for, not taken from the answer: rclone gives another ETag there for an object of parts.
        self.etag = self._endpoint.stat(self._place["Bucket"], self._place["Key"]).etag

    def _rest(self) -> bytes:
        # boto is given bytes: moto, under which users test, takes a bytearray for something else.
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest

    def abort(self) -> None:
        """Drops what was sent; as far as the service can still be reached."""
        self._buffer = bytearray()
        self._parts.abort()

    def __enter__(self) -> S3Upload:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


def put(
    endpoint: S3Endpoint,
    place: Mapping[str, str],
    data: bytes,
    sha256: bytes,
    condition: Mapping[str, str],
) -> str:
    """Write an object with one request; the ETag that the service gives it, without quotes.

    A server that checks ``sha256`` refuses damaged bytes, and can prove the object later. ``condition`` is added to
    the request.
    """
    with endpoint.errors(place["Bucket"], place["Key"]):
        answer = endpoint.client.put_object(
            **place,
            Body=data,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=base64.b64encode(sha256).decode(),
            **condition,
        )
    return str(answer.get("ETag", "")).strip('"')


def as_new(write: Callable[[Mapping[str, str]], R]) -> R:
    """What ``write(condition)`` gives, on the condition that it replaces nothing, where the server knows one.

    A server that sees to the condition refuses the write with 412, or with 409 while another one is going on.
    """
    try:
        return write({"IfNoneMatch": "*"})
    except ServiceUnavailableError as error:
        # Most servers that know no conditions take no notice of them instead.
        if error.status != NOT_IMPLEMENTED:
            raise
        return write({})


class Sent(NamedTuple):
    """An object that was written: the ETag that a digest of its bytes would be, and the one that it was given."""

    digest: str
    answered: str


def send(
    endpoint: S3Endpoint,
    bucket: str,
    key: str,
    stream: BinaryIO,
    *,
    size: int,
    sha256: str,
    md5: str | None = None,
) -> Sent:
    """Write a stream of ``size`` bytes with these digests (hex) as a new object, in a bucket that is there.

    Raises:
        ShardChangedError: The stream does not have this size and digest; nothing is left.
        ServiceRefusedError: With status 412 or 409, another object is there or being written.
        And as ``S3Endpoint.stat``; parts that were sent before stay for the next attempt.
    """
    source = _Source(stream, f"s3://{bucket}/{key}", size, sha256)
    if size <= RESUMABLE_PART:
        with arriving(size):
            data = source.read(size)
            source.check_end()
        write = partial(put, endpoint, {"Bucket": bucket, "Key": key}, data, source.sha256.digest())
        return Sent(md5 or md5_of(data), as_new(write))
    parts = Multipart(endpoint, bucket, key)
    length = part_length(size)
    parts.take_up(lambda number: max(0, min(length, size - (number - 1) * length)))
    digests: list[str] = []
    try:
        for at in range(0, size, length):
            data = source.read(min(length, size - at))
            digests.append(md5_of(data))
            parts.send(data, digests[-1])
            del data  # before the next one is read: eight of these are at work
        source.check_end()
        answered = as_new(partial(parts.complete, size))
    except AtdataError as error:
        # rclone says 501 of a part that it has with other bytes: nothing can go on with that.
        if not error.transient or error.facts.get("status") == NOT_IMPLEMENTED:
            parts.abort()
        raise
    return Sent(f"{md5_of(bytes.fromhex(''.join(digests)))}-{len(digests)}", answered)


def part_length(size: int) -> int:
    """Bytes of each part of an object but the last one, the same at each attempt."""
    return max(RESUMABLE_PART, -(-size // MOST_PARTS // _MIB) * _MIB)


class _Source:
    """A stream that must have so many bytes with this digest."""

    def __init__(self, stream: BinaryIO, url: str, size: int, sha256: str) -> None:
        self._stream = stream
        self._url = url
        self._size = size
        self._expected = sha256
        self._at = 0
        self.sha256 = hashlib.sha256()

    def read(self, count: int) -> bytes:
        """The next bytes, exactly so many; raises ``ShardChangedError`` where there are fewer."""
        # Its memory is that of the bytes that it gives: a part is in memory once.
        data = io.BytesIO()
        if count:
            data.seek(count - 1)
            data.write(b"\0")
            data.seek(0)
        at = 0
        while at < count:
            chunk = self._stream.read(min(_MIB, count - at))
            if not chunk:
                raise self._changed()
            self.sha256.update(chunk)
            data.write(chunk)
            at += len(chunk)
            self._at += len(chunk)
        return data.getvalue()

    def check_end(self) -> None:
        """Raise ``ShardChangedError`` where there are more bytes, or they were not those."""
        more = self._stream.read(1)
        self._at += len(more)
        if more or self.sha256.hexdigest() != self._expected:
            raise self._changed()

    def _changed(self) -> ShardChangedError:
        found = self.sha256.hexdigest()
        return ShardChangedError(
            f"The bytes to be written as {self._url} are not those that were recorded: {self._size} bytes with "
            f"SHA-256 {self._expected} were expected, {self._at} or more with {found} came. "
            "Insert the dataset again if it was changed on purpose.",
            url=self._url,
            expected=self._expected,
            found=found,
        )


def copy_within(endpoint: S3Endpoint, source: S3Key, target: S3Key, *, size: int, etag: str) -> str | None:
    """Copy an object, unless something lies at its destination; what the service says of it proves nothing.

    The endpoint's keys read the source, which has so many bytes and this ETag (without quotes; not every server
    looks at it), and write the target. Metadata of the source stay behind, as when its bytes are sent.

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
    except AtdataError as error:
        if not is_refusal(error):
            raise
        return None


def _at_once(endpoint: S3Endpoint, source: S3Key, target: S3Key, etag: str, condition: Mapping[str, str]) -> str:
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


def _in_ranges(endpoint: S3Endpoint, source: S3Key, target: S3Key, size: int, etag: str) -> str | None:
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


def prove(
    endpoint: S3Endpoint,
    place: S3Key,
    url: str,
    stat: ShardStat,
    *,
    size: int,
    sha256: str,
    etags: Iterable[str | None] = (),
) -> WriteProof:
    """The cheapest proof that the service offers for an object that it has, and of which it says ``stat``.

    The object should have ``size`` bytes with this digest. ``etags`` are what its ETag may be then: the MD5 of the
    same bytes, or one by which they were known before. ``url`` is the object's, for the error.

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
