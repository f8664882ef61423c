"""Dagster's event log, where one process writes very much to it."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME


@contextmanager
def kept_open(instance: dg.DagsterInstance, *run_ids: str) -> Iterator[None]:
    """Hold the files open in which SQLite keeps partitions and events; other databases keep connections themselves.

    Dagster connects several times for each event, and SQLite writes its log back into the file, and waits for the
    disk, whenever the last connection is closed. With one that stays, it does so only every thousand pages.
    """
    storage = instance.event_log_storage
    with ExitStack() as held:
        if isinstance(storage, SqliteEventLogStorage):
            for name in (INDEX_SHARD_NAME, *run_ids):
                connection = held.enter_context(closing(sqlite3.connect(storage.path_for_shard(name))))
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
