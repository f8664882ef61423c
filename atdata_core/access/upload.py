"""Writing one S3 object with bounded memory, and knowing what was written.

Bytes are digested while they pass. An object up to ``SINGLE`` bytes is sent in one request, when it is
complete; a larger one in parts. Until ``commit`` nothing can be seen at the destination.
"""

from __future__ import annotations

import base64
import hashlib
from types import TracebackType
from typing import Any

from ..errors import AtdataError, ServiceUnavailableError, ShardMissingError
from .s3 import S3Endpoint

SINGLE = 32 << 20
"""Bytes up to which an object is sent at once (its ETag is then its MD5 on most servers)."""

NOT_IMPLEMENTED = 501
"""How a server that knows no conditional writes refuses one; most of them take no notice instead."""

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
        only_new: Write over nothing, where the server can see to that (``If-None-Match``); ``commit`` then raises
            ``ServiceRefusedError`` with status 412, or 409 while another write is going on.
    """

    def __init__(self, endpoint: S3Endpoint, bucket: str, key: str, *, only_new: bool = False) -> None:
        self.size = 0
        self.etag: str | None = None
        self._endpoint = endpoint
        self._place = {"Bucket": bucket, "Key": key}
        self._condition = {"IfNoneMatch": "*"} if only_new else {}
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._buffer = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._upload: dict[str, str] | None = None

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
            self._send(part)
        return len(data)

    def flush(self) -> None:
        """Nothing: what is written shows at ``commit``."""

    def commit(self) -> None:
        """Makes the object appear. Raises as ``S3Endpoint.stat`` does."""
        if self._upload is not None and self._buffer:
            self._send(bytes(self._buffer))
        try:
            self._write(self._condition)
        except ServiceUnavailableError as error:
            if error.status != NOT_IMPLEMENTED or not self._condition:
                raise
            self._write({})
        self._buffer.clear()
        self._upload = None
        # Asked for, not taken from the answer: rclone gives another ETag there for an object of parts.
        self.etag = self._endpoint.stat(self._place["Bucket"], self._place["Key"]).etag

    def _write(self, condition: dict[str, str]) -> None:
        with self._errors():
            if self._upload is None:
                # A server that checks this refuses damaged bytes, and can prove the object later.
                checksum = base64.b64encode(self._sha256.digest()).decode()
                self._endpoint.client.put_object(
                    **self._place,
                    Body=bytes(self._buffer),
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum,
                    **condition,
                )
            else:
                self._complete(self._upload, condition)

    def abort(self) -> None:
        """Drops what was sent; as far as the service can still be reached."""
        upload, self._upload = self._upload, None
        self._buffer.clear()
        if upload is None:
            return
        try:
            with self._errors():
                self._endpoint.client.abort_multipart_upload(**self._place, **upload)
        except AtdataError:
            pass  # the first error says more; parts of an open upload are no object

    def __enter__(self) -> S3Upload:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _send(self, part: bytes) -> None:
        with self._errors():
            client = self._endpoint.client
            if self._upload is None:
                self._upload = {"UploadId": client.create_multipart_upload(**self._place)["UploadId"]}
            number = len(self._parts) + 1
            answer = client.upload_part(**self._place, **self._upload, PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    def _complete(self, upload: dict[str, str], condition: dict[str, str]) -> None:
        try:
            with self._errors():
                self._endpoint.client.complete_multipart_upload(
                    **self._place, **upload, MultipartUpload={"Parts": self._parts}, **condition
                )
        except ShardMissingError:
            # No such upload: an earlier attempt may have completed it, and its answer was lost.
            if self._endpoint.stat(self._place["Bucket"], self._place["Key"]).size != self.size:
                raise

    def _errors(self) -> Any:
        return self._endpoint.errors(self._place["Bucket"], self._place["Key"])
