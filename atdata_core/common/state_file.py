"""What this machine keeps for a person between processes: small private files, each with a lock.

They lie in ``ATDATA_STATE_DIR``, else in ``$XDG_STATE_HOME/atdata-pipelines``, else in
``~/.local/state/atdata-pipelines``. Nothing in them is needed: where the folder cannot be used, a process
says so once and does without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import sys
import time
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LONGEST_HOLD = 300.0
"""Seconds after which the holder of a lock is taken for hung."""
LARGEST = 1 << 16
"""Bytes; what is larger is none of ours."""
_PAUSE = 0.02
_log = logging.getLogger("atdata_core")


def state_folder() -> Path:
    """The folder, which need not exist yet.

    Raises:
        OSError: There is no home folder.
    """
    if given := os.environ.get("ATDATA_STATE_DIR", "").strip():
        return Path(given).expanduser()
    state = os.environ.get("XDG_STATE_HOME", "").strip()
    if os.path.isabs(state):
        return Path(state) / "atdata-pipelines"
    try:
        return Path.home() / ".local" / "state" / "atdata-pipelines"
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from None


class StateFile:
    """A JSON object that the processes of one user share.

    Only its owner may read it (mode 0600). A file that is damaged, somebody else's or readable by others
    reads as if there were none, and the next ``write`` puts another in its place. No method raises OSError.

    Args:
        kind: Folder within the state folder.
        identity: What the file is about; its name is a hash of that.
    """

    def __init__(self, kind: str, identity: str) -> None:
        self._kind = kind
        self._name = f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"

    def __repr__(self) -> str:
        return f"StateFile({self._kind}/{self._name})"

    @property
    def path(self) -> Path:
        """Where it lies; raises OSError where there is no state folder."""
        return state_folder() / self._kind / self._name

    @contextlib.contextmanager
    def locked(self) -> Generator[bool]:
        """Hold the file against other processes and threads; False where it cannot be held."""
        with contextlib.ExitStack() as stack:
            held = True
            try:
                path = self.path
                # Each by itself: `parents=True` would leave the outer one open to others.
                path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.parent.mkdir(mode=0o700, exist_ok=True)
                lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o600)
                stack.callback(os.close, lock)
                _acquire(lock)
            except OSError as error:
                _warn(error.strerror or str(error))
                held = False
            # Not inside the `try`: what the holder does may raise OSErrors of its own.
            yield held

    def read(self) -> dict[str, Any] | None:
        """What it holds; None where there is no file that can be trusted."""
        try:
            data = _read_private(self.path)
            value: Any = None if data is None else json.loads(data)
        except (OSError, ValueError, RecursionError):
            return None
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None

    def write(self, value: dict[str, Any]) -> bool:
        """Put another content in its place, at once; False where that cannot be done."""
        try:
            write_private(self.path, json.dumps(value))
        except OSError as error:
            _warn(error.strerror or str(error))
            return False
        return True

    def remove(self) -> None:
        """Take it away, if it is there."""
        with contextlib.suppress(OSError):
            self.path.unlink()


_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def write_private(path: Path, text: str) -> None:
    """Put a file in the place of another at once, which from its first byte its owner alone may read (0600).

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    # Always of that name: what a killed process left is taken away by the next.
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _read_private(path: Path) -> bytes | None:
    descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return None
        if sys.platform != "win32" and (found.st_uid != os.getuid() or found.st_mode & 0o077):
            return None
        return file.read(LARGEST)


def take_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed, or its process ends; False where another process has locked it."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _acquire(descriptor: int) -> None:
    deadline = time.monotonic() + LONGEST_HOLD
    while not take_lock(descriptor):
        if time.monotonic() > deadline:
            raise TimeoutError("another process has held it for minutes")
        time.sleep(_PAUSE)


@lru_cache
def _warn(reason: str) -> None:
    try:
        folder = str(state_folder())
    except OSError:
        folder = "without a home folder"
    _log.warning(
        "The state folder %s cannot be used (%s): each process logs in and counts its writes by itself. "
        "Set ATDATA_STATE_DIR to a folder that can be written.",
        folder,
        reason,
    )
