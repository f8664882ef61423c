"""One S3 object sent in parts, each of them once: what has arrived is asked of the service.

An upload that was left open can be taken up again, also by another process: the service tells which parts it has,
and of each its MD5.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# boto3 comes without types.

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from ...common.retry_after import with_retries
from ...errors import (
    AtdataError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardForbiddenError,
    ShardMissingError,
)
from .objects import S3Endpoint

NOT_IMPLEMENTED = 501
"""How a server that does not know a call, or a condition, refuses it."""


class Part(NamedTuple):
    """A part as the service has it: its size in bytes, and its ETag without quotes."""

    size: int
    etag: str


class Multipart:
    """Parts of one object, in a bucket that is there; nothing can be seen of them before ``complete``."""

    def __init__(self, endpoint: S3Endpoint, bucket: str, key: str) -> None:
        self._endpoint = endpoint
        self._place = {"Bucket": bucket, "Key": key}
        self._id: str | None = None
        self._landed: dict[int, Part] = {}
        self._sent: list[dict[str, Any]] = []

    @property
    def begun(self) -> bool:
        """Whether the service holds parts of ours."""
        return self._id is not None

    def take_up(self, sizes: Callable[[int], int]) -> None:
        """Go on with an upload of this object that was left open, if there is one with such parts.

        ``sizes`` gives the bytes that a part should have, by its number; 0 where there is no such part. A service
        that does not list its uploads has none. Raises as ``S3Endpoint.stat``.
        """
        for upload in self._left_open():
            landed = self._parts_of(upload)
            if all(part.size == sizes(number) for number, part in landed.items()):
                self._id, self._landed = upload, landed
                return

    def send(self, part: bytes, md5: str | None = None) -> None:
        """Send the next part, unless the service has it already; ``md5`` is that of its bytes, where it is known.

        It goes along: a bucket with Object Lock takes no part without a digest, and any server checks it.

        Raises as ``S3Endpoint.stat``, and ``ServiceUnavailableError`` also where a rival ended the upload.
        """
        number = len(self._sent) + 1
        # Over TLS botocore need not digest the bytes once more for the signature then.
        digest = md5 or md5_of(part)
        proof = base64.b64encode(bytes.fromhex(digest)).decode()
        tried = False

        def once() -> str:
            nonlocal tried
            if tried:
                # The answer may have been lost on its way back, not the part on its way there.
                self._landed = self._parts_of(self._begin())
            tried = True
            here = self._landed.get(number)
            if here is not None and here == Part(len(part), digest):
                return here.etag
            with self._errors():
                answer = self._endpoint.client_of_one_attempt.upload_part(
                    **self._place, UploadId=self._begin(), PartNumber=number, Body=part, ContentMD5=proof
                )
            return answer["ETag"]

        try:
            etag = with_retries(once)
        except ShardMissingError as error:
            raise self._ended(error) from error
        self._sent.append({"PartNumber": number, "ETag": etag})

    def copy(self, source: Mapping[str, str], first: int, last: int, etag: str) -> bool:
        """Have the service copy the next part from another of its objects; False where it does not know how.

        ``source`` has ``Bucket`` and ``Key``, and bytes ``first`` to ``last`` of it are copied. Raises as
        ``S3Endpoint.stat``, and ``ServiceRefusedError`` with status 412 where its ETag (without quotes) is another.
        """
        number = len(self._sent) + 1
        with self._errors():
            answer = self._endpoint.client.upload_part_copy(
                **self._place,
                UploadId=self._begin(),
                PartNumber=number,
                CopySource=source,
                CopySourceRange=f"bytes={first}-{last}",
                CopySourceIfMatch=f'"{etag}"',
            )
        # A server that does not know the call takes it for a part without bytes, and says so by giving no ETag.
        made = answer.get("CopyPartResult", {}).get("ETag")
        self._sent.append({"PartNumber": number, "ETag": made})
        return bool(made)

    def complete(self, size: int, condition: Mapping[str, str]) -> str:
        """Make the object, of so many bytes, appear; the ETag that the service gives it, without quotes, or "".

        Raises as ``S3Endpoint.stat``, and ``ServiceRefusedError`` or ``ServiceUnavailableError`` where the
        condition (further arguments of the request) does not hold, or is not known.
        """
        try:
            with self._errors():
                answer = self._endpoint.client.complete_multipart_upload(
                    **self._place, UploadId=self._begin(), MultipartUpload={"Parts": self._sent}, **condition
                )
        except ShardMissingError as error:
            # No such upload: an earlier attempt may have completed it, and its answer was lost.
            there = self._endpoint.find(self._place["Bucket"], self._place["Key"])
            if there is None or there.size != size:
                raise self._ended(error) from error
            answer = {}
        self._id = None
        return str(answer.get("ETag", "")).strip('"')

    def abort(self) -> None:
        """Drop what was sent, as far as the service can still be reached."""
        upload, self._id = self._id, None
        if upload is None:
            return
        try:
            with self._errors():
                self._endpoint.client.abort_multipart_upload(**self._place, UploadId=upload)
        except AtdataError:
            pass  # the first error says more; parts of an open upload are no object

    def _begin(self) -> str:
        if self._id is None:
            with self._errors():
                self._id = str(self._endpoint.client.create_multipart_upload(**self._place)["UploadId"])
        return self._id

    def _ended(self, error: ShardMissingError) -> AtdataError:
        """What it means that the upload is not there."""
        if error.facts.get("key") is None:
            return error
        return ServiceUnavailableError(
            f"Something else ended the upload of {error.facts.get('url')} while it was going on. Try again.",
            service=self._endpoint.name,
            status=404,
        )

    def _left_open(self) -> list[str]:
        """Uploads of this object, the newest first."""
        uploads = self._listed(
            "list_multipart_uploads", "Uploads", Bucket=self._place["Bucket"], Prefix=self._place["Key"]
        )
        ours = [upload for upload in uploads if upload["Key"] == self._place["Key"]]
        return [upload["UploadId"] for upload in sorted(ours, key=lambda each: each["Initiated"], reverse=True)]

    def _parts_of(self, upload: str) -> dict[int, Part]:
        parts = self._listed("list_parts", "Parts", **self._place, UploadId=upload)
        return {int(part["PartNumber"]): Part(int(part["Size"]), part["ETag"].strip('"')) for part in parts}

    def _listed(self, call: str, name: str, **asked: str) -> list[Any]:
        """What all pages of a list hold; nothing where the service has no such list, or does not show it."""
        try:
            with self._errors():
                pages = self._endpoint.client.get_paginator(call).paginate(**asked)
                return [each for page in pages for each in page.get(name, [])]
        except AtdataError as error:
            if not is_refusal(error):
                raise
            return []

    def _errors(self) -> AbstractContextManager[None]:
        return self._endpoint.errors(self._place["Bucket"], self._place["Key"])


def is_refusal(error: AtdataError) -> bool:
    """Whether a service does not know a call, does not let these keys make it, or not for this object."""
    refused = isinstance(error, ShardForbiddenError | ShardMissingError | ServiceRefusedError)
    return refused or error.facts.get("status") == NOT_IMPLEMENTED


def md5_of(data: bytes) -> str:
    """The MD5 by which S3 knows bytes (hex)."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
