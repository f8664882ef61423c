"""Where a catalogue is put: a folder, or a bucket. What changed is written, and what is its own is removed.

A list beside its files names them. What it does not name is somebody's own: it is not written over, nor removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from atdata_core.errors import ShardMissingError, StorageError
from atdata_core.stores.s3.upload import put

if TYPE_CHECKING:
    from atdata_core.local import S3DataStore

MARK = "atdata-pipelines catalogue"
"""Stands in each of its files that is text."""
LIST = "catalogue-files.json"
"""Names its files. While some are written, those before and those after."""

_OWN = re.compile(
    r"(index|page-\d+)\.html|style\.css|feed\.xml|sitemap\.xml|(datasets|tags)/[\w.-]+\.html|pictures/[0-9a-f]{32}\.png"
)
_FOLDERS = ("", "datasets", "tags", "pictures")
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "xml": "application/xml; charset=utf-8",
}
_PART = f".{LIST}.part"


class Target(Protocol):
    """Where files can be put; as a text it is its name."""

    def is_empty(self) -> bool:
        """Whether nothing is there."""
        ...

    def read(self, path: str) -> bytes | None:
        """A file; None where it is not there."""
        ...

    def found(self, paths: Collection[str]) -> Mapping[str, str]:
        """Of these files the MD5 (hex) of each that is there, by its path."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file; who reads it meanwhile has the whole old one, or the whole new one."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...


@dataclass(frozen=True)
class WrittenFiles:
    """How many files were written, were removed, and stayed as they were; the list of them is not counted."""

    written: int
    removed: int
    unchanged: int


def put_files(files: Mapping[str, bytes], place: Target) -> WrittenFiles:
    """Make a place hold these files of a catalogue, in their order, and none of another one beside them.

    Raises:
        StorageError: Something else is there, which stays as it is.
    """
    listed = _listed(place)
    found = place.found(listed | files.keys())
    if others := sorted(found.keys() - listed):
        raise StorageError(
            f"{others[0]} in {place} is not in its {LIST}, and would be written over. Move it away, "
            "or give an empty folder or bucket.",
            urls=others,
        )
    if not files.keys() <= listed:
        place.write(LIST, _list(listed | files.keys()))
    changed = [path for path, data in files.items() if found.get(path) != _md5(data)]
    for path in changed:
        place.write(path, files[path])
    gone = found.keys() - files.keys()
    for path in gone:
        place.remove(path)
    if listed - files.keys():
        place.write(LIST, _list(files))
    return WrittenFiles(len(changed), len(gone), len(files) - len(changed))


def _list(paths: Collection[str]) -> bytes:
    return f"{json.dumps({'generator': MARK, 'files': sorted(paths)}, indent=1)}\n".encode()


def _listed(place: Target) -> set[str]:
    """The files of the catalogue that is there."""
    data = place.read(LIST)
    if data is None and place.is_empty():
        return set()
    try:
        said: Any = json.loads(data or b"")
        if said["generator"] == MARK:
            return {path for path in said["files"] if _OWN.fullmatch(path)}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise StorageError(
        f"{place} holds something else: no {LIST} of a catalogue is there. Give an empty folder or bucket.",
        urls=[str(place)],
    )


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Folder:
    """A folder of this machine, which need not be there yet."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def is_empty(self) -> bool:
        """As ``Target``."""
        try:
            return not [path for path in self._root.iterdir() if path.name != _PART]
        except FileNotFoundError:
            return True

    def read(self, path: str) -> bytes | None:
        """As ``Target``; raises ``StorageError`` where it is no folder."""
        with self._usable():
            try:
                return (self._root / path).read_bytes()
            except FileNotFoundError:
                return None

    def found(self, paths: Collection[str]) -> Mapping[str, str]:
        """As ``Target``; what is no file has no MD5."""
        with self._usable():
            there = {path: place for path in paths if os.path.lexists(place := self._place(path))}
            # To read a folder tells that it is one; to read a pipe would never end.
            read = {path: each for path, each in there.items() if each.is_file() or each.is_dir()}
            return {**dict.fromkeys(there, ""), **{path: _md5(each.read_bytes()) for path, each in read.items()}}

    def write(self, path: str, data: bytes) -> None:
        """As ``Target``."""
        with self._usable():
            target, part = self._place(path), self._root / _PART
            target.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            part.write_bytes(data)
            os.replace(part, target)

    def remove(self, path: str) -> None:
        """As ``Target``."""
        with self._usable():
            self._place(path).unlink(missing_ok=True)

    def _place(self, path: str) -> Path:
        """Where a file lies: in this folder, and not where a link in it leads."""
        place = self._root / path
        if place.parent != self._root and place.parent.is_symlink():
            raise StorageError(
                f"{place.parent} is a link to another folder, where the catalogue writes and removes nothing. "
                "Remove the link, or give another folder.",
                urls=[str(place.parent)],
            )
        return place

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            is_folder = isinstance(error, IsADirectoryError)
            found, needed = ("folder", "file") if is_folder else ("file", "folder")
            raise StorageError(
                f"{error.filename2 or error.filename} cannot be used: a {found} is where a {needed} is needed. "
                "Move it away, or give another folder.",
                urls=[str(self._root)],
            ) from None


class Bucket:
    """A bucket that anybody reads as a website."""

    def __init__(self, store: S3DataStore) -> None:
        self._endpoint, self._bucket = store.endpoint, store.bucket

    def __str__(self) -> str:
        return f"s3://{self._bucket}"

    def is_empty(self) -> bool:
        """As ``Target``."""
        with self._endpoint.errors(self._bucket):
            return not self._endpoint.client.list_objects_v2(Bucket=self._bucket, MaxKeys=1).get("Contents")

    def read(self, path: str) -> bytes | None:
        """As ``Target``."""
        try:
            with self._endpoint.open(self._bucket, path) as stream:
                return stream.read()
        except ShardMissingError:
            return None

    def found(self, paths: Collection[str]) -> Mapping[str, str]:
        """As ``Target``, by ETags. Where these are no MD5, everything is written again."""
        found: dict[str, str] = {}
        with self._endpoint.errors(self._bucket):
            listing = self._endpoint.client.get_paginator("list_objects_v2")
            for folder in _FOLDERS:
                prefix = f"{folder}/" if folder else ""
                for page in listing.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                    for each in page.get("Contents", ()):
                        if each["Key"] in paths:
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
