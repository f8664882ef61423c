"""The job that promotes one dataset, and the one that promotes many in one run.

Each stage of many is marked on the same assets that promote one dataset, as soon as it is done; so what succeeded
is marked, and nothing else. A dataset that fails costs no other.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ..assets.step_retries import POLICY, dagster_failures
from ..config.run_config import PromotionConfig
from ..config.settings import DEFAULT, RECORD, Settings
from .bulk_config import OP, BulkConfig, bulk_config

JOB = "promote"
BULK_JOB = "promote_many"


def run_config(config: PromotionConfig | None = None, settings: Settings = DEFAULT) -> dict[str, Any]:
    """The run configuration of one promotion; without any, every value stays as it is."""
    return {"ops": {settings.node(RECORD): {"config": (config or PromotionConfig()).model_dump()}}}


def promote(settings: Settings) -> Any:
    """The job that promotes one dataset."""
    return dg.define_asset_job(
        settings.named(JOB),
        # The checks read every published byte again: a promotion has just done so.
        selection=dg.AssetSelection.assets(*settings.keys).without_checks(),
        description="Promote one dataset: all four stages, in one run.",
        # Stands in the launch dialog, ready to be filled in.
        config=run_config(settings=settings),
        executor_def=settings.executor_def(),
    )


def promote_many(settings: Settings, stages: Sequence[dg.AssetsDefinition]) -> dg.JobDefinition:
    """The job that promotes many datasets, and marks these stages."""

    @dg.op(
        name=settings.named(OP),
        required_resource_keys=settings.resource_keys,
        retry_policy=POLICY,
        pool=settings.publishing_pool,
    )
    def op(context: dg.OpExecutionContext, config: BulkConfig) -> None:
        """Promote many datasets; those that fail are named in one table, and the run then fails."""
        from .bulk_promotion import promote_datasets

        with dagster_failures():
            promote_datasets(context, config, settings, stages)

    @dg.job(
        name=settings.named(BULK_JOB),
        description="Promote many datasets in one run: those that are named, or all that is missing or changed.",
        # Stands in the launch dialog, ready to be filled in.
        config=bulk_config(settings=settings),
        executor_def=settings.executor_def(),
    )
    def job() -> None:
        op()

    return job
