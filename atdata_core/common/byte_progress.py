"""How far something with many shards is: told after each shard, and of bytes as they pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Protocol, cast, runtime_checkable

Progress = Callable[[int, int], None]
"""Called after each shard with how many are done and how many there are."""


@runtime_checkable
class ByteProgress(Protocol):
    """A ``Progress`` that is also told of bytes, by several threads at once."""

    def __call__(self, done: int, total: int, /) -> None:
        """After each shard."""
        ...

    def passed(self, shard: str, count: int, size: int | None, /) -> None:
        """So many more bytes of a shard of ``size`` bytes (None: not known) were read, sent or copied."""
        ...


class OnlyBytes:
    """Tells of bytes alone: of how many shards are done nothing is to be said where many datasets go together."""

    def __init__(self, progress: ByteProgress) -> None:
        self.passed = progress.passed

    def __call__(self, done: int, total: int, /) -> None:
        """Says nothing."""


def tell_bytes(progress: Progress | None, shard: str, count: int, size: int | None) -> None:
    """Tell of bytes that passed, where anybody wants to know."""
    if isinstance(progress, ByteProgress):
        progress.passed(shard, count, size)


def counted(stream: BinaryIO, shard: str, size: int | None, progress: Progress | None) -> BinaryIO:
    """A shard's stream, to be read and closed, whose bytes are told of; itself where nobody wants to know."""
    return cast("BinaryIO", _Counted(stream, shard, size, progress)) if progress is not None else stream


class _Counted:
    def __init__(self, stream: BinaryIO, shard: str, size: int | None, progress: Progress) -> None:
        self._stream = stream
        self._shard = shard
        self._size = size
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        tell_bytes(self._progress, self._shard, len(data), self._size)
        return data

    def close(self) -> None:
        self._stream.close()
