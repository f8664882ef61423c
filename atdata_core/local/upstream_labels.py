"""Labels as upstream 0.7 keeps them: other names for an entry, with or without a version."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Any

LABEL_KEY = "Label:"
"""Prefix of upstream's hash of a label."""


def label_key(name: str, version: str = "") -> str:
    """Upstream's hash of a label: cid, name, version."""
    return f"{LABEL_KEY}{name}@{version}"


def resolve(redis: Any, name: str) -> str | None:
    """The CID that a label names: of the label without a version, else of the highest version."""
    cid = redis.hget(label_key(name), "cid")
    if cid is not None:
        return cid.decode()
    found = [(_version_order(key.removeprefix(label_key(name))), cid) for key, cid in _versions(redis, name)]
    return max(found)[1] if found else None


def labels_of(redis: Any, name: str, cids: Container[str]) -> list[str]:
    """The keys of the labels of a name, with a version or without, that name one of these entries."""
    cid = redis.hget(label_key(name), "cid")
    labels = [(label_key(name), cid.decode())] if cid is not None else []
    return [key for key, cid in [*labels, *_versions(redis, name)] if cid in cids]


def _versions(redis: Any, name: str) -> Iterator[tuple[str, str]]:
    """Key and CID of the labels of a name that have a version."""
    prefix = label_key(name)
    for key in redis.scan_iter(match=_escaped(prefix) + "?*", count=1000, _type="hash"):
        owner, cid = redis.hmget(key, ["name", "cid"])
        if cid is not None and owner == name.encode():
            yield key.decode(), cid.decode()


def _escaped(text: str) -> str:
    """Text that a Redis pattern takes literally."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)


def _version_order(version: str) -> list[tuple[int, int, str]]:
    """Sorts 10.0 after 9.0, and 1.0.0 after 1.0.0-rc.1."""
    release, _, pre = version.partition("-")
    return [_part(part) for part in release.split(".")] + [(0, 0, pre) if pre else (2, 0, "")]


def _part(part: str) -> tuple[int, int, str]:
    return (1, int(part), "") if part.isascii() and part.isdigit() else (1, -1, part)
