"""Dagster's event log, where one process writes very much to it."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, create_engine


@contextmanager
def kept_open(instance: dg.DagsterInstance, *run_ids: str) -> Iterator[None]:
    """Keep one connection to each file in which SQLite has partitions and events; other databases do so themselves.

    Dagster has a new engine and connection for each of the two or three statements that store an event. Each time
    SQLAlchemy compiles the statement, SQLite reads the schema, and as the last connection is closed, it writes its
    log back into the file and waits for the disk.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        yield
        return
    connect_anew = storage._connect
    engines = {}
    for name in (INDEX_SHARD_NAME, *run_ids):
        with connect_anew(name):  # makes the tables
            engines[name] = create_engine(
                storage.conn_string_for_shard(name), connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
            )

    @contextmanager
    def connect(name: str) -> Iterator[Connection]:
        if name not in engines:
            with connect_anew(name) as connection:
                yield connection
            return
        # Dagster's own lock: so that there is never more than one connection in use.
        with storage._db_lock, engines[name].begin() as connection:
            yield connection

    storage._connect = connect
    try:
        yield
    finally:
        storage._connect = connect_anew
        for engine in engines.values():
            engine.dispose()
