"""Shards that were read once, kept on this machine by their digest, for every process that reads them again.

``ATDATA_CACHE_DIR`` names the folder; without it there is none. A file has its name, its SHA-256, once all of it is
there, so that it is read without a lock. Of more than ``ATDATA_CACHE_BYTES`` bytes those go first that were not
read for the longest time. A folder that cannot be used costs a warning, and what it would have saved.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from ..errors import RefusedError

VARIABLE = "ATDATA_CACHE_DIR"
LIMIT = "ATDATA_CACHE_BYTES"
DEFAULT_LIMIT = 50_000_000_000
_ABANDONED = 86_400
"""Seconds after which a part is of a process that was killed."""
_MTIME = 1_000_000_000 * 10**9
"""When each file was changed, as it says (ns): one that somebody else has written to says otherwise."""
_DIGEST = re.compile("[0-9a-f]{64}")
_log = logging.getLogger("atdata_core")


class ShardCache:
    """The files of a folder.

    Args:
        folder: It need not be there yet; it may be shared with others, for whoever reads a file checks it.
        limit: Bytes of all files; those that are being written come on top.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = folder
        self.limit = limit

    @classmethod
    def from_environment(cls) -> ShardCache | None:
        """The one that the environment names; raises ``RefusedError`` where its limit is no number."""
        folder = os.environ.get(VARIABLE, "").strip()
        if not folder:
            return None
        limit = os.environ.get(LIMIT, "").strip() or str(DEFAULT_LIMIT)
        if not limit.isdecimal():
            raise RefusedError(f"{LIMIT}={limit} is no number of bytes. Use digits alone, such as {DEFAULT_LIMIT}.")
        return cls(Path(folder).expanduser(), int(limit))

    def open(self, sha256: str) -> BinaryIO | None:
        """The bytes that are kept under a digest, to be held to it while they are read; None where none are."""
        if not _DIGEST.fullmatch(sha256):
            return None
        path = self.folder / sha256
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_mtime_ns != _MTIME:
                return None
            file = path.open("rb", buffering=0)
        except OSError:
            return None
        # It is somebody else's.
        with suppress(OSError):
            _note_use(path)
        return file  # pyright: ignore[reportReturnType]

    def copy(self, sha256: str) -> CacheCopy | None:
        """A place for what is read of a shard; None where it cannot be kept."""
        if not _DIGEST.fullmatch(sha256):
            return None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return CacheCopy(self, sha256)
        except OSError as error:
            _warn(str(self.folder), error.strerror or str(error))
            return None

    def remove(self, sha256: str) -> None:
        """Take a file away whose bytes are others by now."""
        with suppress(OSError):
            (self.folder / sha256).unlink(missing_ok=True)

    def make_room(self) -> None:
        """Remove what was not read for the longest time, and what killed processes have left; raises OSError."""
        kept: list[tuple[int, int, Path]] = []
        total, now = 0, time.time()
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                if _DIGEST.fullmatch(entry.name):
                    kept.append((found.st_atime_ns, found.st_size, Path(entry.path)))
                elif not entry.name.endswith(".part"):
                    continue  # none of ours
                elif now - found.st_mtime > _ABANDONED:
                    os.unlink(entry.path)
                    continue
                total += found.st_size
        for _, size, path in sorted(kept):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size


class CacheCopy:
    """A shard that is kept while somebody reads it. What goes wrong with it is nobody's error."""

    def __init__(self, cache: ShardCache, sha256: str) -> None:
        self._cache = cache
        self._path = cache.folder / sha256
        self._part = cache.folder / f"{sha256}.{secrets.token_hex(8)}.part"
        self._file = self._part.open("xb", buffering=0)
        self._size = 0

    def write(self, data: bytes) -> None:
        """The next bytes of the shard."""
        self._size += len(data)
        if self._file.closed:
            return
        if self._size > self._cache.limit:
            self.discard()
            return
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self.discard()
            _warn(str(self._cache.folder), error.strerror or str(error))

    def keep(self) -> None:
        """All bytes are there, and have the digest."""
        if self._file.closed:
            return
        try:
            self._file.close()
            self._cache.make_room()
            os.replace(self._part, self._path)
            _note_use(self._path)
        except OSError as error:
            self.discard()
            _warn(str(self._cache.folder), error.strerror or str(error))

    def discard(self) -> None:
        """It is not to be kept, or it is kept already."""
        with suppress(OSError):
            self._file.close()
            self._part.unlink(missing_ok=True)


def _note_use(path: Path) -> None:
    os.utime(path, ns=(time.time_ns(), _MTIME))


@lru_cache
def _warn(folder: str, reason: str) -> None:
    _log.warning(
        "The cache in %s keeps nothing (%s): shards are fetched each time. Make room, or set %s to a folder that "
        "can be written.",
        folder,
        reason,
        VARIABLE,
    )
