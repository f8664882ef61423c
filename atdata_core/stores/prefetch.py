"""Shards that begin to arrive before their turn: a service that is far away is not waited for at each of them."""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import closing
from typing import Any, BinaryIO, cast

from .opening import open_shard
from .shard_streams import CHUNK, CHUNKS, ReadAhead, ResumableRead

STREAMS = 32
"""Shards that are open at a time, at most, in all processes that read side by side; two in each at least."""
NEXT = 64 << 20
"""Bytes that are still to come, of the shard that is read and of those after it, when another one is opened. Not
more: they take memory, and a service ends what nobody takes. In all processes that read side by side."""
EARLY = 32
"""Chunks of a shard, at most, that are fetched before its turn, besides those that any stream fetches ahead."""


def prefetched(
    urls: Iterable[str], *, store: object | None = None, beside: int = 1
) -> Generator[tuple[str, BinaryIO]]:
    """Each shard's URL and bytes; a shard is closed when the next one is asked for.

    Those that follow begin to arrive before their turn: a service takes a while to begin, and gives one transfer
    less than it could give several. Beside the first shard it is one: whoever looks at the beginning alone wants
    none of them. Raises as ``open_shard``, when it is that shard's turn.

    Args:
        urls: The shards.
        store: Opens them, as in ``open_shard``.
        beside: How many processes read so side by side.
    """
    following = _Following(urls, store, beside)
    try:
        while (shard := following.next()) is not None:
            url, stream = shard
            with closing(stream):
                known = _source(stream)
                # What cannot be taken up again would wait, as those after it, and a service ends what nobody takes.
                if isinstance(stream, _Whole) or (known is not None and known.resumable):
                    yield url, cast("BinaryIO", _Watched(stream, known, following))
                else:
                    yield url, stream
    finally:
        following.close()


class _Whole(io.BytesIO):
    """The bytes of a short shard, which were read before its turn."""


class _Early:
    """A shard that is opened before its turn.

    Attributes:
        url: The shard.
        found: Its stream; None where it has to be opened at its turn.
        size: Bytes that it takes until then; as many as the one before, until it is known.
    """

    def __init__(self, url: str, store: object | None, size: int, claim: Callable[[_Early, int], int]) -> None:
        self.url = url
        self.found = Future[BinaryIO | None]()
        self.size = size
        self._claim = claim
        threading.Thread(target=self._open, args=(store,), name="next shard", daemon=True).start()

    def _open(self, store: object | None) -> None:
        try:
            stream = open_shard(self.url, store=store)
        except BaseException as error:
            if self.found.set_running_or_notify_cancel():
                self.found.set_exception(error)
            return
        if not self.found.set_running_or_notify_cancel():
            stream.close()
            return
        try:
            self.found.set_result(self._begun(stream))
        except BaseException as error:
            stream.close()
            self.found.set_exception(error)

    def _begun(self, stream: BinaryIO) -> BinaryIO | None:
        known = _source(stream)
        if isinstance(known, ResumableRead):
            # A short one: whole, so that its connection serves the next one.
            self.size = known.size or 0
            with closing(stream):
                return _Whole(stream.read())
        if known is None or not known.resumable:
            stream.close()
            return None
        if (chunks := self._claim(self, known.left)) >= 0:
            known.begin(chunks)
        return stream


class _Following:
    """The shards that are still to be read, some of them perhaps open."""

    def __init__(self, urls: Iterable[str], store: object | None, beside: int) -> None:
        self._open, self._most, self._bytes = 1, max(1, STREAMS // beside - 1), NEXT // beside
        self._urls = iter(urls)
        self._store = store
        self._early = deque[_Early]()
        self._lock = threading.Lock()

    def next(self) -> tuple[str, BinaryIO] | None:
        """The next shard; None after the last one."""
        if self._early:
            early = self._early.popleft()
            self._open = self._most
            # Not only once it is there.
            self.open_more(early.size, early.size)
            return early.url, early.found.result() or open_shard(early.url, store=self._store)
        url = next(self._urls, None)
        return None if url is None else (url, open_shard(url, store=self._store))

    def open_more(self, left: int, size: int) -> None:
        """Open some, if there is room: ``left`` bytes of a shard of ``size`` are still to be read."""
        while len(self._early) < self._open:
            size = self._early[-1].size if self._early else _taken(size)
            room = self._room() - left
            if room < (size if self._early else 0) or (url := next(self._urls, None)) is None:
                return
            # None claims what it takes before the others see that it is there.
            with self._lock:
                self._early.append(_Early(url, self._store, size, self._claim))

    def _claim(self, early: _Early, left: int) -> int:
        """How many chunks of a shard are begun with, of so many bytes: it may be larger than the one before it."""
        with self._lock:
            chunks = min(EARLY, self._room(early) // CHUNK - CHUNKS)
            early.size = min(left, (chunks + CHUNKS) * CHUNK) if chunks >= 0 else 0
            return chunks

    def _room(self, early: _Early | None = None) -> int:
        """Bytes that may come besides those of the shards that are open, of others than ``early``."""
        # Which is no longer among them where its turn has come.
        return self._bytes - sum(each.size for each in tuple(self._early) if each is not early)

    def close(self) -> None:
        """Close what nobody will read."""
        for each in self._early:
            if not each.found.cancel():
                each.found.add_done_callback(_close)


class _Watched:
    """A stream that has those after it opened while it is read."""

    def __init__(self, stream: BinaryIO, known: ReadAhead | ResumableRead | None, following: _Following) -> None:
        self._stream = stream
        self._following = following
        self._ahead = known if isinstance(known, ReadAhead) else None
        size = stream.getbuffer().nbytes if isinstance(stream, _Whole) else getattr(known, "size", None)
        self._size: int = self._left if size is None else size

    @property
    def _left(self) -> int:
        return self._ahead.left if self._ahead else 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._following.open_more(self._left, self._size)
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        count = cast("Any", self._stream).readinto(buffer)
        self._following.open_more(self._left, self._size)
        return count


def _source(stream: Any) -> ReadAhead | ResumableRead | None:
    """The transfer that a stream gives the bytes of, below what buffers and checks them; None: there is none."""
    while stream is not None and not isinstance(stream, ReadAhead | ResumableRead):
        stream = getattr(stream, "raw", None) or getattr(stream, "checked", None)
    return stream


def _taken(left: int) -> int:
    """Bytes that a shard takes before its turn, of those that are left of it."""
    return min(left, (EARLY + CHUNKS) * CHUNK)


def _close(unused: Future[BinaryIO | None]) -> None:
    if unused.exception() is None and (stream := unused.result()):
        stream.close()
