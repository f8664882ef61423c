"""Marks on entries of the index, which automation conditions start runs of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.scheduling import retry_policy

from ..config.settings import Settings, Tag
from ..display.markdown import shown
from ..display.materialisation_metadata import safe
from ..jobs.planner import PlannedPromotions, Wanted
from .run_history import last_run

PATIENCE = timedelta(minutes=5)
"""After which the sensor asks for the run of an entry itself."""

_ATTEMPT = "attempt"


def leave_to_conditions(
    plan: PlannedPromotions, instance: dg.DagsterInstance, settings: Settings
) -> list[dg.AssetMaterialization]:
    """Leave the runs of a plan to the conditions; what had none in time stays to be run.

    Returns:
        Materialisations that mark the entries which are not marked yet for this attempt.
    """
    marks: list[dg.AssetMaterialization] = []
    for wanted in plan.runs:
        at = _marked(wanted, instance, settings)
        if at is None:
            metadata, tags = safe({_ATTEMPT: wanted.key}), {Tag.DATA_VERSION: cid_of(wanted.entry)}
            marks.append(
                dg.AssetMaterialization(settings.entry, partition=wanted.name, metadata=metadata, tags=tags)
            )
        if at is None or retry_policy.clock() - at < PATIENCE:
            plan.leave("declared", wanted.name, "missing or changed")
        elif (why := _stopped(wanted, at, instance, settings)) is not None:
            plan.leave("stopped", wanted.name, why)
    left = {name for kind in ("declared", "stopped") for name in plan.left.get(kind, ())}
    plan.runs = [wanted for wanted in plan.runs if wanted.name not in left]
    return marks


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
    tags = {Tag.PARTITION: wanted.name, Tag.AUTOMATION_CONDITION: "true"}
    for run in instance.get_runs(dg.RunsFilter(tags=tags, created_after=since)):
        if set(settings.keys) & (run.asset_selection or set()):
            fate = last_run(run)
            return fate.reason if fate.kind == "stopped" else None
    return None
