"""Writing an S3 object whose size and digest are known beforehand, each byte of it once.

What fits into one part is sent in one request. Larger objects are sent in parts, which stay at the service when
the transfer breaks off, be it that this process ends: the next attempt reads the source again, and sends what has
not arrived.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import BinaryIO, NamedTuple

from ...errors import AtdataError, ShardChangedError
from .multipart import NOT_IMPLEMENTED, Multipart
from .objects import S3Endpoint
from .upload import as_new, put

PART = 8 << 20
"""Bytes of a part, and what one object takes of memory while it is sent."""

MOST_PARTS = 10_000
"""That S3 allows; parts of an object beyond 80 GB are larger."""

_MIB = 1 << 20


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
    """Write a stream as a new object.

    Args:
        endpoint: The service.
        bucket: A bucket that is there.
        key: Of the object.
        stream: Its bytes.
        size: How many there are.
        sha256: Their digest (hex).
        md5: Another one, where it is known.

    Raises:
        ShardChangedError: The stream does not have this size and digest; nothing is left.
        ServiceRefusedError: With status 412 or 409, another object is there or being written.
        And as ``S3Endpoint.stat``; parts that were sent before stay for the next attempt.
    """
    source = _Source(stream, f"s3://{bucket}/{key}", size, sha256)
    if size <= PART:
        data = source.read(size)
        source.check_end()
        write = partial(put, endpoint, {"Bucket": bucket, "Key": key}, data, source.sha256.digest())
        return Sent(md5 or _md5(data), as_new(write))
    parts = Multipart(endpoint, bucket, key)
    length = part_length(size)
    parts.take_up(lambda number: max(0, min(length, size - (number - 1) * length)))
    digests: list[str] = []
    try:
        for at in range(0, size, length):
            data = source.read(min(length, size - at))
            digests.append(_md5(data))
            parts.send(data, digests[-1])
            del data  # before the next one is read: eight of these are at work
        source.check_end()
        answered = as_new(partial(parts.complete, size))
    except AtdataError as error:
        # rclone says 501 of a part that it has with other bytes: nothing can go on with that.
        if not error.transient or error.facts.get("status") == NOT_IMPLEMENTED:
            parts.abort()
        raise
    return Sent(f"{_md5(bytes.fromhex(''.join(digests)))}-{len(digests)}", answered)


def part_length(size: int) -> int:
    """Bytes of each part of an object but the last one, the same at each attempt."""
    return max(PART, -(-size // MOST_PARTS // _MIB) * _MIB)


class _Source:
    """A stream that must have so many bytes with this digest."""

    def __init__(self, stream: BinaryIO, url: str, size: int, sha256: str) -> None:
        self._stream = stream
        self._url = url
        self._size = size
        self._expected = sha256
        self._at = 0
        self.sha256 = hashlib.sha256()

    def read(self, count: int) -> bytearray:
        """The next bytes, exactly so many; raises ``ShardChangedError`` where there are fewer."""
        data = bytearray(count)
        at = 0
        while at < count:
            chunk = self._stream.read(min(_MIB, count - at))
            if not chunk:
                raise self._changed()
            self.sha256.update(chunk)
            data[at : at + len(chunk)] = chunk
            at += len(chunk)
            self._at += len(chunk)
        return data

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


def _md5(data: bytes | bytearray) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
