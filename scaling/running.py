"""Dagster's own processes among very many partitions: ticks in the daemon, memory, and the page of partitions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import dagster as dg

from atdata_pipelines.home import prepare_home
from atdata_pipelines.partitions import add_keys, count_keys
from atdata_pipelines.settings import RECORD
from benchmarks.frame import Bench, expect
from benchmarks.watching import redis_url
from scaling.dagster_processes import LOCATION, Processes, dagster_processes, query_of_ui
from scaling.figures import Figure, Measured, Part
from scaling.registering import TICK_LIMIT, Crowd, crowd, sizes

QUIET_TICKS = 3
"""Ticks of the daemon where everything is a partition already."""

VIEWS = 5
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
    return _measure(fresh, lambda instance, _: count_keys(instance) >= fresh.size)


def _measure_many(bench: Bench) -> Measured:
    """All are partitions already when the daemon starts; the sensor walks through them."""
    found = crowd(bench, sizes(bench)[1])
    with dg.DagsterInstance.from_config(str(found.home)) as instance:
        add_keys(instance, found.index.names())
    return _measure(found, lambda _, ticks: len(ticks) >= QUIET_TICKS)


def _measure(found: Crowd, done: Callable[[dg.DagsterInstance, list[float]], bool]) -> Measured:
    os.environ["ATDATA_REDIS_URL"] = redis_url(found.index)
    with (
        dg.DagsterInstance.from_config(str(found.home)) as instance,
        dagster_processes(found.home, _MODULE, "daemon", "webserver") as running,
    ):
        rest = _memory(running)
        ticks: list[float] = []

        def ready() -> bool:
            ticks[:] = _ticks(running)
            return done(instance, ticks)

        expect(running.ask(_START, it=_SENSOR)["startSensor"]["__typename"], "Sensor", "the sensor is started")
        running.wait_until(ready, 900, "ticks of the daemon")
        after = _memory(running)
        views = _views(running, found)
        seen = running.memory("webserver")
    at = found.at
    figures = [
        Figure("ticks in the daemon", at, len(ticks), "ticks"),
        Figure("such a tick, median", at, median(ticks), "s"),
        Figure("such a tick, the longest", at, max(ticks), "s", TICK_LIMIT),
    ]
    for name in ("daemon", "code server"):
        figures.append(Figure(f"memory of the {name}, before the first tick", at, rest[name], "MB"))
        figures.append(Figure(f"memory of the {name}, after those ticks", at, after[name], "MB"))
    figures += views
    figures.append(Figure("memory of the webserver, after that", at, seen, "MB"))
    return figures, []


def _ticks(running: Processes) -> list[float]:
    """Seconds of each tick that has ended."""
    state: Any = running.ask(_TICKS, it=_SENSOR)["sensorOrError"]["sensorState"]
    for tick in state["ticks"]:
        expect(tick["error"], None, "errors of a tick")
    return [tick["endTimestamp"] - tick["timestamp"] for tick in state["ticks"] if tick["endTimestamp"]]


def _memory(running: Processes) -> dict[str, float]:
    return {name: running.memory(name) for name in ("daemon", "code server")}


def _views(running: Processes, found: Crowd) -> list[Figure]:
    """What the page of an asset's partitions asks for: of all, and of the one that is chosen."""
    key, figures = {"path": [RECORD]}, []
    queries = {
        "PartitionHealthQuery": {"assetKey": key},
        "AssetPartitionStaleQuery": {"assetKey": key, "partitionKey": f"dataset-{found.size // 2:06d}"},
    }
    for name, variables in queries.items():
        query, seconds, size = query_of_ui(name), [], 0
        for _ in range(VIEWS):
            begun = time.perf_counter()
            reply = running.post(query, **variables)
            seconds.append(time.perf_counter() - begun)
            size = len(reply.content)
            answer = reply.json()
            expect(answer.get("errors"), None, f"errors of {name}")
        if name == "PartitionHealthQuery":
            keys = answer["data"]["assetNodeOrError"]["partitionKeysByDimension"][0]["partitionKeys"]
            expect(len(keys), found.size, "partitions on the page")
        figures += [
            Figure(f"UI, page of partitions, `{name}`: the first time", found.at, seconds[0], "s"),
            Figure(f"UI, page of partitions, `{name}`: median of {VIEWS}", found.at, median(seconds), "s"),
            Figure(f"UI, page of partitions, `{name}`: its answer", found.at, size / 1e3, "kB"),
        ]
    return figures


PARTS = (Part("daemon-few", _measure_few), Part("daemon-many", _measure_many))
