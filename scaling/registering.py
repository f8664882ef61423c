"""Very many datasets become partitions: ticks of the sensor, and the schedule that looks at all of them."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import dagster as dg

from atdata_core.common.cid import entry_cid
from atdata_core.local import LocalIndex
from atdata_core.local.entry import LocalDatasetEntry
from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config.dagster_instance import prepare_home
from atdata_pipelines.config.partitions import count_keys
from atdata_pipelines.config.resources import AtprotoResource, RedisResource
from atdata_pipelines.config.settings import DEFAULT
from benchmarks.entries import register
from benchmarks.frame import Bench, expect
from benchmarks.samples import Vector
from benchmarks.watching import Sensor, note_published, redis_url
from scaling.figures import Figure, Measured, Part

TICK_LIMIT = 60.0
"""Seconds after which Dagster ends a tick, of a sensor as of a schedule."""

NOTHING_DUE = "every dataset is published already, so the sensor makes partitions, and no tick asks for a run"

QUIET_TICKS = 5

_databases = itertools.count(1)


class Crowd(NamedTuple):
    """An index with very many datasets, all of them published, and the Dagster that they become partitions of."""

    size: int
    index: LocalIndex
    home: Path
    registering: float
    """Seconds that it took to write them."""

    @property
    def at(self) -> str:
        """For the table."""
        return f"{self.size:,}"


def sizes(bench: Bench) -> tuple[int, int]:
    """Of the crowds."""
    return bench.size((10_000, 100_000), (600, 1_200))


def crowd(bench: Bench, size: int) -> Crowd:
    """The crowd of a size, made once."""

    def make() -> Crowd:
        index = bench.services.new_index(next(_databases))
        ref = index.publish_schema(Vector)
        entries = [_entry(number, ref) for number in range(size)]
        begun = time.perf_counter()
        register(index, entries)
        took = time.perf_counter() - begun
        note_published(index, bench.services.box.did, entries)
        return Crowd(size, index, prepare_home(bench.folder / f"dagster-{size}"), took)

    return bench.once(("a crowd of", size), make)


def another_account(bench: Bench) -> str:
    """The handle of an account of the sandbox that has published nothing."""
    return bench.services.sandbox_pds.account().handle


def _entry(number: int, ref: str) -> LocalDatasetEntry:
    urls = [f"s3://bucket/{number:06d}.tar"]
    return LocalDatasetEntry(f"dataset-{number:06d}", ref, urls, cid=entry_cid(ref, urls))


def _measure(size_of: Callable[[Bench], int], bench: Bench) -> Measured:
    found = crowd(bench, size_of(bench))
    with dg.DagsterInstance.from_config(str(found.home)) as instance:
        sensor = Sensor(found.index, instance)
        filling = _ticks_until_all(sensor, instance, found.size)
        quiet = [_seconds(sensor.tick) for _ in range(QUIET_TICKS)]
        published = _seconds(_night(found, instance, AtprotoResource(), wanted=False))
        other = another_account(bench)
        due = _seconds(_night(found, instance, AtprotoResource(handle=other), wanted=True))
    at = found.at
    figures = [
        Figure("written to the index, in pipelines", at, found.registering, "s"),
        Figure("ticks of the sensor until all are partitions", at, len(filling), "ticks"),
        Figure("those ticks together", at, sum(filling), "s"),
        Figure("such a tick, median", at, median(filling), "s"),
        Figure("such a tick, the longest", at, max(filling), "s", TICK_LIMIT),
        Figure("a tick when nothing is new, the longest", at, max(quiet), "s", TICK_LIMIT),
        Figure("the nightly schedule looks at all, everything is published", at, published, "s", TICK_LIMIT),
        Figure("the nightly schedule looks at all, everything is due", at, due, "s", TICK_LIMIT),
    ]
    return figures, [f"ticks of the sensor at {at}, where nothing else is said: {NOTHING_DUE}"]


def _measure_due(bench: Bench) -> Measured:
    """As where an account begins: nothing of it is published, and each tick asks for bulk runs."""
    found = crowd(bench, sizes(bench)[0])
    home = prepare_home(bench.folder / "dagster-due")
    ticks: list[float] = []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        sensor = Sensor(found.index, instance, AtprotoResource(handle=another_account(bench)))

        def tick() -> None:
            expect(bool(sensor.tick().run_requests), True, "the tick asks for runs")

        while count_keys(instance) < found.size:
            expect(len(ticks) < found.size, True, "fewer ticks than datasets")
            ticks.append(_seconds(tick))
    at = found.at
    figures = [
        Figure("ticks until a bulk run is asked for of each, everything is due", at, len(ticks), "ticks"),
        Figure("those ticks together", at, sum(ticks), "s"),
        Figure("such a tick, median", at, median(ticks), "s"),
        Figure("such a tick, the longest", at, max(ticks), "s", TICK_LIMIT),
    ]
    return figures, [f"ticks at {at} where everything is due: nothing does the runs that they ask for"]


def _ticks_until_all(sensor: Sensor, instance: dg.DagsterInstance, size: int) -> list[float]:
    """Seconds of each tick, with the partitions that it asks for."""
    ticks: list[float] = []

    def tick() -> None:
        found = sensor.tick()
        expect(found.run_requests or [], [], "runs that the sensor asks for")
        for request in found.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, request.partition_keys)

    while count_keys(instance) < size:
        expect(len(ticks) < size, True, "fewer ticks than datasets")
        ticks.append(_seconds(tick))
    return ticks


def _night(
    crowd: Crowd, instance: dg.DagsterInstance, atproto: AtprotoResource, *, wanted: bool
) -> Callable[[], None]:
    """An evaluation of the nightly schedule; it asks for a run, or not."""
    repository = promotion_definitions().get_repository_def()
    schedule = repository.get_schedule_def("nightly_promotion")
    resources: dict[str, Any] = {**DEFAULT.resources(), "redis": RedisResource(url=redis_url(crowd.index))}

    def evaluate() -> None:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2026, 1, 2, 3),
            repository_def=repository,
            resources={**resources, "atproto": atproto},
        )
        with context:
            found = schedule.evaluate_tick(context)
        expect(len(found.run_requests or []), int(wanted), "runs that the schedule asks for")

    return evaluate


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


PARTS = (
    Part("registering-few", functools.partial(_measure, lambda bench: sizes(bench)[0])),
    Part("due", _measure_due),
    Part("registering-many", functools.partial(_measure, lambda bench: sizes(bench)[1])),
)
