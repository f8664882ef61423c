"""The time that records carry."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The present as ATProto writes it: UTC, milliseconds, ``Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
