"""Finding one among many, in Redis: an entry by its name, and what came in since the last look."""

from __future__ import annotations

import itertools
import os
import random
from contextlib import suppress

import dagster as dg

from atdata_core.local import LocalIndex
from atdata_core.local.entry import SCAN_PAUSE, SCANNED
from benchmarks import upstream
from benchmarks.counting import round_trips
from benchmarks.frame import Bench, Count, Measured, Reach, expect, row, timed
from benchmarks.watching import Sensor, note_published

LOOKS = 20
TICKS = 5
_DAGSTER = "telemetry:\n  enabled: false\n"

_databases = itertools.count(1)


def _sizes(bench: Bench) -> tuple[int, ...]:
    return bench.size((1_000, 100_000), (200, 2_000))


def _filled(bench: Bench, size: int) -> LocalIndex:
    """An index with so many entries that another program wrote, all of them known."""

    def make() -> LocalIndex:
        index = bench.services.new_index(next(_databases))
        upstream.write(index.redis, map(upstream.entry, range(size)))
        with suppress(KeyError):
            index.get_entry_by_name("a name that is not there")
        return index

    return bench.once(("an index of", size), make)


def _long_ago(index: LocalIndex) -> None:
    """As if nobody had looked at the keys of other programs for a while."""
    index.redis.delete(SCANNED, SCAN_PAUSE)


@row(
    "`get_entry_by_name`",
    peer="full scan, as upstream does it",
    reach=Reach(most=2, unit="round trips", same=True),
)
def entry_by_name(bench: Bench) -> Measured:
    """Any name, also when nobody has looked for a while."""
    draw, counts = random.Random(0), []
    for size in _sizes(bench):
        index = _filled(bench, size)
        most = 0
        for _ in range(LOOKS):
            wanted = upstream.entry(draw.randrange(size))
            _long_ago(index)
            with round_trips() as sent:
                expect(index.get_entry_by_name(wanted.name).cid, wanted.cid, "the entry")
            most = max(most, sent.total)
        counts.append(Count(f"{size:,} entries", most))

    # The last index is the largest.
    def ours() -> float:
        names = [upstream.entry(draw.randrange(size)).name for _ in range(LOOKS)]
        _long_ago(index)
        with timed() as seconds:
            for name in names:
                index.get_entry_by_name(name)
        return seconds[0] / LOOKS

    def peer() -> None:
        upstream.get_entry_by_name(index.redis, upstream.entry(draw.randrange(size)).name)

    return Measured(bench.race(ours, peer, repeats=3, warm=False), tuple(counts), f"times are those among {size:,}")


def _sensor(bench: Bench, size: int) -> Sensor:
    """A sensor that has looked once, with an index of which everything is published."""

    def make() -> Sensor:
        index = _filled(bench, size)
        note_published(index, bench.services.box.did, map(upstream.entry, range(size)))
        sensor = Sensor(index, bench.once("Dagster", lambda: _dagster(bench)))
        sensor.tick()
        return sensor

    return bench.once(("a sensor among", size), make)


def _dagster(bench: Bench) -> dg.DagsterInstance:
    home = bench.folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(_DAGSTER)
    os.environ["DAGSTER_HOME"] = str(home)
    return bench.services.open(dg.DagsterInstance.get())


@row(
    "one look of the sensor for new entries, when there are none",
    peer="full listing, as upstream does it",
    reach=Reach(most=3, unit="round trips", same=True),
)
def nothing_new(bench: Bench) -> Measured:
    """A tick of the sensor, once it knows what there is."""
    counts: list[Count] = []
    for size in _sizes(bench):
        index, sensor, most = _filled(bench, size), _sensor(bench, size), 0
        for _ in range(TICKS):
            _long_ago(index)
            with round_trips() as sent:
                found = sensor.tick()
            expect(found.run_requests or [], [], "runs that the sensor asks for")
            most = max(most, sent.total)
        counts.append(Count(f"{size:,} entries", most))

    # The last index is the largest.
    def ours() -> None:
        sensor.tick()

    def peer() -> None:
        expect(sum(1 for _ in upstream.entries(index.redis)), size, "entries listed")

    race = bench.race(ours, peer, repeats=2, warm=False)
    return Measured(race, tuple(counts), f"times are those among {size:,}")


@row(
    "an entry that another program writes is found by the sensor",
    peer="",
    reach=Reach(most=10, unit="ticks"),
)
def entry_of_another_program(bench: Bench) -> Measured:
    """Several, one after the other; each is waited for."""
    counts: list[Count] = []
    for size in _sizes(bench):
        index, sensor, most = _filled(bench, size), _sensor(bench, size), 0
        for number in range(size, size + 3):
            new = upstream.entry(number)
            sensor.forget(new.name)  # a larger index of this run may have it
            upstream.write(index.redis, [new])
            most = max(most, _ticks_until(sensor, new.name))
        counts.append(Count(f"{size:,} entries", most))
    return Measured(counts=tuple(counts))


def _ticks_until(sensor: Sensor, name: str) -> int:
    for tick in range(1, 1_000):
        sensor.tick()
        # Its schema is not in the index, so it becomes a partition and waits.
        if sensor.knows(name):
            return tick
    raise ValueError(f"{name} was not found in 1,000 ticks")


ROWS = (entry_by_name, nothing_new, entry_of_another_program)
