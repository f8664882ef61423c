"""Runs that promote datasets, or will: what they have before them is not started again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from ..config.settings import Settings, is_like
from ..jobs.bulk_job import BULK_JOB, config_of
from ..jobs.promote_job import JOB
from .run_history import UNFINISHED

if TYPE_CHECKING:
    from atdata_core.local import LocalDatasetEntry

_PARTITION = "dagster/partition"


@dataclass(frozen=True)
class _Bulk:
    """A bulk run; ``began`` in seconds since 1970, None while it waits."""

    run: str
    config: Mapping[str, Any]
    began: float | None

    def has(self, entry: "LocalDatasetEntry") -> bool:
        """Whether it promotes an entry, or will."""
        names, pattern = self.config.get("datasets"), self.config.get("pattern")
        if names and entry.name in names:
            return True
        if (names and not pattern) or not is_like(entry.name, pattern or "*"):
            return False
        # As it begins it looks what there is. Of an entry that another program changed no time is known.
        return self.began is None or entry.registered_at is None or entry.registered_at <= self.began * 1_000


def active_runs(instance: dg.DagsterInstance, settings: Settings) -> Callable[["LocalDatasetEntry"], str | None]:
    """Tells of an entry which run promotes it, in words for people; None: no run does."""
    alone: dict[str, str] = {}
    bulks: list[_Bulk] = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        if run.job_name == settings.named(BULK_JOB):
            bulks.append(_Bulk(run.run_id, config_of(run, settings), record.start_time))
        elif _PARTITION in run.tags and _promotes(run, settings):
            alone[run.tags[_PARTITION]] = run.run_id

    def promoted_by(entry: "LocalDatasetEntry") -> str | None:
        if entry.name in alone:
            return f"run {alone[entry.name][:8]} promotes it"
        for bulk in bulks:
            if bulk.has(entry):
                return f"run {bulk.run[:8]} promotes it, with others"
        return None

    return promoted_by


def _promotes(run: dg.DagsterRun, settings: Settings) -> bool:
    """Whether a run of a partition is of this instance's stages: others may have partitions of the same names."""
    return run.job_name == settings.named(JOB) or not (run.asset_selection or set()).isdisjoint(settings.keys)
