"""Checks of what is published, one partition per dataset.

A person launches them by the job `verify`. The job `promote` leaves them out, and answers what it has seen itself.
Where Dagster takes them along, as "Materialize" in its UI does, they look at a part of what was published.
"""

import warnings
from collections.abc import Iterator

import dagster as dg

from ..config.settings import RECORD, Settings
from ..display.markdown import shown
from .check_config import CHECKS, PARTITIONED, SAMPLE, VerifyConfig
from .step_retries import POLICY

PUBLISHED_TRUE = "published_true"
"""The op of the checks, where a run has it."""


# A check that comes through a component is built again by Dagster, with a parameter that it calls beta.
warnings.filterwarnings("ignore", "Parameter `execution_type` of function `AssetsDefinition", dg.BetaWarning)


def published_true(settings: Settings) -> dg.AssetChecksDefinition:
    """What Dagster knows the checks by; people launch the job `verify`, which reports their results."""
    job = settings.named("verify")
    with warnings.catch_warnings():
        # Without partitions all datasets would share one light.
        warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(
                name,
                asset=settings.key(RECORD),
                description=said,
                **({"partitions_def": settings.partitions} if PARTITIONED else {}),
            )
            for name, said in CHECKS.items()
        ]

    @dg.multi_asset_check(
        name=settings.named(PUBLISHED_TRUE),
        specs=specs,
        required_resource_keys=settings.resource_keys,
        retry_policy=POLICY,
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, config: VerifyConfig) -> Iterator[dg.AssetCheckResult]:
        # Before Dagster 1.12.13 the context of checks knows no partitions, but that of their op does.
        op = context.op_execution_context
        if not op.has_partition_key:
            # The button "Execute all" of the asset's page knows no partitions.
            raise dg.Failure(
                f"The checks are of one dataset. Launch the job `{job}`, with the dataset as its partition.",
                allow_retries=False,
            )
        if context.run.asset_selection and config.sample is None:
            # Comes after the stages, which have just seen every shard.
            config = VerifyConfig(sample=SAMPLE)
        from .check_results import results_of, verified

        wanted = {key.name for key in context.selected_asset_check_keys}
        client = settings.services(op).atproto.anonymous()
        for each in results_of(verified(op, config, settings), client, settings):
            if each.check_name in wanted:
                yield each._replace(description=shown(each.description or "", "markdown"))

    return checks
