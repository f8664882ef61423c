"""How much is under way at a time."""

import gc
import threading
import time
import weakref
from contextlib import suppress

import pytest

from atdata_core.common import concurrency
from atdata_core.common.concurrency import (
    POLL,
    THREADS,
    ByteBudget,
    ConcurrencyLimit,
    concurrently,
    limit_of,
    shard_in_memory,
)
from atdata_core.errors import ShardMissingError


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def meeting(parties):
    """A function that returns once so many threads are in it."""
    barrier = threading.Barrier(parties, timeout=30)
    return lambda _: barrier.wait() >= 0


def test_many_are_under_way_and_come_in_their_order():
    assert list(concurrently(meeting(THREADS), range(THREADS))) == [True] * THREADS
    assert list(concurrently(str, range(1000))) == [str(number) for number in range(1000)]
    assert list(concurrently(str, [])) == []


def test_results_come_before_all_are_done():
    going_on = threading.Event()

    def act(number):
        return number if number == 0 else going_on.wait(30)

    results = concurrently(act, range(2))
    assert next(results) == 0
    going_on.set()
    assert list(results) == [True]


def test_what_is_under_way_may_itself_have_many_under_way():
    def inner(number):
        return sum(concurrently(lambda each: each + number, range(3)))

    assert list(concurrently(inner, range(3 * THREADS))) == [3 + 3 * number for number in range(3 * THREADS)]


def test_after_an_error_no_other_is_begun_and_the_first_in_order_is_raised():
    begun, told = [], []
    met = threading.Barrier(2, timeout=30)

    def act(number):
        begun.append(number)
        if number in (3, 4):
            met.wait()
            raise ValueError(number)
        return number

    results = concurrently(act, range(100_000), failed=told.append)
    with pytest.raises(ValueError, match="3"):
        list(results)
    assert {str(error) for error in told} <= {"3", "4"}
    assert len(begun) < 100_000


def test_an_error_keeps_nothing_alive_once_it_is_dealt_with():
    class Held:
        """What the function holds."""

    held = Held()
    gone = weakref.ref(held)
    gc.disable()
    try:
        with suppress(ZeroDivisionError):
            list(concurrently(lambda number, held=held: 1 // number, range(2)))
        del held
        # A thread may still be putting away what it has done.
        until = time.monotonic() + 10
        while gone() is not None and time.monotonic() < until:
            time.sleep(0.001)
        assert gone() is None
    finally:
        gc.enable()


def test_none_is_under_way_any_more_once_whoever_iterates_has_given_up():
    under_way = set()

    def act(number):
        under_way.add(number)
        time.sleep(0.001)
        under_way.discard(number)

    results = concurrently(act, range(10_000))
    next(results)
    results.close()
    assert under_way == set()


def test_bytes_are_held_up_to_a_bound_and_one_that_is_larger_takes_all():
    budget, order = ByteBudget(10), []
    with budget.hold(4), budget.hold(6):
        waiting = threading.Thread(target=lambda: order.append(budget.hold(1000).__enter__()))
        waiting.start()
        waiting.join(0.02)
        assert order == []
    waiting.join(30)
    assert order == [False]


def test_whoever_waits_for_bytes_may_give_up():
    budget = ByteBudget(10)

    def give_up():
        raise InterruptedError

    with budget.hold(10), pytest.raises(InterruptedError), budget.hold(1, waiting=give_up):
        pass
    with budget.hold(10):
        pass


def test_whoever_waits_for_room_need_not_wait_once_another_has_failed():
    begun = []
    full = threading.Event()

    def act(number):
        if number == 0:
            full.wait(30)
            raise ValueError("failed")
        with shard_in_memory(None):
            begun.append(number)
            if len(begun) == 8:
                full.set()
            time.sleep(2 * POLL)

    with pytest.raises(ValueError, match="failed"):
        list(concurrently(act, range(THREADS)))
    assert len(begun) == 8


def test_where_no_thread_can_be_started_whoever_iterates_does_all(monkeypatch):
    class NoThreads:
        """As the system has it when it has no more."""

        def submit(self, _):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(concurrency, "_threads", lambda _: NoThreads())
    assert list(concurrently(str, range(3))) == ["0", "1", "2"]


def answer(limit, clock, *, seconds=0.1, status=200, together=None):
    """As many requests as are allowed, all at once, each answered after so long."""
    requests = [limit.request("GET") for _ in range(together or limit.allowed)]
    slots = [request.__enter__() for request in requests]
    clock.now += seconds
    for request, slot in zip(requests, slots, strict=True):
        slot.status = status
        request.__exit__(None, None, None)


def test_it_doubles_at_first_while_answers_come_at_the_same_pace():
    clock = Clock()
    limit = ConcurrencyLimit(clock)
    before = limit.allowed
    answer(limit, clock)
    assert before + 4 < limit.allowed <= 2 * before
    for _ in range(5):
        answer(limit, clock)
    assert limit.allowed == THREADS


def test_once_answers_took_longer_it_grows_slowly_and_only_where_it_is_used():
    clock = Clock()
    limit = ConcurrencyLimit(clock)
    before = limit.allowed
    answer(limit, clock, together=1)
    answer(limit, clock, seconds=0.3)
    answer(limit, clock, together=before // 2)
    assert limit.allowed == before
    for _ in range(4):
        answer(limit, clock)
    assert before < limit.allowed < before + 4


@pytest.mark.parametrize("status", [429, 503, 500])
def test_it_is_halved_once_for_all_that_were_refused_together(status):
    clock = Clock()
    limit = ConcurrencyLimit(clock)
    before = limit.allowed
    answer(limit, clock, status=status)
    assert limit.allowed == before // 2
    for _ in range(10):
        clock.now += 1
        answer(limit, clock, status=status)
    assert limit.allowed == 2


def test_it_is_halved_where_no_answer_comes_and_not_for_an_error_of_ours():
    clock = Clock()
    limit = ConcurrencyLimit(clock)
    before = limit.allowed
    with pytest.raises(ShardMissingError), limit.request("GET"):
        raise ShardMissingError("There is none.", url="a")
    assert limit.allowed == before
    with pytest.raises(TimeoutError), limit.request("GET"):
        raise TimeoutError
    assert limit.allowed == before // 2
    assert limit.under_way == 0


def test_what_was_never_sent_says_nothing_of_the_pace():
    clock = Clock()
    limit = ConcurrencyLimit(clock)
    before = limit.allowed
    for _ in range(3):
        with pytest.raises(ShardMissingError), limit.request("GET"):
            raise ShardMissingError("It is not asked for.", url="a")
    answer(limit, clock, seconds=0.5)
    assert limit.allowed > before


def test_a_service_has_one_limit():
    assert limit_of("http://a.example/one") is limit_of("http://a.example:80/two?x=1")
    assert limit_of("http://a.example/one") is not limit_of("http://b.example/one")
