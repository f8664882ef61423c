"""Conditions of the stages' assets, for teams that prefer these to a sensor's requests.

What is missing or changed is known to the ledger, not to Dagster's marks. So the sensor marks the entries that
are to be published, on an asset before the first stage, and the conditions ask for their runs (``declared.py``).
"""

import dagster as dg
from dagster import AutomationCondition as When

from .dagster_internals import AUTOMATION_CONDITION_TAG
from .settings import STAGES, Settings


def entries(settings: Settings) -> dg.AssetSpec:
    """Stands before the first stage; the sensor marks what conditions are to promote."""
    return dg.AssetSpec(
        settings.entry,
        partitions_def=settings.partitions,
        group_name=settings.group,
        kinds={"redis"},
        description="Entries of the index that are to be published, as the sensor found them: the first stage's "
        "automation condition asks for a run of each.",
    )


def condition_of(stage: str, settings: Settings) -> dg.AutomationCondition | None:
    """Of a stage's asset: asks for the first one after its entry, and for another one after that before it.

    A team's own asset upstream asks for nothing: many datasets can come from it, and the entry tells which changed.
    """
    if not settings.automation:
        return None
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


def is_declared(run: dg.DagsterRun) -> bool:
    """Whether a condition asked for a run, not a person."""
    return AUTOMATION_CONDITION_TAG in run.tags
