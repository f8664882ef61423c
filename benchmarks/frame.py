"""What a row of the table is, and how it is measured.

A row is a function that measures ours and the peer's on the same data. ``Bench.race`` runs the two in turn (ours,
peer, ours, peer, ...), so that whatever else the machine does hits both alike, and what counts is the median of
each. Counts of round trips, requests or bytes are no matter of luck: they stand as they were counted.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from benchmarks.data import Data
    from benchmarks.services import Services

T = TypeVar("T")
Run = Callable[[], float | None]
"""One run of one side. What gives a number has timed itself (seconds), and left out what is not to be timed."""

REPEATS = 5
QUICK_REPEATS = 2


class NotInstalled(Exception):
    """A peer, or what it runs on, is not on this machine; says what is missing and how to get it."""


@dataclass(frozen=True)
class Reach:
    """What a row is to reach: a ratio of speeds, or a bound on what is counted.

    Attributes:
        ratio: Ours is to be at least so many times as fast as the peer.
        most: Or every count is to be at most this.
        unit: Of the counts.
        same: The counts are also to be equal, whatever the size.
    """

    ratio: float | None = None
    most: float | None = None
    unit: str = ""
    same: bool = False


@dataclass(frozen=True)
class Race:
    """Seconds that each run took, of ours and of the peer's.

    Attributes:
        amount: What one run handles, in units of ``unit``'s numerator.
        unit: Such as ``samples/s``; empty where the time of one piece is what people know, then ``amount``
            is the number of pieces.
    """

    ours: list[float]
    peers: list[float]
    amount: float = 1
    unit: str = ""

    @property
    def ratio(self) -> float:
        """How many times as fast as the peer ours is."""
        return median(self.peers) / median(self.ours)


@dataclass(frozen=True)
class Count:
    """Something counted, and at which size."""

    at: str
    ours: float


@dataclass(frozen=True)
class Cost:
    """What work of some size took.

    Attributes:
        size: How many datasets or shards.
        pds: Requests to the PDS.
        s3: Requests to S3.
        redis: Round trips to Redis.
        sent: Bytes to all services.
        received: Bytes from all services.
        seconds: From start to end.
        cpu: Seconds of CPU in the process that does it.
        memory: The peak of that process over idle, in MB (10**6 bytes).
    """

    size: int
    pds: int
    s3: int
    redis: int
    sent: int
    received: int
    seconds: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Measured:
    """What a row found: a race, counts, or both; and what it costs as the work grows, by size.

    ``note`` tells what else should be known of the figures.
    """

    race: Race | None = None
    counts: tuple[Count, ...] = ()
    note: str = ""
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True)
class Result:
    """A row with what it found, or with the reason why it found nothing.

    Attributes:
        error: Why there are no figures.
        missing: The reason is that something is not installed.
    """

    name: str
    path: str
    peer: str
    reach: Reach
    measured: Measured | None = None
    error: str = ""
    missing: bool = False

    @property
    def reached(self) -> bool:
        """Whether the figures are what they are to be."""
        found, reach = self.measured, self.reach
        if found is None:
            return False
        if reach.ratio is not None and (found.race is None or found.race.ratio < reach.ratio):
            return False
        if reach.most is not None:
            values = [count.ours for count in found.counts]
            if not values or max(values) > reach.most or (reach.same and len(set(values)) > 1):
                return False
        return True


@dataclass(frozen=True)
class Row:
    """A line of the table before it is measured. ``optional``: nothing is wrong where its peer is missing."""

    name: str
    path: str
    peer: str
    reach: Reach
    measure: Callable[[Bench], Measured]
    optional: bool = False

    def run(self, bench: Bench) -> Result:
        """Measure it; what goes wrong becomes a part of the result."""
        try:
            found, error, missing = self.measure(bench), "", False
        except NotInstalled as why:
            found, error, missing = None, str(why), True
        except Exception as why:
            found, error, missing = None, f"{type(why).__name__}: {why}", False
        return Result(self.name, self.path, self.peer, self.reach, found, error, missing)

    def spoils(self, result: Result) -> bool:
        """Whether the run as a whole has failed with this result."""
        return result.measured is None and not (result.missing and self.optional)


def row(
    path: str, *, peer: str, reach: Reach, optional: bool = False
) -> Callable[[Callable[[Bench], Measured]], Row]:
    """Make a function a row, called as its module and itself."""

    def made(measure: Callable[[Bench], Measured]) -> Row:
        name = f"{measure.__module__.rpartition('.')[2]}.{measure.__name__}"
        return Row(name, path, peer, reach, measure, optional)

    return made


class Bench:
    """What rows measure with.

    Attributes:
        quick: Small data and few repeats: whether it runs at all, more than how fast.
        folder: Where data may lie; it goes away at the end.
    """

    def __init__(self, folder: Path, *, quick: bool = False) -> None:
        self.folder = folder
        self.quick = quick
        self._made: dict[Hashable, Any] = {}

    @cached_property
    def data(self) -> Data:
        """Shards to read, made when they are first asked for."""
        from benchmarks.data import Data

        return Data(self.folder, quick=self.quick)

    @cached_property
    def services(self) -> Services:
        """Redis, S3 and a PDS, started when they are first asked for."""
        from benchmarks.services import Services

        return Services(self.folder, quick=self.quick)

    def close(self) -> None:
        """End what was started."""
        if "services" in self.__dict__:
            self.services.close()

    def once(self, name: Hashable, make: Callable[[], T]) -> T:
        """What several rows use and one of them has to make."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def size(self, full: T, quick: T) -> T:
        """One of the two, by whether this is the quick version."""
        return quick if self.quick else full

    def race(
        self, ours: Run, peer: Run, *, amount: float = 1, unit: str = "", repeats: int = REPEATS, warm: bool = True
    ) -> Race:
        """Run both in turn; where ``warm`` first once without looking, for caches and for what is imported late."""
        if self.quick:
            repeats = min(repeats, QUICK_REPEATS)
        elif warm:
            seconds(ours), seconds(peer)
        race = Race([], [], amount, unit)
        for _ in range(repeats):
            race.ours.append(seconds(ours, collect=not self.quick))
            race.peers.append(seconds(peer, collect=not self.quick))
        return race


def seconds(run: Run, *, collect: bool = True) -> float:
    """How long a run takes. What earlier runs left behind is collected before it, not during it."""
    if collect:
        gc.collect()
    start = time.perf_counter()
    own = run()
    whole = time.perf_counter() - start
    return whole if own is None else own


@contextmanager
def timed() -> Iterator[list[float]]:
    """The seconds of a part of a run, and those of CPU in this process, in a list that is filled at its end."""
    found: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()
    yield found
    found += [time.perf_counter() - start, time.process_time() - cpu]


def expect(found: Any, wanted: Any, what: str) -> None:
    """Raise where a run did not do what it is timed for."""
    if found != wanted:
        raise ValueError(f"{what}: {wanted!r} expected, {found!r} found")
