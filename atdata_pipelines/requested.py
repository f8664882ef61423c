"""What became of runs that were requested: which work still, and which ended without a word in the ledger."""

from typing import NamedTuple

import dagster as dg

from atdata_core.errors import AtdataError

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


class Before(NamedTuple):
    """What became of a run key that was asked for before.

    ``kind`` is ``under way``, ``stopped`` (by a person) or ``failed`` (it ended without a word in the ledger).
    """

    kind: str
    reason: str


def asked_before(instance: dg.DagsterInstance, sensor: str, key: str) -> Before | None:
    """What became of the run that a sensor was given for a run key; None where there was none.

    A run that failed has told the ledger, which gives the next attempt another key. So one that ended and left the
    key as it was never came to that: its process was lost, or the ledger was.
    """
    runs = instance.get_runs(dg.RunsFilter(tags={_RUN_KEY: key}))
    last = next((run for run in runs if run.tags.get(_SENSOR) == sensor), None)
    if last is None or last.status == dg.DagsterRunStatus.NOT_STARTED:
        return None
    return fate_of(last)


def fate_of(last: dg.DagsterRun) -> Before:
    """What became of a run, as ``asked_before`` tells it."""
    run = f"run {last.run_id[:8]}"
    if not last.is_finished or last.is_complete_and_waiting_to_retry:
        return Before("under way", run)
    if last.status == dg.DagsterRunStatus.CANCELED:
        return Before("stopped", f"{run} was stopped by a person, who may start it again")
    if last.is_success:
        return Before("failed", f"{run} succeeded, but the ledger knows nothing of it")
    return Before("failed", f"{run} ended and told nothing: its process was lost")
