"""Which files of this machine may be published.

An index in Redis is shared: whoever writes to it could name any file that the promoting machine can read. So a file
is read for a promotion only if this process has named it itself, by registering a dataset with it, or if it lies in
a folder of ``ATDATA_LOCAL_FOLDERS``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..common.urls import displayed, expand, local_path, scheme
from ..errors import LocalFileError, StorageError

FOLDERS = "ATDATA_LOCAL_FOLDERS"
"""Absolute folders, with ``os.pathsep`` between them."""

_NO_DATA = ("/dev", "/proc", "/sys")
"""What lies there says something of the machine: it is no data, whoever names the folder."""

_SPECIAL = (
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)

_named: set[str] = set()


def name_files(urls: Iterable[str]) -> None:
    """Note that this process itself has named these URLs, patterns included, as a dataset's data."""
    for url in urls:
        with suppress(StorageError):  # no file of this machine; who reads it says what it is
            _named.update(os.path.abspath(local_path(each)) for each in expand([url]) if scheme(each) == "file")


def local_folders() -> list[Path]:
    """The folders that the configuration names; a path that is not absolute names none."""
    given = (Path(each.strip()) for each in os.environ.get(FOLDERS, "").split(os.pathsep))
    return [folder for folder in given if folder.is_absolute()]


def refuse_special(shown: str, path: Path) -> None:
    """Raise where a path leads to a pipe, a device or a socket: it would be waited for, or has no end.

    Raises:
        StorageError: It names which. Nothing was opened.
        OSError: There is no such file, or it may not be looked at.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    kind = next((name for is_kind, name in _SPECIAL if is_kind(mode)), "no regular file")
    raise StorageError(
        f"{shown} is {kind}, which may have no end. Write its bytes to a file, and name that.", urls=[shown]
    )


def permitted_file(url: str, path: Path, dataset: str) -> Path:
    """The file that ``path`` leads to, if it may be read for the promotion of a dataset that names it so.

    Raises:
        LocalFileError: Nobody who may has named it, or it is no regular file. Nothing was read.
    """
    try:
        real = Path(os.path.realpath(path))
    except ValueError:  # a zero in it
        raise _refusal(url, path, dataset) from None
    if os.path.abspath(path) not in _named and not _in_a_folder(path, real):
        raise _refusal(url, path, dataset)
    if _is_odd(real):
        raise LocalFileError(
            f"Dataset {dataset!r} names {displayed(url)}, which is no regular file. Write its shards as tars.",
            urls=[displayed(url)],
            name=dataset,
            path=str(path),
        )
    return real


def _in_a_folder(path: Path, real: Path) -> bool:
    if ".." in path.parts or any(each.is_relative_to(place) for each in (path, real) for place in _NO_DATA):
        return False
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in local_folders())


def _is_odd(real: Path) -> bool:
    """Whether it is no plain file: a pipe would be waited for, and a device may have no end."""
    try:
        return not stat.S_ISREG(real.stat().st_mode)
    except OSError:
        return False  # opening it says what is wrong


def _refusal(url: str, path: Path, dataset: str) -> LocalFileError:
    return LocalFileError(
        f"Dataset {dataset!r} names {displayed(url)}, a file of this machine; whoever can write to the index could "
        f"name any. If it is to be published, add its folder to {FOLDERS} (absolute paths, {os.pathsep!r} between "
        "them; the file itself lies there, not behind a link that leads out); or store the samples in S3 with "
        "Repo.insert(); or promote it from the process that registers it with index.add_entry().",
        urls=[displayed(url)],
        name=dataset,
        path=str(path),
    )
