"""``python -m scaling.one_bulk job|library|singly FILE``: a bulk in a process of its own, for time and memory.

FILE holds the names of the datasets, a line each. On stdout comes one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.frame import expect
from scaling.dagster_processes import memory_of


def _job(names: list[str]) -> Callable[[], None]:
    """The job, as a run of Dagster does it; its events go to the instance of DAGSTER_HOME."""
    import dagster as dg

    from atdata_pipelines.config.settings import STAGES
    from atdata_pipelines.definitions import defs
    from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, BulkConfig, bulk_config

    job, instance = defs().resolve_job_def(BULK_JOB), dg.DagsterInstance.get()

    def run() -> None:
        config = bulk_config(BulkConfig(datasets=names))
        result = job.execute_in_process(run_config=config, instance=instance, raise_on_error=False)
        expect(result.success, True, "the run succeeds")
        for stage in STAGES:
            marked = instance.get_materialized_partitions(dg.AssetKey(stage))
            expect(len(marked & set(names)), len(names), f"partitions marked of {stage}")

    return run


def _library(names: list[str]) -> Callable[[], None]:
    """The same promotion without Dagster."""
    from atdata_core.promotion.bulk.many import promote_many
    from atdata_pipelines.config.resources import AtprotoResource, RedisResource

    def run() -> None:
        index, client = RedisResource().index(), AtprotoResource().client()
        outcomes = promote_many([index.get_entry_by_name(name) for name in names], index, client)
        expect([each.error for each in outcomes if each.error], [], "failures")
        expect({each.change for each in outcomes}, {"created"}, "what became of records")

    return run


def _singly(names: list[str]) -> Callable[[], None]:
    """Promotions without Dagster, one after the other."""
    from atdata_core.promote import promote_to_atmosphere
    from atdata_pipelines.config.resources import AtprotoResource, RedisResource

    def run() -> None:
        index, client = RedisResource().index(), AtprotoResource().client()
        for name in names:
            promote_to_atmosphere(index.get_entry_by_name(name), index, client)

    return run


def main(kind: str, file: str) -> None:
    """Promote them, and say what it took."""
    run = {"job": _job, "library": _library, "singly": _singly}[kind](Path(file).read_text().split())
    begun, cpu = time.perf_counter(), time.process_time()
    run()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    _, peak = memory_of(os.getpid())
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
