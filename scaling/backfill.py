"""Some datasets promoted by a backfill of the assets: one run for each."""

from __future__ import annotations

import time
from typing import Any

import dagster as dg

from atdata_pipelines.config.dagster_instance import prepare_home
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import RECORD, STAGES
from benchmarks.frame import Bench, expect
from scaling.bulk import in_a_process
from scaling.dagster_processes import Processes, dagster_processes
from scaling.datasets import lab, use_account
from scaling.figures import Figure, Measured, Part

_MODULE = "atdata_pipelines.definitions"
_FIRST = 4_000
"""The data that the bulks leave."""

_LAUNCH = """mutation($it: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $it) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_LOOK = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status error { message } } } }"""
_UNFINISHED = {"REQUESTED", "CANCELING", "COMPLETING"}


def _measure(bench: Bench) -> Measured:
    """As a person does it who chooses partitions on the page of an asset."""
    count = bench.size(20, 2)
    names = lab(bench).register("backfill", _FIRST, count)
    others = lab(bench).register("singly", _FIRST + count, count)
    home = prepare_home(bench.folder / "dagster-backfill")
    use_account(bench)
    library = in_a_process(bench.folder, home, "singly", others)["seconds"]
    use_account(bench)
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        dagster_processes(home, _MODULE, "daemon", "webserver") as running,
    ):
        add_keys(instance, names)
        begun = time.perf_counter()
        status = _backfill(running, names)
        seconds = time.perf_counter() - begun
        expect(status, "COMPLETED_SUCCESS", "end of the backfill")
        runs = instance.get_runs()
        expect([run.status for run in runs], [dg.DagsterRunStatus.SUCCESS] * count, "runs")
        expect(len(instance.get_materialized_partitions(dg.AssetKey(RECORD))), count, "partitions marked")
        alone = [_seconds_of(instance, run) for run in runs]
    at = f"{count:,}"
    figures = [
        Figure("backfill of the assets, a run each: a dataset", at, seconds / count, "s"),
        Figure("the mean run of it, from start to end", at, sum(alone) / count, "s"),
        Figure("as many by the library alone, one after the other: a dataset", at, library / count, "s"),
        Figure("what the backfill adds to a dataset", at, (seconds - library) / count, "s"),
    ]
    return figures, [
        "backfill: up to 4 runs at the same time, as `dagster.yaml` says, each in a process of its own. What it "
        "adds is its whole time without that of the library: the daemon, starts of processes, marks, previews, logs"
    ]


def _backfill(running: Processes, names: list[str]) -> str:
    """Launch one, and wait for its end; its status."""
    asked = {"assetSelection": [{"path": [stage]} for stage in STAGES], "partitionNames": names}
    launched = running.ask(_LAUNCH, it=asked)["launchPartitionBackfill"]
    expect(launched["__typename"], "LaunchBackfillSuccess", f"launch of the backfill {launched}")
    state: dict[str, Any] = {}

    def ended() -> bool:
        state.update(running.ask(_LOOK, id=launched["backfillId"])["partitionBackfillOrError"])
        return state["status"] not in _UNFINISHED

    running.wait_until(ended, 900, "the end of the backfill")
    return str((state["error"] or {}).get("message") or state["status"])


def _seconds_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> float:
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    assert record.start_time is not None
    assert record.end_time is not None
    return record.end_time - record.start_time


PARTS = (Part("backfill", _measure),)
