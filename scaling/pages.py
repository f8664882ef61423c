"""The page of an asset's partitions: what Dagster's UI asks for when a person opens it."""

from __future__ import annotations

import time
from statistics import median

from atdata_pipelines.config.settings import RECORD
from benchmarks.frame import expect
from scaling.dagster_processes import Processes, query_of_ui
from scaling.figures import Figure

VIEWS = 5
ALL, ONE = "PartitionHealthQuery", "AssetPartitionStaleQuery"
_TITLES = {ALL: "page of partitions", ONE: "page of partitions, one is chosen"}


def views(running: Processes, chosen: str, *, partitions: int, marked: int) -> list[Figure]:
    """Ask as the page does, of all partitions and of the one that a person chooses.

    Args:
        running: With a webserver.
        chosen: A partition.
        partitions: How many there are.
        marked: How many of them are materialised.
    """
    asset, figures = {"path": [RECORD]}, []
    at = f"{partitions:,}"
    for name, variables in ((ALL, {"assetKey": asset}), (ONE, {"assetKey": asset, "partitionKey": chosen})):
        query, seconds = query_of_ui(name), []
        for _ in range(VIEWS):
            begun = time.perf_counter()
            reply = running.post(query, **variables)
            seconds.append(time.perf_counter() - begun)
        answer = reply.json()
        expect(answer.get("errors"), None, f"errors of {name}")
        if name == ALL:
            found = answer["data"]["assetNodeOrError"]
            expect(len(found["partitionKeysByDimension"][0]["partitionKeys"]), partitions, "partitions")
            expect(len(found["assetPartitionStatuses"]["materializedPartitions"]), marked, "of them marked")
        title = f"UI, {_TITLES[name]}, {marked:,} materialised"
        figures += [
            Figure(f"{title}: the first time", at, seconds[0], "s"),
            Figure(f"{title}: median of {VIEWS}", at, median(seconds), "s"),
            Figure(f"{title}: the answer", at, len(reply.content) / 1e3, "kB"),
        ]
    return figures
