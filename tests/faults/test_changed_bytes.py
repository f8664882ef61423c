"""Bytes that change, anywhere on the way: found before the entry record is written, and nothing is published."""

from __future__ import annotations

import pytest

from atdata_core.errors import AtdataError, RefusedError, ShardError
from faulty.edge import Fault, Rule

REACH = "all found before the entry record is written; nothing published"


def flip(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def refused(lane, entry, copy):
    """Promote; it is refused with the error given back, and no entry or label is there."""
    with pytest.raises(RefusedError) as caught:
        lane.promote(entry, copy=copy)
    assert lane.counts()[1:] == [0, 0]
    assert lane.states()[entry.name] in ("failed", "retries exhausted")
    return caught.value


class SaysEtag(Rule):
    """An S3 server that says another ETag than it should, or none (None)."""

    def __init__(self, service, etag):
        self.service, self.etag = service, etag
        self.read = 0

    def answered(self, call, answer):
        if call.service != self.service or "etag" not in answer.headers:
            return None
        self.read += call.method == "GET"
        other = answer.without("etag")
        if self.etag is not None:
            other.headers["etag"] = self.etag
        return other


class Swaps(Rule):
    """Changes an object when a call about it is seen, once: before it is done, within the answer, or after."""

    def __init__(self, method, key, change, when):
        self.method, self.key, self.change, self.when = method, key, change, when
        self.done = False

    def due(self, call):
        about = call.method == self.method and call.path.split("?")[0].endswith(self.key)
        if self.done or not about or "attributes" in call.path:
            return False
        self.done = True
        self.change()
        return True

    def asked(self, call):
        if self.when == "before":
            self.due(call)

    def answered(self, call, answer):
        if self.when != "before" and self.due(call):
            return Fault.CUT if self.when == "within" else None


@pytest.mark.parametrize("copy", [False, True])
def test_a_flipped_bit_and_a_cut_are_found_in_each_shard(lane, copy):
    entry = lane.insert(shards=2)
    for url, data in lane.shards(entry).items():
        for changed in (flip(data, 700), data[: len(data) // 2]):
            lane.overwrite(url, changed)
            assert url.rpartition("/")[2] in str(refused(lane, entry, copy))
        lane.overwrite(url, data)
    assert lane.promote(entry, copy=copy)
    assert lane.states() == {entry.name: "published"}


@pytest.mark.faults
def test_every_flipped_bit_and_every_cut_is_found(lane, reliability):
    entry = lane.insert(shards=8)
    flips = cuts = 0
    for copy in (False, True):
        for url, data in lane.shards(entry).items():
            places = [0, 150, 600, len(data) // 2, len(data) - 1]
            for changed in [flip(data, place) for place in places]:
                lane.overwrite(url, changed)
                refused(lane, entry, copy)
                flips += 1
            ends = [len(data) // 3, len(data) - 1024, len(data) - 1]
            for changed in [data[:end] for end in ends]:
                lane.overwrite(url, changed)
                refused(lane, entry, copy)
                cuts += 1
            lane.overwrite(url, data)
    assert lane.objects() == {}
    reliability(
        "one bit flipped in each of 8 shards in turn, at 5 places (first and last byte among them), URLs kept and "
        "copied",
        REACH,
        f"{flips} of {flips} found, 0 entries, 0 copies",
        runs=flips,
    )
    reliability(
        "each of 8 shards cut at 3 places (by one byte among them), URLs kept and copied",
        REACH,
        f"{cuts} of {cuts} found, 0 entries, 0 copies",
        runs=cuts,
    )


@pytest.mark.measured
def test_a_source_that_changes_during_the_copy_is_found(lane, reliability):
    entry = lane.insert(shards=3)
    lane.keep()
    runs = 0
    for url, data in lane.shards(entry).items():
        for when in ("before", "within"):

            def change(url=url, data=data):
                lane.overwrite(url, flip(data, 700))

            lane.edge.rule = rule = Swaps("GET", lane.key(url), change, when)
            # In one run, or in the next where the read that was cut off is not taken up.
            with pytest.raises(ShardError if when == "before" else AtdataError):
                lane.promote(entry, copy=True)
            assert rule.done
            refused(lane, entry, copy=True)
            assert flip(data, 700) not in lane.objects().values()
            lane.overwrite(url, data)
            lane.forget()
            runs += 1
    assert lane.promote(entry, copy=True)
    assert lane.states() == {entry.name: "published"}
    reliability(
        "source changed during the copy: as each shard begins to be read, and when half of it was read",
        REACH,
        f"{runs} of {runs} found, 0 entries, no changed byte at the destination",
        runs=runs,
    )


@pytest.mark.measured
def test_an_overwrite_of_equal_size_is_found_whatever_etag_is_said(lane, reliability):
    entry = lane.insert(shards=2)
    lane.keep()
    found = read = 0
    for etag in (None, "", '""'):
        for copy in (False, True):
            lane.edge.rule = rule = SaysEtag("source", etag)
            assert lane.promote(entry, copy=copy)
            # An ETag that says nothing proves nothing: every shard is read.
            assert rule.read >= 2
            read += rule.read
            lane.forget()
            for url, data in lane.shards(entry).items():
                lane.edge.rule = SaysEtag("source", etag)
                lane.overwrite(url, flip(data, 700))
                refused(lane, entry, copy)
                lane.overwrite(url, data)
                found += 1
    reliability(
        "overwritten with equal size; an empty or absent ETag",
        REACH,
        f"{found} of {found} found, 0 entries; {read} reads in 6 runs over 2 shards that were whole",
        runs=found,
    )


@pytest.mark.measured
def test_a_copy_that_changes_behind_our_back_is_found_before_the_entry_is_written(lane, reliability):
    entry = lane.insert(shards=2)
    lane.keep()
    runs = 0
    for url in lane.shards(entry):
        name = url.rpartition("/")[2]

        def change(name=name):
            (key,) = [key for key in lane.objects() if key.endswith(name)]
            lane.destination.client.put_object(Bucket=lane.bucket, Key=key, Body=flip(lane.objects()[key], 700))

        lane.edge.rule = rule = Swaps("PUT", name, change, "after")
        refused(lane, entry, copy=True)
        assert rule.done
        lane.forget()
        runs += 1
    reliability(
        "a copy overwritten with equal size right after it was written",
        REACH,
        f"{runs} of {runs} found, 0 entries",
        runs=runs,
    )
