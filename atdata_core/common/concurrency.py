"""How much is under way at a time: threads of this process, requests to a service, bytes of shards.

Threads are many, for they mostly wait. How many requests a service gets at once follows its answers, and how much
memory shards take is bounded by their bytes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from typing import BinaryIO, TypeVar

from ..errors import AtdataError
from .retry_after import service_of

T = TypeVar("T")
R = TypeVar("R")

THREADS = 64
"""Threads that a process has for this, and requests that one service gets at a time, at most."""

_AT_FIRST, _LEAST = 32.0, 2.0
_AS_QUICK = 2.0
"""A service answers at the same pace while an answer takes at most so many times as long as the quickest."""
_NOTICEABLE = 0.02
"""Seconds; what is quicker than that is quick, however much quicker another answer was."""
_TOO_MUCH = (408, 429, 500, 502, 503, 504)

_SHARD_BYTES = 64 << 20
_OF_ONE_SHARD = 8 << 20
"""Bytes of a shard that are in memory at most while it is read or sent: fetched ahead, or in parts."""
_ARRIVING_BYTES = 24 << 20
"""Bytes of shards that are on their way here, of those that are sent on once they are whole."""
POLL = 0.3
"""Seconds between two looks at whether there is still a reason to wait."""


def concurrently(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    failed: Callable[[BaseException], None] = lambda _: None,
    most: int = THREADS,
) -> Generator[R]:
    """What a function gives for each item, in order, as it comes; many of them are under way at a time.

    Whoever iterates takes part, so that a function may itself use this and never waits for a free thread. Where one
    of them raises, no other is begun; the first error in the order of the items is raised once all have ended.

    Args:
        function: Called in several threads.
        items: What it is called with.
        failed: Told of each error at once, in any thread, while others may still be under way.
        most: How many are under way at a time.
    """
    given = list(items)
    waiting, results = deque(enumerate(given)), dict[int, R]()
    errors: dict[int, BaseException] = {}
    changed, ended = threading.Condition(), threading.Event()

    def stop() -> None:
        waiting.clear()
        ended.set()

    def work() -> bool:
        """Do the next one; False where there is none."""
        try:
            number, item = waiting.popleft()
        except IndexError:
            return False
        before, _working.ended = _working.ended, ended
        try:
            result = function(item)
        except _Stopped:
            pass
        except BaseException as error:
            stop()
            with changed:
                errors[number] = error
                changed.notify_all()
            failed(error)
        else:
            with changed:
                results[number] = result
                changed.notify_all()
        finally:
            _working.ended = before
        return True

    def work_on() -> None:
        while work():
            pass

    helpers: list[Future[None]] = []
    try:
        # Where no thread can be started any more, whoever iterates does it all.
        with suppress(RuntimeError):
            for _ in range(min(most, THREADS, len(given)) - 1):
                helpers.append(_threads(os.getpid()).submit(work_on))
        for number in range(len(given)):
            while number not in results and not errors and work():
                pass
            with changed:
                changed.wait_for(lambda wanted=number: wanted in results or bool(errors))
                if number not in results:
                    break
                result = results.pop(number)
            yield result
    except BaseException as error:
        stop()
        failed(error)
        raise
    finally:
        stop()
        wait([helper for helper in helpers if not helper.cancel()])
    if errors:
        first = errors[min(errors)]
        # Its traceback leads here: what it holds would stay until the next garbage collection.
        errors.clear()
        try:
            raise first
        finally:
            del first


class _Stopped(BaseException):
    """Another one has failed, so this one need not wait for room any more."""


class _Working(threading.local):
    ended: threading.Event | None = None
    """Set once what this thread works for has failed, or is not wanted any more."""


_working = _Working()


def in_background(function: Callable[[], R]) -> Future[R]:
    """Begin something whose result is needed later. Whoever needs it does it itself where it has not begun yet."""
    try:
        return _threads(os.getpid()).submit(function)
    except RuntimeError:
        # No thread can be started any more: it never begins.
        return Future()


@lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    # By process: a forked worker has none of its parent's threads.
    return ThreadPoolExecutor(THREADS, "atdata")


class ByteBudget:
    """Bytes that may be in memory at a time; whoever needs more of them waits for others to be done."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._changed = threading.Condition()

    @contextmanager
    def hold(
        self, count: int, *, waiting: Callable[[], None] = lambda: None, opened: BinaryIO | None = None
    ) -> Generator[bool]:
        """Hold so many, at most all; gives whether there was room at once. Who holds some must not wait for more.

        Args:
            count: In bytes.
            waiting: Called every ``POLL`` seconds until there are as many; may raise.
            opened: Closed before this waits: a transfer that nobody reads is ended by its service.
        """
        held = min(count, self._most)
        with self._changed:
            at_once = self._left >= held
            self._left -= held if at_once else 0
        if not at_once:
            if opened is not None:
                opened.close()
            with self._changed:
                while not self._changed.wait_for(lambda: self._left >= held, timeout=POLL):
                    if _working.ended is not None and _working.ended.is_set():
                        raise _Stopped
                    waiting()
                self._left -= held
        try:
            yield at_once
        finally:
            with self._changed:
                self._left += held
                self._changed.notify_all()


@lru_cache(maxsize=1)
def _budgets(process: int) -> tuple[ByteBudget, ByteBudget]:
    # By process: what a parent holds is not in the memory of a forked worker.
    return ByteBudget(_SHARD_BYTES), ByteBudget(_ARRIVING_BYTES)


def _in_memory(size: int | None) -> int:
    return _OF_ONE_SHARD if size is None else min(size, _OF_ONE_SHARD)


def threads_for(size: int) -> int:
    """How many threads send shards of a size: more would wait for room, and malloc keeps memory for each."""
    return min(THREADS, _SHARD_BYTES // max(1, _in_memory(size)))


def shard_in_memory(
    size: int | None, *, waiting: Callable[[], None] = lambda: None, opened: BinaryIO | None = None
) -> AbstractContextManager[bool]:
    """Read or send a shard inside, once this process has room for so much of it as is in memory at a time.

    Args:
        size: Of the shard in bytes; None where it is not known.
        waiting: As ``ByteBudget.hold``.
        opened: As ``ByteBudget.hold``: where this gives False, it is to be opened again.
    """
    return _budgets(os.getpid())[0].hold(_in_memory(size), waiting=waiting, opened=opened)


def arriving(size: int) -> AbstractContextManager[bool]:
    """Fetch a shard of so many bytes inside that is sent on once it is whole.

    If all came at once, none would be whole before the last one: so the first ones go while the next ones come.
    """
    return _budgets(os.getpid())[1].hold(size)


class ConcurrencyLimit:
    """Requests that one service gets at a time.

    While answers come at the same pace it grows: at first it doubles with each round trip, once they took longer it
    grows by one. It is halved where the service says that it has too much to do, or says nothing. (That is slow
    start, additive increase and multiplicative decrease, as in RFC 5681.)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._quickest: dict[str, float] = {}
        self._limit = _AT_FIRST
        self._lowered = -1.0
        self._slow_start = True
        self.under_way = 0

    @property
    def allowed(self) -> int:
        """Requests that it allows now."""
        return int(self._limit)

    @contextmanager
    def request(self, method: str) -> Generator[Slot]:
        """One request from sending it to its answer, once there is room; say the ``status`` that it got."""
        with self._changed:
            self._changed.wait_for(lambda: self.under_way < self.allowed)
            self.under_way += 1
        slot = Slot()
        begun = self._clock()
        failed = True
        try:
            yield slot
            failed = slot.status in _TOO_MUCH
        except AtdataError:
            # Ours: it was not sent, or the answer was understood.
            failed = slot.status in _TOO_MUCH
            raise
        finally:
            self._end(method, begun, failed, answered=slot.status != 0)

    def _end(self, method: str, begun: float, failed: bool, *, answered: bool) -> None:
        now = self._clock()
        with self._changed:
            used = self.under_way > self.allowed / 2
            self.under_way -= 1
            if failed:
                # Once for all that were sent before it took effect.
                self._slow_start = False
                if begun > self._lowered:
                    self._limit, self._lowered = max(_LEAST, self._limit / 2), now
            elif answered:
                took = now - begun
                quickest = self._quickest[method] = min(self._quickest.get(method, took), took)
                if took > max(_NOTICEABLE, _AS_QUICK * quickest):
                    self._slow_start = False
                elif used:
                    more = 1 if self._slow_start else 1 / self._limit
                    self._limit = min(float(THREADS), self._limit + more)
            # Waking more than there is room for costs as much as the requests themselves.
            self._changed.notify(max(0, self.allowed - self.under_way))


class Slot:
    """A request that is under way; ``status`` is that of its answer, 0 without one."""

    def __init__(self) -> None:
        self.status = 0


def limit_of(url: str) -> ConcurrencyLimit:
    """The limit of the service that a URL is of, in this process."""
    return _limit(os.getpid(), service_of(url))


@lru_cache(maxsize=256)
def _limit(process: int, service: str) -> ConcurrencyLimit:
    return ConcurrencyLimit()
