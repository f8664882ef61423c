"""Blobs of repositories: bytes by their CID."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from atdata_core.atmosphere.record_format.parse import blob_address, blob_sha256
from atdata_core.atmosphere.xrpc.answers import refused
from atdata_core.atmosphere.xrpc.session import as_object
from atdata_core.errors import RecordNotFoundError, ServiceRefusedError, ShardChangedError, StorageError

if TYPE_CHECKING:
    from atdata_core.atmosphere.xrpc.session import Session

MAX_BLOB = 52_428_800
"""Bytes; the limit of the published lexicon. A PDS may allow less."""


def fetch(session: Session, service: str, did: str, cid: str) -> bytes:
    """The bytes that a PDS gives of a blob; raises as ``AtmosphereClient.get_blob``."""
    url = blob_address(service, did, cid)
    try:
        data = session.send("GET", url, guarded=service != session.account.service)
    except ServiceRefusedError as error:
        if error.status not in (400, 404):
            raise
        raise RecordNotFoundError(
            f"{service} has no blob {cid} of {did}. It is gone when no record names it any more.",
            uri=f"at://{did}",
        ) from None
    expected, found = blob_sha256(cid), hashlib.sha256(data).hexdigest()
    if expected != found:
        raise ShardChangedError(
            f"The blob at {url} is not what its CID says. Ask the publisher.",
            url=url,
            expected=expected,
            found=found,
        )
    return data


def limit_of(session: Session) -> int:
    """The most bytes of a blob that the lexicon allows, or less where the account's PDS says so.

    Raises as ``Session.call``.
    """
    said = session.call("GET", "com.atproto.server.describeServer").get("blobUploadLimit")
    return min(said, MAX_BLOB) if type(said) is int and said > 0 else MAX_BLOB


def upload(session: Session, data: bytes | BinaryIO, mime: str, *, size: int | None = None) -> dict[str, Any]:
    """Upload a blob to the account's PDS; its reference, and raises, as ``AtmosphereClient.upload_blob``.

    A file is sent as it is read, from its beginning, and anew where an attempt was broken off; ``size`` is its own.
    """
    size = len(data) if isinstance(data, bytes) else size or 0
    if size > MAX_BLOB:
        raise _too_large(size, f"the lexicon allows {MAX_BLOB:,}")
    service = session.account.service
    url = f"{service}/xrpc/com.atproto.repo.uploadBlob"
    try:
        reply = session.send("POST", url, content=data, mime=mime, auth=True, write={})
    except ServiceRefusedError as error:
        if error.status == 413 or error.error == "PayloadTooLarge":
            raise _too_large(size, f"{service} allows less") from None
        raise
    blob = as_object(reply, url).get("blob")
    if not isinstance(blob, dict):
        raise refused(f"{service} gave no reference for the blob. Is it a PDS?", service)
    return cast("dict[str, Any]", blob)


def _too_large(size: int, why: str) -> StorageError:
    return StorageError(
        f"A blob of {size:,} bytes is too large: {why}. Make smaller shards, or keep them in S3.", urls=[]
    )
