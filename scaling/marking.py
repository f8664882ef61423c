"""The page of partitions, with very many of them materialised."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from threading import RLock
from typing import Any

import dagster as dg
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME

from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import RECORD
from benchmarks.frame import Bench
from scaling.dagster_processes import dagster_processes
from scaling.figures import Measured, Part
from scaling.pages import views
from scaling.registering import crowd, sizes


def _measure(bench: Bench) -> Measured:
    found, count = crowd(bench, sizes(bench)[1]), bench.size(30_000, 120)
    names = sorted(found.index.names())
    with dg.DagsterInstance.from_config(str(found.home)) as instance:
        add_keys(instance, names)
        begun = time.perf_counter()
        with one_transaction(instance.event_log_storage):
            for name in names[:count]:
                instance.report_runless_asset_event(dg.AssetMaterialization(RECORD, partition=name))
        took = time.perf_counter() - begun
    with dagster_processes(found.home, "atdata_pipelines.definitions", "webserver") as running:
        figures = views(running, names[0], partitions=found.size, marked=count)
    note = f"{count:,} marks of one asset without a run, written by Dagster in one transaction, in {took:.0f} s"
    return figures, [f"page of partitions at {found.at}: {note}"]


@contextmanager
def one_transaction(storage: Any) -> Iterator[None]:
    """Let what Dagster writes to SQLite for each event be written together; a connection for each takes minutes."""
    # One thread holds both connections.
    storage._db_lock = RLock()
    with ExitStack() as held:
        kept = {name: held.enter_context(storage._connect(name)) for name in (INDEX_SHARD_NAME, RUNLESS_RUN_ID)}
        storage._connect = lambda name: nullcontext(kept[name])
        held.callback(vars(storage).pop, "_connect")
        yield


PARTS = (Part("marked-page", _measure),)
