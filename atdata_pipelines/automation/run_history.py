"""What became of runs that were requested: which work still, and which ended without a word in the ledger."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg

from atdata_core.errors import AtdataError
from atdata_core.promotion.scheduling import retry_policy

_RUN_KEY = "dagster/run_key"
_SENSOR = "dagster/sensor_name"

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
    found = instance.get_run_records(dg.RunsFilter(tags={_RUN_KEY: key}))
    return next((each for each in found if each.dagster_run.tags.get(_SENSOR) == sensor), None)


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
