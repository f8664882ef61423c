"""What became of runs that were requested: which work still, and which ended without a word in the ledger."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from atdata_core.common.machine import machine
from atdata_core.errors import AtdataError
from atdata_core.local import LocalDatasetEntry
from atdata_core.promotion.scheduling import retry_policy

from ..config.settings import Settings, Tag, is_like
from ..jobs.bulk_config import config_of
from ..jobs.promotion_jobs import BULK_JOB, JOB

MACHINE_TAG = "atdata/machine"
"""On a run of a command: the machine, since its start, that the process is of."""

# One that was made and never launched is launched by asking for it again.
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.MANAGED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class LostRunError(AtdataError):
    """A run ended, and nobody knows how far it came."""


SOON = timedelta(hours=2)
"""As long as a sensor may take to look at all names once: after that it is no run's fault that one is due again."""


class LastRun(NamedTuple):
    """What became of a run key that was asked for before.

    ``kind`` is ``under way``, ``stopped`` (by a person), ``succeeded`` or ``failed`` (it ended without a word in
    the ledger).
    """

    kind: str
    reason: str


def run_key_for(
    instance: dg.DagsterInstance, sensor: str, key: str, registered: Iterable[int | None]
) -> str | LastRun:
    """The run key to ask with for what is due, or what became of the run that a sensor was given for it.

    A run that failed has told the ledger, which gives the next attempt another key. So one that ended and left the
    key as it was never came to that, and its process was lost; or it succeeded and the ledger was lost since, or is
    an older one. Then another run finds on the network what stands there, and tells the ledger: its key has the id
    of the last one in it. Where that one, too, left behind what is due, it is a failure, unless it has been so for
    long, or the entries are newer.

    Args:
        instance: Where the runs are.
        sensor: The name of the sensor.
        key: The run key of what is due.
        registered: When the entries were registered, in milliseconds since 1970, as far as that is known.
    """
    wanted, repeated = key, False
    while (last := _last(instance, sensor, wanted)) is not None:
        run = last.dagster_run
        if run.status == dg.DagsterRunStatus.NOT_STARTED:
            break
        fate = last_run(run)
        if fate.kind != "succeeded":
            return fate
        if repeated:
            ended = _ended(last)
            newer = any(at is not None and at / 1_000 > ended.timestamp() for at in registered)
            if not newer and retry_policy.clock() - ended < SOON:
                return LastRun("failed", f"{fate.reason}, for the second time")
        wanted, repeated = f"{key}@{run.run_id}", True
    return wanted


def _last(instance: dg.DagsterInstance, sensor: str, key: str) -> dg.RunRecord | None:
    found = instance.get_run_records(dg.RunsFilter(tags={"dagster/run_key": key}))
    return next((each for each in found if each.dagster_run.tags.get("dagster/sensor_name") == sensor), None)


def _ended(record: dg.RunRecord) -> datetime:
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, UTC)
    # In whole seconds, cut off.
    return record.update_timestamp.replace(tzinfo=UTC) + timedelta(seconds=1)


def last_run(last: dg.DagsterRun) -> LastRun:
    """What became of a run."""
    run = f"run {last.run_id[:8]}"
    if not last.is_finished or last.is_complete_and_waiting_to_retry:
        return LastRun("under way", run)
    if last.status == dg.DagsterRunStatus.CANCELED:
        return LastRun("stopped", f"{run} was stopped by a person, who may start it again")
    if last.is_success:
        return LastRun("succeeded", f"{run} succeeded, but the ledger knows nothing of it")
    return LastRun("failed", f"{run} ended and told nothing: its process was lost")


_SLACK = 5.0
"""Seconds that clocks of one machine may differ by: Linux counts the beginning of a process in ticks."""


def end_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Let runs fail whose process on this machine is gone; their ids. Dagster then tries them again, as configured.

    A sensor or schedule of the code location asks, which runs in the process that starts the runs.
    """
    if os.name != "posix" or not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []
    begun = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    lost: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=begun)):
        here = run.tags.get(MACHINE_TAG) == machine()
        if not here and "socket" not in json.loads(run.tags.get(Tag.CODE_SERVER, "{}")):
            continue  # started on what may be another machine
        for start in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_START)[-1:]:
            pid = start.get_dagster_event().pid
            if pid is not None and not _runs_still(pid, start.timestamp):
                instance.report_run_failed(
                    run,
                    f"The process of this run ({pid}) is gone: the machine was restarted, or ran out of memory. "
                    "What it has done is kept, and found when the run is tried again.",
                )
                lost.append(run.run_id)
    return lost


def _runs_still(pid: int, since: float) -> bool:
    """Whether a process runs that began before a time (seconds since 1970); numbers are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, ValueError, IndexError):  # only Linux tells
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK") < since + _SLACK
    return True


@dataclass(frozen=True)
class _Bulk:
    """A bulk run; ``began`` in seconds since 1970, None while it waits."""

    run: str
    config: Mapping[str, Any]
    began: float | None

    def has(self, entry: LocalDatasetEntry) -> bool:
        """Whether it promotes an entry, or will."""
        names, pattern = self.config.get("datasets"), self.config.get("pattern")
        if names and entry.name in names:
            return True
        if (names and not pattern) or not is_like(entry.name, pattern or "*"):
            return False
        # As it begins it looks what there is. Of an entry that another program changed no time is known.
        return self.began is None or entry.registered_at is None or entry.registered_at <= self.began * 1_000


def active_runs(instance: dg.DagsterInstance, settings: Settings) -> Callable[[LocalDatasetEntry], str | None]:
    """Tells of an entry which run promotes it, in words for people; None: no run does."""
    alone: dict[str, str] = {}
    bulks: list[_Bulk] = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        if run.job_name == settings.named(BULK_JOB):
            bulks.append(_Bulk(run.run_id, config_of(run, settings), record.start_time))
        # Other instances may have partitions of the same names.
        elif run.job_name == settings.named(JOB) or (run.asset_selection or set()) & set(settings.keys):
            alone[run.tags.get(Tag.PARTITION, "")] = run.run_id

    def promoted_by(entry: LocalDatasetEntry) -> str | None:
        if entry.name in alone:
            return f"run {alone[entry.name][:8]} promotes it"
        for bulk in bulks:
            if bulk.has(entry):
                return f"run {bulk.run[:8]} promotes it, with others"
        return None

    return promoted_by
