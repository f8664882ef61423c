"""Where a catalogue is put: a folder, or a bucket. What changed is written, and what is its own is removed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from atdata_core.errors import StorageError
from atdata_core.stores.s3.upload import put

if TYPE_CHECKING:
    from atdata_core.local import S3DataStore

MARK = "atdata-pipelines catalogue"
"""Stands in each of its files that is text."""

_OWN = re.compile(
    r"(index|page-\d+)\.html|style\.css|feed\.xml|sitemap\.xml|(datasets|tags)/[\w.-]+\.html|pictures/[0-9a-f]{32}\.png"
)
_FOLDERS = ("", "datasets", "tags", "pictures")
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "png": "image/png",
    "xml": "application/xml; charset=utf-8",
}
_PART = ".part"


class Target(Protocol):
    """Where files can be put."""

    def found(self) -> Mapping[str, str]:
        """The MD5 (hex) of each file of a catalogue that is there, by its path."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file; who reads it meanwhile has the whole old one, or the whole new one."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...


@dataclass(frozen=True)
class WrittenFiles:
    """How many files were written, were removed, and stayed as they were."""

    written: int
    removed: int
    unchanged: int


def put_files(files: Iterable[tuple[str, bytes]], place: Target) -> WrittenFiles:
    """Make a place hold these files of a catalogue, in their order, and none beside them."""
    found = dict(place.found())
    written = unchanged = 0
    for path, data in files:
        if found.pop(path, None) == hashlib.md5(data, usedforsecurity=False).hexdigest():
            unchanged += 1
        else:
            place.write(path, data)
            written += 1
    for path in found:
        place.remove(path)
    return WrittenFiles(written, len(found), unchanged)


class Folder:
    """A folder of this machine, which need not be there yet."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def found(self) -> Mapping[str, str]:
        """As ``Target``; raises ``StorageError`` where a file has such a name and is of no catalogue."""
        return {path: self._digest(path) for path in self._own()}

    def _own(self) -> Iterator[str]:
        for folder in _FOLDERS:
            with suppress(FileNotFoundError):
                for each in sorted((self._root / folder).iterdir()):
                    path = f"{folder}/{each.name}" if folder else each.name
                    if _OWN.fullmatch(path):
                        yield path
                    elif each.name.startswith(".") and each.name.endswith(_PART):
                        each.unlink()  # of a build that was ended

    def _digest(self, path: str) -> str:
        data = (self._root / path).read_bytes()
        if not path.endswith(".png") and MARK.encode() not in data:
            raise StorageError(
                f"{self._root / path} is no file of a catalogue, and would be replaced. Give an empty folder.",
                urls=[str(self._root / path)],
            )
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def write(self, path: str, data: bytes) -> None:
        """As ``Target``."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}{_PART}")
        part.write_bytes(data)
        os.replace(part, target)

    def remove(self, path: str) -> None:
        """As ``Target``."""
        (self._root / path).unlink(missing_ok=True)


class Bucket:
    """A bucket that anybody reads as a website; files that are no catalogue's stay."""

    def __init__(self, store: S3DataStore) -> None:
        self._endpoint, self._bucket = store.endpoint, store.bucket

    def found(self) -> Mapping[str, str]:
        """As ``Target``, by ETags. Where these are no MD5, everything is written again."""
        found: dict[str, str] = {}
        with self._endpoint.errors(self._bucket):
            listing = self._endpoint.client.get_paginator("list_objects_v2")
            for folder in _FOLDERS:
                prefix = f"{folder}/" if folder else ""
                for page in listing.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                    for each in page.get("Contents", ()):
                        if _OWN.fullmatch(each["Key"]):
                            found[each["Key"]] = each["ETag"].strip('"')
        return found

    def write(self, path: str, data: bytes) -> None:
        """As ``Target``."""
        place = {"Bucket": self._bucket, "Key": path}
        kind = {"ContentType": _TYPES[path.rpartition(".")[2]]}
        put(self._endpoint, place, data, hashlib.sha256(data).digest(), kind)

    def remove(self, path: str) -> None:
        """As ``Target``."""
        with self._endpoint.errors(self._bucket, path):
            self._endpoint.client.delete_object(Bucket=self._bucket, Key=path)
