"""The job that promotes a dataset, and the one that checks what is published of it."""

from typing import Any

import dagster as dg

from ..assets.checks import VerifyConfig, verify_published
from ..config.run_config import PromotionConfig
from ..config.settings import DEFAULT, RECORD, Settings

JOB = "promote"
VERIFY = "verify"


def run_config(config: PromotionConfig | None = None, settings: Settings = DEFAULT) -> dict[str, Any]:
    """The run configuration of one promotion; without any, every value stays as it is."""
    return {"ops": {settings.named(RECORD): {"config": (config or PromotionConfig()).model_dump()}}}


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


def verify(settings: Settings) -> dg.JobDefinition:
    """The job that checks what is published of one dataset."""
    op = verify_published(settings)

    @dg.job(
        name=settings.named(VERIFY),
        description="Check that what is published of one dataset is what its records say.",
        partitions_def=settings.partitions,
        # Checks alone make no partitioned job, so an op reports their results.
        config={"ops": {op.name: {"config": VerifyConfig().model_dump()}}},
        executor_def=settings.executor_def(),
    )
    def job() -> None:
        op()

    return job
