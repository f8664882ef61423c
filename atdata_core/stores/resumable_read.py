"""A shard that goes on where its transfer broke off, as long as it is the same object."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..common import retry_after
from ..errors import AtdataError, ServiceError, ShardChangedError

__all__ = ["Opened", "ResumableRead", "changed_while_read"]


@dataclass(frozen=True)
class Opened:
    """A body as it arrives.

    Attributes:
        read: At most so many bytes, none at the end; raises our errors.
        close: Gives the connection back.
        stop: Ends a ``read`` that waits in another thread.
        version: What tells that a later answer is of the same object (a strong ETag); None: nothing does.
        size: Bytes of the whole object, where they are known.
    """

    read: Callable[[int], bytes]
    close: Callable[[], None]
    stop: Callable[[], None]
    version: str | None
    size: int | None


class ResumableRead(io.RawIOBase):
    """The bytes of an object, in at most ``ATTEMPTS`` transfers.

    Args:
        first: The transfer that has begun.
        reopen: Begins another one at a byte, of the version given, with one request; None where the service
            can only begin anew. Raises ``ShardChangedError`` where the object is another one by now.
    """

    def __init__(self, first: Opened, reopen: Callable[[int, str], Opened | None]) -> None:
        super().__init__()
        self._body = first
        self._reopen = reopen
        self._version = first.version
        self._size = first.size
        self._at = 0
        self._attempt = 1
        self._stopped = False

    @property
    def resumable(self) -> bool:
        """Whether another transfer can go on where this one breaks off."""
        return self._version is not None

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fills what has arrived into ``buffer``; raises as ``take``."""
        data = self.take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def take(self, most: int) -> bytes:
        """What has arrived, none at the end; raises the error of a transfer that cannot be resumed."""
        while True:
            try:
                data = self._body.read(most)
            except ServiceError as error:
                if self._at == self._size:
                    return b""
                self._resume(error)
            else:
                self._at += len(data)
                return data

    def stop(self) -> None:
        """Make a ``take`` that goes on in another thread end soon, with an error; nothing is resumed any more."""
        self._stopped = True
        self._body.stop()

    def close(self) -> None:
        """Gives the connection back."""
        if not self.closed:
            self._body.close()
        super().close()

    def _resume(self, error: AtdataError) -> None:
        """Begins another transfer where the last one stopped; raises ``error``, or a newer one, if it cannot."""
        while self._version is not None and self._attempt < retry_after.ATTEMPTS and retry_after.passes_soon(error):
            if not self._stopped:
                retry_after.ours.pause(self._attempt)
            if self._stopped:
                break
            self._attempt += 1
            try:
                following = self._reopen(self._at, self._version)
            except ServiceError as again:
                error = again
                continue
            if following is None:
                break
            self._body.close()
            self._body = following
            if self._stopped:
                break  # while the new transfer was begun: nothing would end that one
            return
        raise error


def changed_while_read(url: str, expected: str | None, found: str | None) -> ShardChangedError:
    """The error of an object that was replaced between two transfers.

    Args:
        url: The shard, as it may be shown.
        expected: ETag of what was read so far.
        found: That of what lies there now, where it is known.
    """
    return ShardChangedError(
        f"{url} was changed while it was read: its ETag was {expected}, now it is {found or 'another'}. "
        "Run again when nothing writes to it, or insert the dataset again if it was changed on purpose.",
        url=url,
        expected=expected,
        found=found,
    )
