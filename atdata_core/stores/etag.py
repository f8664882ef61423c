"""What an ETag proves: that the bytes are the same, where it is a strong one."""

from __future__ import annotations


def strong_etag(header: str | None) -> str | None:
    """An ETag without its quotes; None where the server gives none, or a weak one, which allows other bytes."""
    header = header or ""
    return None if header[:2] in ("W/", "w/") else header.strip('"') or None
