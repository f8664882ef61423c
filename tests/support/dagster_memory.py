"""Dagster's databases in the memory of this process: on disk they are most of what a run takes.

A ``dagster.yaml`` names them, so an instance is a persistent one that has a reference and a folder, as where people
run it. Whatever opens that folder in this process finds the same runs; another process cannot.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.runs import InMemoryRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

YAML = """
telemetry: {enabled: false}
storage: {custom: {module: %s, class: MemoryStorage, config: {folder: %s}}}
# To keep what steps print takes two processes a step.
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""


def in_memory(folder: Path) -> Path:
    """Make of a folder a ``DAGSTER_HOME`` whose runs, events and partitions lie in memory."""
    (folder / "dagster.yaml").write_text(YAML % (__name__, folder))
    return folder


class _Connection:
    """The one connection to a database, for one thread at a time; Dagster opens another for each statement."""

    def __init__(self, url: db.URL) -> None:
        self._lock = threading.RLock()
        given = {"check_same_thread": False}
        self._engine = db.create_engine(url, poolclass=db.pool.StaticPool, connect_args=given)

    @contextmanager
    def __call__(self) -> Iterator[db.Connection]:
        with self._lock, self._engine.begin() as connection:
            yield connection


class _Kept:
    """A storage that belongs to the first of the instances that have it."""

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        if not self.has_instance:
            super().register_instance(instance)

    def dispose(self) -> None:
        """Nothing: the database goes with the process."""


class _Runs(_Kept, InMemoryRunStorage):
    def __init__(self) -> None:
        super().__init__()
        self.connect = _Connection(self._engine.url)


class _Events(_Kept, InMemoryEventLogStorage):
    def __init__(self) -> None:
        super().__init__()
        self._connect = _Connection(self._engine.url)
        self.has_table = cache(super().has_table)


class _Schedules(_Kept, SqliteScheduleStorage):
    pass


@cache
def _storages(folder: str) -> tuple[_Runs, _Events, _Schedules]:
    return _Runs(), _Events(), _Schedules.from_local(folder)


class MemoryStorage(DagsterStorage[Any], ConfigurableClass):
    """What ``dagster.yaml`` names."""

    def __init__(self, folder: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()
        self._folder, self._inst_data = folder, inst_data

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {"folder": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> MemoryStorage:
        return cls(inst_data=inst_data, **config_value)

    @property
    def run_storage(self) -> _Runs:
        return _storages(self._folder)[0]

    @property
    def event_log_storage(self) -> _Events:
        return _storages(self._folder)[1]

    @property
    def schedule_storage(self) -> _Schedules:
        return _storages(self._folder)[2]
