"""Fetching a shard while what came before is worked on: a thread reads ahead, and never by more than some MiB."""

from __future__ import annotations

import io
import sys
import threading
from queue import SimpleQueue
from typing import BinaryIO, cast

from .resumable_read import ResumableRead

__all__ = ["CHUNK", "CHUNKS", "ReadAhead", "read_ahead"]

CHUNK = 1 << 20
"""Bytes of a chunk; the reader of tars asks for as many, and gets them without a copy."""

CHUNKS = 3
"""Chunks that wait, or are on their way, at most."""

_ENDING = 1.0
"""Seconds that closing waits for the thread. One that pauses before another attempt ends by itself, after it."""


def read_ahead(body: ResumableRead, size: int | None) -> BinaryIO:
    """A stream of a body's bytes; what is larger than a chunk is fetched ahead, from the first read on.

    Args:
        body: The bytes; closed with the stream.
        size: How many there are, where that is known.
    """
    if size is not None and size <= CHUNK:
        return cast("BinaryIO", io.BufferedReader(body, CHUNK))
    return cast("BinaryIO", ReadAhead(body, size))


class _Fetching:
    """What the thread and the stream share. The thread knows no more, so that an abandoned stream is collected."""

    def __init__(self, body: ResumableRead) -> None:
        self.body = body
        self.found: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self.room = threading.Semaphore(CHUNKS)
        self.stopped = False

    def run(self) -> None:
        """Put chunks, each of ``CHUNK`` bytes but the last ones, then an empty one or the error that ended it."""
        try:
            while self.room.acquire() and not self.stopped:
                chunk = self._chunk()
                self.found.put(chunk)
                if not chunk:
                    break
        except BaseException as error:
            self.found.put(error)
        finally:
            self.body.close()

    def _chunk(self) -> bytes:
        pieces: list[bytes] = []
        missing = CHUNK
        try:
            while missing and (piece := self.body.take(missing)):
                pieces.append(piece)
                missing -= len(piece)
        except Exception:
            # Whoever reads gets what came before the error, then the error.
            if pieces:
                self.found.put(b"".join(pieces))
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class ReadAhead(io.BufferedIOBase):
    """The stream.

    Attributes:
        left: Bytes of the chunks that are still to come, a great many where that is not known.
    """

    def __init__(self, body: ResumableRead, size: int | None) -> None:
        super().__init__()
        self.left = sys.maxsize if size is None else size
        self._early = 0
        self._fetching = _Fetching(body)
        self._thread: threading.Thread | None = None
        self._chunk = b""
        self._place = 0
        self._end: BaseException | bool = False

    def readable(self) -> bool:
        """True."""
        return True

    @property
    def resumable(self) -> bool:
        """Whether a transfer that the service ends is taken up."""
        return self._fetching.body.resumable

    def begin(self, chunks: int) -> None:
        """Fetch so many chunks, and ``CHUNKS`` more, before the first one is asked for."""
        self._early = chunks
        for _ in range(chunks):
            self._fetching.room.release()
        self._start()

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer only at the end; raises what fetching raised."""
        most = None if size is None or size < 0 else size
        parts: list[bytes] = []
        while most is None or most > 0:
            part = self.read1(-1 if most is None else most)
            if not part:
                break
            parts.append(part)
            most = None if most is None else most - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read1(self, size: int = -1, /) -> bytes:
        """At most so many bytes of those that are there; raises as ``read``."""
        if self._place == len(self._chunk):
            self._next()
        whole = len(self._chunk) - self._place
        count = whole if size < 0 else min(size, whole)
        if count == len(self._chunk):
            part, self._chunk, self._place = self._chunk, b"", 0
            return part
        part = self._chunk[self._place : self._place + count]
        self._place += count
        return part

    def close(self) -> None:
        """Stop fetching, and give the connection back."""
        if not self.closed:
            fetching = self._fetching
            fetching.stopped = True
            if self._thread is None:
                fetching.body.close()
            elif self._thread.is_alive():
                fetching.room.release()
                fetching.body.stop()
                self._thread.join(_ENDING)
        super().close()

    def _next(self) -> None:
        """The next chunk, in place of the one that is used up; none at the end."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if self._thread is None:
            self._start()
        if isinstance(self._end, BaseException):
            raise self._end
        self._chunk, self._place = b"", 0
        if self._end:
            return
        found = self._fetching.found.get()
        if self._early:
            self._early -= 1
        else:
            self._fetching.room.release()
        if isinstance(found, BaseException):
            self._end = found
            raise found
        self._chunk, self._end = found, not found
        self.left = self.left - len(found) if found else 0

    def _start(self) -> None:
        thread = threading.Thread(target=self._fetching.run, name="ahead", daemon=True)
        thread.start()
        self._thread = thread
