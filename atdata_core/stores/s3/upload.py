"""Writing one S3 object with bounded memory, and knowing what was written.

Bytes are digested while they pass. An object up to ``SINGLE`` bytes is sent in one request, when it is
complete; a larger one in parts. Until ``commit`` nothing can be seen at the destination.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TypeVar

from ...errors import ServiceUnavailableError
from .multipart import NOT_IMPLEMENTED, Multipart
from .objects import S3Endpoint

R = TypeVar("R")

SINGLE = 32 << 20
"""Bytes up to which an object is sent at once (its ETag is then its MD5 on most servers)."""

PART = 16 << 20
"""Bytes of a part; S3 takes 10,000 parts of at least 5 MiB."""


class S3Upload:
    """A file-like object to write into; ``commit`` makes the object appear, leaving without it drops all.

    ``size`` (bytes), ``sha256`` and ``md5`` (hex) tell of what was written so far, ``etag`` (after
    ``commit``) is the server's.

    Args:
        endpoint: The service.
        bucket: A bucket that is there.
        key: Of the object.
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

    def flush(self) -> None:
        """Nothing: what is written shows at ``commit``."""

    def commit(self) -> None:
        """Makes the object appear. Raises as ``S3Endpoint.stat`` does."""
        if self._parts.begun:
            if self._buffer:
                self._parts.send(self._buffer)
            self._parts.complete(self.size, {})
        else:
            put(self._endpoint, self._place, self._buffer, self._sha256.digest(), {})
        self._buffer = bytearray()
        # Asked for, not taken from the answer: rclone gives another ETag there for an object of parts.
        self.etag = self._endpoint.stat(self._place["Bucket"], self._place["Key"]).etag

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
    data: bytes | bytearray,
    sha256: bytes,
    condition: Mapping[str, str],
) -> str:
    """Write an object with one request; the ETag that the service gives it, without quotes.

    Args:
        endpoint: The service.
        place: ``Bucket`` and ``Key``.
        data: All its bytes.
        sha256: Their digest: a server that checks it refuses damaged bytes, and can prove the object later.
        condition: Further arguments of the request.
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
