"""Dagster's own processes among very many partitions: ticks in the daemon, memory, and the page of partitions."""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median
from typing import Any

import dagster as dg

from atdata_pipelines.automation.ticks import NAMES_A_TICK
from atdata_pipelines.config.dagster_instance import prepare_home
from atdata_pipelines.config.partitions import add_keys, count_keys
from benchmarks.frame import Bench, expect
from benchmarks.watching import redis_url
from scaling.dagster_processes import LOCATION, Processes, dagster_processes
from scaling.figures import Figure, Measured, Part
from scaling.pages import views
from scaling.registering import NOTHING_DUE, TICK_LIMIT, Crowd, crowd, sizes

QUIET_TICKS = 3
"""Ticks of the daemon where everything is a partition already."""

_MODULE = "scaling.hasty"
_SENSOR = {
    "repositoryLocationName": LOCATION,
    "repositoryName": "__repository__",
    "sensorName": "new_datasets",
}
_START = "mutation($it: SensorSelector!) { startSensor(sensorSelector: $it) { __typename } }"
_TICKS = """query($it: SensorSelector!) { sensorOrError(sensorSelector: $it) { ... on Sensor { sensorState {
  ticks(limit: 1000) { status timestamp endTimestamp error { message causes { message } } } } } } }"""


def _measure_few(bench: Bench) -> Measured:
    """The daemon makes partitions of all datasets, from none on."""
    found = crowd(bench, sizes(bench)[0])
    fresh = found._replace(home=prepare_home(bench.folder / "dagster-daemon"))
    return _measure(fresh, lambda instance, _: count_keys(instance) >= fresh.size, NOTHING_DUE)


def _measure_many(bench: Bench) -> Measured:
    """All are partitions already when the daemon starts; the sensor walks through them."""
    found = crowd(bench, sizes(bench)[1])
    with dg.DagsterInstance.from_config(str(found.home)) as instance:
        add_keys(instance, found.index.names())
    said = (
        f"all are partitions before, and published; the sensor walks through {QUIET_TICKS * NAMES_A_TICK:,} names"
    )
    return _measure(found, lambda _, ticks: len(ticks) >= QUIET_TICKS, said)


def _measure(found: Crowd, done: Callable[[dg.DagsterInstance, list[float]], bool], said: str) -> Measured:
    os.environ["ATDATA_REDIS_URL"] = redis_url(found.index)
    with (
        dg.DagsterInstance.from_config(str(found.home)) as instance,
        dagster_processes(found.home, _MODULE, "daemon", "webserver") as running,
    ):
        rest = _memory(running)
        ticks: list[float] = []

        def ready() -> bool:
            enough = done(instance, ticks)
            ticks[:], active_runs = _ticks(running)
            # A tick makes partitions before it ends.
            return enough and not active_runs

        expect(running.ask(_START, it=_SENSOR)["startSensor"]["__typename"], "Sensor", "the sensor is started")
        running.wait_until(ready, 900, "ticks of the daemon")
        after = _memory(running)
        page = views(running, f"dataset-{found.size // 2:06d}", partitions=found.size, marked=0)
        seen = running.memory("webserver")
    at = found.at
    figures = [
        Figure("ticks in the daemon", at, len(ticks), "ticks"),
        Figure("such a tick, median", at, median(ticks), "s"),
        Figure("such a tick, the longest", at, max(ticks), "s", TICK_LIMIT),
    ]
    for name in ("daemon", "code server"):
        (before, _), (now, most) = rest[name], after[name]
        figures.append(Figure(f"memory of the {name}, before the first tick", at, before, "MB"))
        figures.append(Figure(f"memory of the {name}, after those ticks", at, now, "MB"))
        figures.append(Figure(f"most memory of the {name} until then", at, most, "MB"))
    figures += page
    figures.append(Figure("memory of the webserver, after that", at, seen[0], "MB"))
    figures.append(Figure("most memory of the webserver until then", at, seen[1], "MB"))
    return figures, [f"ticks in the daemon at {at}: {said}"]


def _ticks(running: Processes) -> tuple[list[float], bool]:
    """Seconds of each tick that has ended, and whether one is under way."""
    state: Any = running.ask(_TICKS, it=_SENSOR)["sensorOrError"]["sensorState"]
    for tick in state["ticks"]:
        expect(tick["error"], None, "errors of a tick")
    ended = [tick["endTimestamp"] - tick["timestamp"] for tick in state["ticks"] if tick["endTimestamp"]]
    return ended, len(ended) < len(state["ticks"])


def _memory(running: Processes) -> dict[str, tuple[float, float]]:
    return {name: running.memory(name) for name in ("daemon", "code server")}


PARTS = (Part("daemon-few", _measure_few), Part("daemon-many", _measure_many))
