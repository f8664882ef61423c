"""A bulk that is killed anywhere, and run again, publishes what an undisturbed one publishes."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from faulty.children import Children
from faulty.edge import Rule
from faulty.killing import KillAt, start
from faulty.lane import Lane

MOMENT = "2026-01-02T03:04:05.678+00:00"
NAMES = [f"readings-{number}" for number in range(3)]
LANES = 4


def run(children: Children, lane: Lane, rule: Rule):
    return start(children, lane, rule, "promote_bulk", names=NAMES, moment=MOMENT)


def prepared(lane, children):
    """The lane with some datasets, what an undisturbed bulk publishes of them, and how many calls it makes."""
    for number, name in enumerate(NAMES):
        lane.insert(name, shards=1, start=10 * number)
    lane.keep()
    watching = KillAt(0, "never")
    published = run(children, lane, watching).value()
    assert [change for _, change in published] == ["created"] * len(NAMES)
    assert lane.counts() == [1, len(NAMES), len(NAMES)]
    return lane, lane.records(), len(watching.calls)


def killed(children, lane, undisturbed, rule):
    """Kill and run again; whether it came to that."""
    lane.forget()
    outcome = run(children, lane, rule).outcome()
    if outcome.signal is None:
        assert outcome.error is None, outcome.error["trace"]
    else:
        assert outcome.signal == signal.SIGKILL
        run(children, lane, Rule()).value()
    assert lane.records() == undisturbed, (rule.number, rule.when)
    assert lane.states() == dict.fromkeys(NAMES, "published"), (rule.number, rule.when)
    commit = lane.commit()
    assert [change for _, change in run(children, lane, Rule()).value()] == ["unchanged"] * len(NAMES)
    assert lane.commit() == commit
    return outcome.signal is not None


def is_batch(call):
    return call.what.endswith("applyWrites")


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2], ids=["entries", "labels"])
def test_a_bulk_killed_when_its_records_were_just_written_is_taken_up(lane, children, number):
    _, undisturbed, _ = prepared(lane, children)
    assert killed(children, lane, undisturbed, KillAt(number, "after", is_batch))


@pytest.mark.faults
def test_a_bulk_killed_before_and_after_every_call_is_taken_up(new_lane, children, reliability):
    lanes = [prepared(new_lane(), children) for _ in range(LANES)]
    calls = max(calls for _, _, calls in lanes)
    points = [(number, when) for number in range(1, calls + 1) for when in ("before", "after")]
    left = iter(points)

    def work(lane, undisturbed):
        return sum(killed(children, lane, undisturbed, KillAt(*point)) for point in left)

    with ThreadPoolExecutor(LANES) as pool:
        reached = sum(pool.map(work, *zip(*[lane[:2] for lane in lanes], strict=True)))
    # Threads ask in an order of their own: the last points may not be reached.
    assert reached >= 0.9 * len(points)
    reliability(
        "`kill -9` before and after every call of `promote_many` (3 datasets), then run again",
        "1 schema, 3 entries, 3 labels, same CIDs as an undisturbed run, at every point; nothing left to write",
        f"so at all {reached} points",
        runs=3 * reached,
    )
