"""Many processes promote the same dataset at the same moment."""

from __future__ import annotations

import time

import pytest

from faulty.edge import Tally


def promote_at_once(children, lane, processes, floats):
    """Bytes put at the destination, bytes of one copy."""
    entry = lane.insert(shards=8, floats=floats)
    lane.edge.rule = tally = Tally()
    begin = time.monotonic() + 1.0
    started = [
        children.start("promote", lane.environ, name="readings", store=lane.store, begin=begin, **lane.account)
        for _ in range(processes)
    ]
    uris = {child.value() for child in started}
    assert len(uris) == 1
    assert lane.counts() == [1, 1, 1]
    assert lane.states() == {"readings": "published"}
    assert sorted(lane.objects().values()) == sorted(lane.shards(entry).values())
    return tally.sent("destination"), sum(len(data) for data in lane.objects().values())


def test_rivals_make_one_record(lane, children):
    sent, size = promote_at_once(children, lane, 2, 64)
    assert sent >= size


@pytest.mark.faults
def test_sixteen_rivals_make_one_record_and_share_the_copying(lane, children, reliability):
    sent, size = promote_at_once(children, lane, 16, 50_000)
    assert sent <= 2 * size
    reliability(
        "16 processes promote the same dataset at once",
        "1 entry; no more than 2x the bytes of one copy",
        f"1 entry, {sent / size:.2f}x the bytes ({sent:,} of {size:,})",
        runs=16,
    )
