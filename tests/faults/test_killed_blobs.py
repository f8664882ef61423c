"""A process that is killed anywhere while shards become blobs, and run again, sends none that the host has."""

from __future__ import annotations

import hashlib
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from atdata_core.atmosphere.record_format.record_keys import ENTRY
from faulty.children import Children
from faulty.killing import KillAt, start
from faulty.lane import Lane

LANES = 4
SHARDS = 4
MOMENT = "2026-01-02T03:04:05.678+00:00"


class Watching(KillAt):
    """Also notes the digest of each blob that the PDS has taken."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.taken = []

    def answered(self, call, answer):
        if is_upload(call) and answer is not None and answer.status == 200:
            self.taken.append(hashlib.sha256(call.body).hexdigest())
        return super().answered(call, answer)


def is_upload(call):
    return call.what.endswith("repo.uploadBlob")


def writes_entry(call):
    return call.what.endswith("repo.putRecord") and ENTRY.encode() in call.body


def run(children: Children, lane: Lane, rule: Watching):
    return start(children, lane, rule, "promote", name="readings", moment=MOMENT, store="pds")


def state(lane: Lane):
    """Records, and the bytes of the blobs that the entry names."""
    records = lane.records()
    blobs = [each["blob"]["ref"]["$link"] for each in records[ENTRY][0].value["storage"]["blobs"]]
    return records, {cid: lane.client.get_blob(lane.did, cid) for cid in blobs}


def digests_of(lane, entry):
    return sorted(hashlib.sha256(data).hexdigest() for data in lane.shards(entry).values())


def prepared(lane, children):
    """The lane with a dataset, and what an undisturbed run publishes of it."""
    entry = lane.insert(shards=SHARDS)
    lane.keep()
    watching = Watching(0, "never")
    run(children, lane, watching).value()
    undisturbed = state(lane)
    assert sorted(undisturbed[1].values()) == sorted(lane.shards(entry).values())
    assert sorted(watching.taken) == digests_of(lane, entry)
    return lane, undisturbed, digests_of(lane, entry)


def point(children, lane, undisturbed, digests, number, when, counts=None):
    """Kill at a point and run again; whether there was such a point."""
    lane.forget()
    rule, again = Watching(number, when, counts), Watching(0, "never")
    outcome = run(children, lane, rule).outcome()
    if outcome.signal is None:
        assert outcome.error is None, outcome.error["trace"]
    else:
        assert outcome.signal == signal.SIGKILL
        run(children, lane, again).value()
    where = (number, when, rule.calls[number - 1 :][:1])
    assert state(lane) == undisturbed, where
    assert sorted(rule.taken + again.taken) == digests, where
    return outcome.signal is not None


@pytest.mark.slow
def test_a_run_killed_at_uploads_and_at_the_record_sends_no_blob_twice(lane, children):
    known = prepared(lane, children)
    told = [
        point(children, *known, number, when, lambda call: is_upload(call) or writes_entry(call))
        for number in (1, SHARDS, SHARDS + 1)
        for when in ("before", "after")
    ]
    assert all(told)


@pytest.mark.faults
def test_a_run_killed_before_and_after_every_call_sends_no_blob_twice(new_lane, children, reliability):
    lanes = [prepared(new_lane(), children) for _ in range(LANES)]
    numbers, ended, points = iter(range(1, 10_000)), threading.Event(), []

    def work(lane, undisturbed, digests):
        while not ended.is_set():
            number = next(numbers)
            for when in ("before", "after"):
                if point(children, lane, undisturbed, digests, number, when):
                    points.append((number, when))
                else:
                    ended.set()

    with ThreadPoolExecutor(LANES) as pool:
        for future in [pool.submit(work, *lane) for lane in lanes]:
            future.result()
    reliability(
        f"`kill -9` before and after every call that leaves the process ({SHARDS} shards that become blobs), then "
        "run again",
        f"1 schema, 1 entry, 1 label, {SHARDS} blobs, same CIDs as an undisturbed run, no blob sent twice",
        f"so at all {len(points)} points",
        runs=2 * len(points),
    )


@pytest.mark.faults
@pytest.mark.parametrize("server", ["official_pds", "pds"])
def test_fifty_large_blobs_are_each_sent_once_however_often_the_run_is_killed(
    request, new_lane, children, reliability, server
):
    lane = new_lane(pds=request.getfixturevalue(server))
    entry = lane.insert(shards=50, floats=52_000, more=50_000)
    sizes = [len(data) for data in lane.shards(entry).values()]
    assert 1_000_000 < min(sizes) < 1_100_000 < 5_000_000 < max(sizes) < 5_242_880
    rules = [
        Watching(10, "after", is_upload),
        Watching(10, "before", is_upload),
        Watching(10, "after", is_upload),
        Watching(1, "before", writes_entry),
        Watching(1, "after", writes_entry),
    ]
    for rule in rules:
        assert run(children, lane, rule).outcome(patience=600).signal == signal.SIGKILL
    last = Watching(0, "never")
    run(children, lane, last).value(patience=600)
    digests = digests_of(lane, entry)
    assert sorted(digest for rule in [*rules, last] for digest in rule.taken) == digests
    assert lane.counts() == [1, 1, 1]
    assert [*state(lane)[1].values()] == [*lane.shards(entry).values()]
    reliability(
        f"`kill -9` at 5 points while 50 shards of 1 to 5 MB become blobs of {server.replace('_', ' ')}",
        "1 entry, the bytes of every shard, no blob sent twice",
        f"{len(digests)} blobs, {sum(sizes):,} bytes, each sent once",
        runs=len(rules) + 1,
    )
