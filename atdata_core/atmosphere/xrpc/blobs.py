"""Blobs: files that a PDS keeps as long as a record names them."""

from __future__ import annotations

import hashlib
from typing import Any, cast
from urllib.parse import urlencode

import libipld

from atdata_core.atmosphere.xrpc.replies import as_object
from atdata_core.atmosphere.xrpc.session import Session
from atdata_core.errors import RecordNotFoundError, ServiceRefusedError, ShardChangedError, StorageError

MAX_BLOB = 52_428_800
"""Bytes; the limit of the published lexicon. A PDS may allow less."""

# https://github.com/multiformats/multicodec/blob/master/table.csv
_RAW, _SHA256 = 0x55, 0x12


def upload(session: Session, data: bytes, mime: str) -> dict[str, Any]:
    """Upload ``data``; the blob reference ``{"$type": "blob", "ref", "mimeType", "size"}``.

    Raises:
        StorageError: More bytes than the lexicon or the PDS allows.
    """
    if len(data) > MAX_BLOB:
        raise _too_large(len(data), f"the lexicon allows {MAX_BLOB:,}")
    url = f"{session.service}/xrpc/com.atproto.repo.uploadBlob"
    try:
        reply = session.send("POST", url, content=data, content_type=mime, auth=True)
    except ServiceRefusedError as error:
        if error.status == 413 or error.error == "PayloadTooLarge":
            raise _too_large(len(data), f"{session.service} allows less") from None
        raise
    blob = as_object(reply, url).get("blob")
    if not isinstance(blob, dict):
        raise ServiceRefusedError(
            f"{session.service} gave no reference for the blob. Is it a PDS?",
            service=session.service,
            status=200,
            error=None,
        )
    return cast("dict[str, Any]", blob)


def url_of(service: str, did: str, cid: str) -> str:
    """Where anybody can download a blob."""
    return f"{service}/xrpc/com.atproto.sync.getBlob?{urlencode({'did': did, 'cid': cid})}"


def sha256_of(cid: str) -> str | None:
    """The SHA-256 (hex) of a blob's bytes, which its CID holds; None for a CID of another kind."""
    try:
        found: Any = libipld.decode_cid(cid)
    except ValueError:
        return None
    multihash = found["hash"]
    if found["codec"] != _RAW or multihash["code"] != _SHA256:
        return None
    return bytes(multihash["digest"]).hex()


def fetch(session: Session, service: str, did: str, cid: str) -> bytes:
    """Download a blob and check it.

    Raises:
        RecordNotFoundError: The PDS does not have it (any more).
        ShardChangedError: It sends other bytes than the CID says.
    """
    url = url_of(service, did, cid)
    try:
        data = session.send("GET", url, guarded=service != session.service).body
    except ServiceRefusedError as error:
        if error.status not in (400, 404):
            raise
        raise RecordNotFoundError(
            f"{service} has no blob {cid} of {did}. It is gone when no record names it any more.",
            uri=f"at://{did}",
        ) from None
    expected, found = sha256_of(cid), hashlib.sha256(data).hexdigest()
    if expected != found:
        raise ShardChangedError(
            f"The blob at {url} is not what its CID says. Ask the publisher.",
            url=url,
            expected=expected,
            found=found,
        )
    return data


def _too_large(size: int, why: str) -> StorageError:
    return StorageError(
        f"A blob of {size:,} bytes is too large: {why}. Make smaller shards, or keep them in S3.", urls=[]
    )
