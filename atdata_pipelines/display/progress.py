"""How far something with many shards, or many datasets, is: counted, and said now and then."""

import threading
import time
from collections import deque
from collections.abc import Callable

from atdata_core.common.byte_progress import ByteProgress

EVERY = 2.0
"""Seconds between two words on it."""

RECENT = 10.0
"""Seconds over which a rate is taken."""

_UNITS = ("kB", "MB", "GB", "TB")

screen: Callable[[str], ByteProgress] | None = None
"""Makes the progress that a person looks at, of what is named; where there is one, nothing is said in a log."""


class Transfers:
    """Keeps count of shards, or datasets, and of their bytes; several threads may tell of these.

    Attributes:
        what: What is counted, such as ``shards looked at``.
        done: How many are done.
        total: How many there are; None before anything was said of it.
        bytes: That have passed.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.done = 0
        self.total: int | None = None
        self.bytes = 0
        self._lock = threading.Lock()
        self._passed: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._recent: deque[tuple[float, int]] = deque()

    def __call__(self, done: int, total: int, /) -> None:
        """So many are done."""
        self.done, self.total = done, total

    def passed(self, shard: str, count: int, size: int | None, /) -> None:
        """So many more bytes of a shard have passed."""
        now = time.monotonic()
        with self._lock:
            self.bytes += count
            self._passed[shard] = self._passed.get(shard, 0) + count
            if size is not None:
                self._sizes[shard] = size
            if not self._recent or now - self._recent[-1][0] > 0.1:
                self._recent.append((now, self.bytes))
            while now - self._recent[0][0] > RECENT and len(self._recent) > 2:
                self._recent.popleft()

    def under_way(self) -> list[tuple[str, int, int]]:
        """The shards of which some bytes have passed and not all: URL, bytes, and bytes in all."""
        with self._lock:
            return [
                (shard, self._passed[shard], size)
                for shard, size in self._sizes.items()
                if self._passed[shard] < size
            ]

    @property
    def counted(self) -> str:
        """What is counted, in the singular where there is one of it."""
        noun, space, rest = self.what.partition(" ")
        return f"{noun.removesuffix('s')}{space}{rest}" if self.total == 1 else self.what

    @property
    def expected(self) -> int | None:
        """Bytes in all, as far as can be told: shards that were not begun count as the others do on average."""
        with self._lock:
            known, begun = sum(self._sizes.values()), len(self._sizes)
            ended = sum(self._passed[shard] >= size for shard, size in self._sizes.items())
        if not begun or (self.total is None and begun > 1):
            return None
        # Of some that are done no byte had to pass.
        without = max(0, self.done - ended)
        return known + known // begun * max(0, (self.total or 1) - begun - without)

    @property
    def rate(self) -> float | None:
        """Bytes a second of late; None where that cannot be told yet."""
        with self._lock:
            if len(self._recent) < 2:
                return None
            (since, before), now = self._recent[0], time.monotonic()
            return (self.bytes - before) / (now - since) if now > since else None

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None where that cannot be told."""
        rate, expected = self.rate, self.expected
        return None if not rate or expected is None else max(0.0, (expected - self.bytes) / rate)

    def __str__(self) -> str:
        parts = [self.what] if self.total is None else [f"{self.done:,} of {self.total:,} {self.counted}"]
        return ", ".join(parts + self.in_bytes())

    def in_bytes(self) -> list[str]:
        """Bytes, rate and time left, as far as each is known, in words."""
        expected, rate, left = self.expected, self.rate, self.seconds_left
        parts: list[str] = []
        if self.bytes:
            parts.append(
                size_of(self.bytes) if expected is None else f"{size_of(self.bytes)} of {size_of(expected)}"
            )
        if rate:
            parts.append(f"{size_of(round(rate))}/s")
        if left is not None:
            parts.append(f"{duration_of(left)} left")
        return parts


def now_and_then() -> Callable[[], bool]:
    """A function that says whether it is time for another word."""
    said = time.monotonic()

    def is_time() -> bool:
        nonlocal said
        if time.monotonic() - said < EVERY:
            return False
        said = time.monotonic()
        return True

    return is_time


def reporting(say: Callable[[str], object], what: str) -> ByteProgress:
    """Progress that a person looks at, or else is said now and then: done, bytes, rate, time left."""
    return screen(what) if screen is not None else _Reporting(say, what)


class _Reporting(Transfers):
    def __init__(self, say: Callable[[str], object], what: str) -> None:
        super().__init__(what)
        self._say = say
        self._is_time = now_and_then()

    def __call__(self, done: int, total: int, /) -> None:
        super().__call__(done, total)
        if self._is_time():
            self._say(str(self))


def size_of(count: int) -> str:
    """Bytes for people: ``512 bytes``, ``1.2 GB``."""
    if count < 1000:
        return f"{count} {'byte' if count == 1 else 'bytes'}"
    value = float(count)
    for unit in _UNITS:
        value /= 1000
        if value < 999.5 or unit == _UNITS[-1]:
            return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"
    raise AssertionError


def duration_of(seconds: float) -> str:
    """A time for people: ``45 s``, ``12 min``, ``3 h 5 min``."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
