"""Automation conditions of the stages' assets, for teams that prefer these to a sensor's requests.

What is missing or changed is known to the ledger, not to Dagster's materialisations. So the sensor reports the
entries that are to be published, on an asset before the first stage, and the conditions ask for their runs. What
had no run in time the sensor asks for itself. ``docs/explanation/what-starts-what.md`` tells which starts what.
"""

from collections.abc import Sequence

import dagster as dg
from dagster import AutomationCondition as When

from ..config.settings import STAGES, Settings


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
