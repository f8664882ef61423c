"""Automation conditions of the stages' assets, for teams that prefer these to a sensor's requests.

What is missing or changed is known to the ledger, not to Dagster's materialisations. So the sensor reports the
entries that are to be published, on an asset before the first stage, and the conditions ask for their runs. What
had no run in time the sensor asks for itself. ``docs/explanation/what-starts-what.md`` tells which starts what.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import AutomationCondition as When

from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.scheduling import retry_policy

from ..config.settings import STAGES, Settings, Tag
from ..display.markdown import shown
from ..display.materialisation_metadata import safe
from ..jobs.planner import PlannedPromotions, Wanted
from .run_history import last_run

PATIENCE = timedelta(minutes=5)
"""After which the sensor asks for the run of an entry itself."""

_ATTEMPT = "attempt"


def with_conditions(assets: Sequence[dg.AssetsDefinition], settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of the stages, with automation conditions where the pipeline is configured so."""
    if not settings.automation:
        return list(assets)

    def conditioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        stage = settings.asset_name(spec.key)
        return spec.replace_attributes(automation_condition=_condition_of(stage, settings))

    return [asset.map_asset_specs(conditioned) for asset in assets]


def entries(settings: Settings) -> dg.AssetSpec:
    """Stands before the first stage; the sensor marks what conditions are to promote."""
    return settings.described(
        dg.AssetSpec(
            settings.entry,
            partitions_def=settings.partitions,
            group_name=settings.group,
            kinds={"redis"},
            description="Entries of the index that are to be published, as the sensor found them: the first "
            "stage's automation condition asks for a run of each.",
        )
    )


def _condition_of(stage: str, settings: Settings) -> dg.AutomationCondition:
    """Of a stage's asset: asks for the first one after its entry, and for another one after that before it.

    A team's own asset upstream asks for nothing: many datasets can come from it, and the entry tells which changed.
    """
    place = STAGES.index(stage)
    if place == 0:
        entry = dg.AssetSelection.assets(settings.entry)
        # At once or never: what is under way is not marked, and what was missed the sensor asks for.
        marked = When.any_deps_match(When.newly_updated()).allow(entry)
        return (marked & ~When.in_progress()).with_label("entry_to_publish")
    # A run of many marks all stages itself, and what failed is tried again when the ledger says so.
    alone = (
        When.newly_updated() & ~When.executed_with_root_target() & ~When.executed_with_tags(tag_keys={"datasets"})
    )
    follows = When.any_deps_match(alone).since_last_handled() & ~When.execution_failed()
    return (
        (When.any_deps_match(When.will_be_requested()) | follows)
        & ~When.any_deps_missing()
        & ~When.any_deps_in_progress()
        & ~When.in_progress()
    ).with_label("after_the_stage_before")


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
