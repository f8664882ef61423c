"""A shard's bytes as they arrive: fetched ahead, taken up where a transfer broke off, known by digest or ETag.

A thread fetches what comes next while what came before is worked on, and never by more than some MiB. A transfer
that broke off goes on as long as it is the same object.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, BinaryIO, cast

from ..common import retry_after
from ..common.urls import displayed
from ..errors import AtdataError, ServiceError, ShardChangedError, StorageError
from ..protocols import ShardStat, strong_etag

CHUNK = 1 << 20
"""Bytes of a chunk; the reader of tars asks for as many, and gets them without a copy."""
CHUNKS = 3
"""Chunks that wait, or are on their way, at most."""
LARGEST_UNSTATED = 1 << 30
"""Bytes (1 GiB) that are read where the server does not say how many there are: it may send for ever."""
_ENDING = 1.0
"""Seconds that closing waits for the thread. One that pauses before another attempt ends by itself, after it."""


def sha256_of(stream: BinaryIO) -> str:
    """The digest of a stream that is read to its end (hex)."""
    found = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        found.update(chunk)
    return found.hexdigest()


def is_rest(content_range: str | None, at: int, size: int | None) -> bool:
    """Whether a ``Content-Range`` tells of all bytes from one on, of so many (None: that was not said)."""
    rest = r"\d+/(\d+|\*)" if size is None else f"{size - 1}/{size}"
    return re.fullmatch(rf"bytes {at}-{rest}", content_range or "") is not None


def size_unstated(shown: str) -> StorageError:
    """The error of a shard, named as it may be shown, whose server says no size that can be one."""
    return StorageError(
        f"{shown}: the server does not say how large the shard is. Serve it as a plain file.", urls=[shown]
    )


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


@dataclass(frozen=True)
class PartRead:
    """What was read of an object before: its first bytes, and the version and size that its server told of it."""

    at: int
    version: str
    size: int


class ResumableRead(io.RawIOBase):
    """The bytes of an object, in at most ``ATTEMPTS`` transfers.

    Args:
        first: The transfer that has begun.
        reopen: Begins another one at a byte, of the version given, with one request; None where the service
            can only begin anew. Raises ``ShardChangedError`` where the object is another one by now.
        url: For errors, as it is; asked for only then.
        part: What was read before; the first transfer goes on there.

    Attributes:
        version: As ``Opened`` has it.
        size: Bytes of the whole object, where they are known.
        begins: The byte that is given first.
    """

    def __init__(
        self, first: Opened, reopen: Callable[[int, str], Opened | None], url: str, part: PartRead | None = None
    ) -> None:
        super().__init__()
        self._url = url
        self._body = first
        self._reopen = reopen
        self.version = first.version
        self.size = part.size if part else first.size
        self.begins = self._at = part.at if part else 0
        self._attempt = 1
        self._stopped = False

    @property
    def resumable(self) -> bool:
        """Whether another transfer can go on where this one breaks off."""
        return self.version is not None

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fills what has arrived into ``buffer``; raises as ``take``."""
        data = self.take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def take(self, most: int) -> bytes:
        """What has arrived, none at the end.

        Raises:
            StorageError: There is more than was announced, or than is read without an announcement.
            ServiceError: That of a transfer that cannot be resumed.
        """
        while True:
            try:
                data = self._body.read(most)
            except ServiceError as error:
                if self._at == self.size:
                    return b""
                self._resume(error)
            else:
                self._at += len(data)
                if self._at > (LARGEST_UNSTATED if self.size is None else self.size):
                    raise _endless(displayed(self._url), self.size)
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
        while self.version is not None and self._attempt < retry_after.ATTEMPTS and retry_after.passes_soon(error):
            if not self._stopped:
                retry_after.ours.pause(self._attempt)
            if self._stopped:
                break
            self._attempt += 1
            try:
                following = self._reopen(self._at, self.version)
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


def _endless(shown: str, size: int | None) -> StorageError:
    more = f"the {size:,} bytes that it announced" if size is not None else f"{LARGEST_UNSTATED:,} bytes"
    return StorageError(
        f"{shown} goes on after {more}, and its server does not say where it ends. "
        "Serve it as a plain file, with its length (Content-Length).",
        urls=[shown],
    )


def changed_while_read(url: str, expected: str | None, found: str | None) -> ShardChangedError:
    """The error of an object that was replaced between two transfers; the ETags are of what was read and of now."""
    return ShardChangedError(
        f"{url} was changed while it was read: its ETag was {expected}, now it is {found or 'another'}. "
        "Run again when nothing writes to it, or insert the dataset again if it was changed on purpose.",
        url=url,
        expected=expected,
        found=found,
    )


def read_ahead(body: ResumableRead, size: int | None) -> BinaryIO:
    """A stream of a body's bytes; what is larger than a chunk is fetched ahead, from the first read on.

    ``size`` is how many there are, where that is known. The body is closed with the stream.
    """
    if size is not None and size <= CHUNK:
        return cast("BinaryIO", io.BufferedReader(body, CHUNK))
    return cast("BinaryIO", ReadAhead(body, size))


def stat_of(stream: BinaryIO) -> ShardStat | None:
    """What the answer that brings a stream's bytes says of the shard; None where it says no size."""
    body = stream.body if isinstance(stream, ReadAhead) else getattr(stream, "raw", None)
    if not isinstance(body, ResumableRead) or body.size is None:
        return None
    return ShardStat(body.size, strong_etag(body.version))


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
    def body(self) -> ResumableRead:
        """Where its bytes come from."""
        return self._fetching.body

    @property
    def resumable(self) -> bool:
        """Whether a transfer that the service ends is taken up."""
        return self.body.resumable

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

    def readinto(self, buffer: Any, /) -> int:
        """Fills ``buffer`` from what is there, none at the end; raises as ``read``."""
        if self._place == len(self._chunk):
            self._next()
        count = min(len(buffer), len(self._chunk) - self._place)
        buffer[:count] = memoryview(self._chunk)[self._place : self._place + count]
        self._place += count
        return count

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
