"""Shards that are read one after the other; each begins to arrive before its turn.

A service takes a while to begin, and gives one transfer less than it could give two.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from contextlib import closing
from typing import BinaryIO, cast

from .opening import open_shard
from .read_ahead import ReadAhead

NEXT = 64 << 20
"""Bytes that are left of a shard when the next one is opened. Not more: a service ends what nobody takes."""

EARLY = 32
"""Chunks of a shard, at most, that are fetched before its turn, besides those that any stream fetches ahead."""


def prefetched(urls: Iterable[str], *, store: object | None = None) -> Generator[tuple[str, BinaryIO]]:
    """Each shard's URL and bytes; a shard is closed when the next one is asked for.

    Args:
        urls: As ``open_shard`` takes them.
        store: As for ``open_shard``.

    Raises:
        As ``open_shard``, when it is that shard's turn.
    """
    waiting = iter(urls)
    url = next(waiting, None)
    early: Future[BinaryIO | None] | None = None
    try:
        while url is not None:
            stream = (early and early.result()) or open_shard(url, store=store)
            early, following = None, next(waiting, None)
            with closing(stream):
                if following is None or not isinstance(stream, ReadAhead) or not stream.resumable:
                    yield url, stream
                else:
                    watched = _Watched(stream, following, store)
                    try:
                        yield url, cast("BinaryIO", watched)
                    finally:
                        early = watched.next
            url = following
    finally:
        if early and not early.cancel():
            early.add_done_callback(_close)


class _Watched:
    """A stream that has the next shard opened when it is near its end."""

    def __init__(self, stream: ReadAhead, following: str, store: object | None) -> None:
        self.next: Future[BinaryIO | None] | None = None
        self._stream = stream
        self._following = following
        self._store = store

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if self.next is None and self._stream.left <= NEXT:
            self.next = Future()
            arguments = (self._following, self._store, self.next)
            threading.Thread(target=_open, args=arguments, name="next shard", daemon=True).start()
        return data


def _open(url: str, store: object | None, found: Future[BinaryIO | None]) -> None:
    """Open a shard, and let it arrive; None where it has to be opened at its turn."""
    try:
        stream = open_shard(url, store=store)
    except BaseException as error:
        if found.set_running_or_notify_cancel():
            found.set_exception(error)
        return
    if not found.set_running_or_notify_cancel():
        stream.close()
        return
    try:
        if not _resumable(stream):
            # It would wait, and a service ends what nobody takes.
            stream.close()
            found.set_result(None)
            return
        if isinstance(stream, ReadAhead):
            stream.begin(EARLY)
        found.set_result(stream)
    except BaseException as error:
        stream.close()
        found.set_exception(error)


def _resumable(stream: BinaryIO) -> bool:
    # A short one is a buffer over the body.
    return bool(getattr(getattr(stream, "raw", stream), "resumable", False))


def _close(unused: Future[BinaryIO | None]) -> None:
    if unused.exception() is None and (stream := unused.result()):
        stream.close()
