"""By what bytes are known again: their SHA-256, and an ETag where it is a strong one."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

_CHUNK = 1 << 20


def sha256_of(stream: BinaryIO) -> str:
    """The digest of a stream that is read to its end (hex)."""
    found = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


def strong_etag(header: str | None) -> str | None:
    """An ETag without its quotes; None where the server gives none, or a weak one, which allows other bytes."""
    header = header or ""
    return None if header[:2] in ("W/", "w/") else header.strip('"') or None
