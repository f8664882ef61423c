"""A process that is killed anywhere, and run again, publishes what an undisturbed one publishes."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from faulty.children import Children
from faulty.edge import Rule
from faulty.killing import KillAt, start
from faulty.lane import Lane

MOMENT = "2026-01-02T03:04:05.678+00:00"
LANES = 4


def run(children: Children, lane: Lane, rule: Rule):
    return start(children, lane, rule, "promote", name="readings", moment=MOMENT, store=lane.store)


def state(lane: Lane):
    return lane.records(), lane.objects()


def prepared(lane, children, shards=8):
    """The lane with a dataset, what an undisturbed run publishes of it, and the calls that it makes."""
    lane.insert(shards=shards)
    lane.keep()
    watching = KillAt(0, "never")
    run(children, lane, watching).value()
    undisturbed = state(lane)
    assert [len(found) for found in undisturbed[0].values()] == [1, 1, 1]
    assert len(undisturbed[1]) == shards
    return lane, undisturbed, [call.what for call in watching.calls]


def point(children, lane, undisturbed, number, when):
    """Kill at a point and run again; the call at which it was killed, None where the run ended before."""
    lane.forget()
    rule = KillAt(number, when)
    outcome = run(children, lane, rule).outcome()
    if outcome.signal is None:
        assert outcome.error is None, outcome.error["trace"]
    else:
        assert outcome.signal == signal.SIGKILL
        run(children, lane, Rule()).value()
    assert state(lane) == undisturbed, (number, when, rule.calls[number - 1])
    assert lane.states() == {"readings": "published"}, (number, when, rule.calls[number - 1])
    return None if outcome.signal is None else rule.calls[number - 1]


@pytest.mark.slow
def test_a_run_killed_when_the_entry_record_was_just_written_is_taken_up(lane, children):
    _, undisturbed, asked = prepared(lane, children, shards=2)
    writes = [number for number, what in enumerate(asked, 1) if what.endswith("putRecord")]
    assert len(writes) == 3
    assert point(children, lane, undisturbed, writes[1], "after") is not None


@pytest.mark.faults
def test_a_run_killed_before_and_after_every_call_is_taken_up(new_lane, children, reliability):
    lanes = [prepared(new_lane(), children) for _ in range(LANES)]
    numbers = iter(range(1, 10_000))
    ended = threading.Event()
    killed = []

    def work(lane, undisturbed):
        while not ended.is_set():
            number = next(numbers)
            for when in ("before", "after"):
                call = point(children, lane, undisturbed, number, when)
                if call is None:
                    ended.set()
                else:
                    killed.append((number, when, call.service))

    with ThreadPoolExecutor(LANES) as pool:
        for future in [pool.submit(work, *lane[:2]) for lane in lanes]:
            future.result()
    services = {service: sum(1 for _, _, at in killed if at == service) for service in lanes[0][0].edge.urls}
    told = ", ".join(f"{count} at {service}" for service, count in services.items() if count)
    reliability(
        "`kill -9` before and after every call that leaves the process (8 shards, copied to a second S3 server), "
        "then run again",
        "1 schema, 1 entry, 1 label, 8 objects, same CIDs as an undisturbed run, at every point",
        f"so at all {len(killed)} points ({told})",
        runs=2 * len(killed),
    )
