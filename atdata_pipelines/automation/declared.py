"""What the sensor leaves to automation conditions: it marks entries, and minds whether these ask for their runs."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.scheduling import retry_policy

from ..config.dagster_internals import AUTOMATION_CONDITION_TAG, DATA_VERSION_TAG, PARTITION_NAME_TAG
from ..config.settings import Settings
from ..display.markdown import shown
from ..display.materialisation_metadata import safe
from ..jobs.planner import PlannedPromotions, Wanted
from .run_history import last_run

PATIENCE = timedelta(minutes=5)
"""After which the sensor asks for the run of an entry itself."""

_ATTEMPT = "attempt"


def leave_to_conditions(
    findings: PlannedPromotions, instance: dg.DagsterInstance, settings: Settings
) -> list[dg.AssetMaterialization]:
    """Mark the entries that are not marked yet for this attempt; what had no run of it in time stays to be run.

    Args:
        findings: Those to run of them are left to the conditions.
        instance: Where they are marked, and their runs are.
        settings: Of the pipeline.

    Returns:
        The marks to make.
    """
    marks: list[dg.AssetMaterialization] = []
    for wanted in findings.runs:
        at = _marked(wanted, instance, settings)
        if at is None:
            marks.append(_mark(wanted, settings))
        if at is None or retry_policy.clock() - at < PATIENCE:
            findings.leave("declared", wanted.name, "missing or changed")
        elif (why := _stopped(wanted, at, instance, settings)) is not None:
            findings.leave("stopped", wanted.name, why)
    left = {name for kind in ("declared", "stopped") for name in findings.left.get(kind, ())}
    findings.runs = [wanted for wanted in findings.runs if wanted.name not in left]
    return marks


def _mark(wanted: Wanted, settings: Settings) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        settings.entry,
        partition=wanted.name,
        metadata=safe({_ATTEMPT: wanted.key}),
        tags={DATA_VERSION_TAG: cid_of(wanted.entry)},
    )


def _marked(wanted: Wanted, instance: dg.DagsterInstance, settings: Settings) -> datetime | None:
    """When an entry was marked for this attempt."""
    of_it = dg.AssetRecordsFilter(settings.entry, asset_partitions=[wanted.name])
    for record in instance.fetch_materializations(of_it, limit=1).records:
        mark = record.asset_materialization
        if mark is not None and mark.metadata[_ATTEMPT].value == shown(wanted.key):
            return datetime.fromtimestamp(record.timestamp, UTC)
    return None


def _stopped(wanted: Wanted, since: datetime, instance: dg.DagsterInstance, settings: Settings) -> str | None:
    """Whether a person stopped the run that a condition asked for."""
    tags = {PARTITION_NAME_TAG: wanted.name, AUTOMATION_CONDITION_TAG: "true"}
    for run in instance.get_runs(dg.RunsFilter(tags=tags, created_after=since)):
        if set(settings.keys) & (run.asset_selection or set()):
            fate = last_run(run)
            return fate.reason if fate.kind == "stopped" else None
    return None
