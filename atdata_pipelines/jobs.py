"""The job that promotes a dataset, and the one that checks what is published of it."""

from typing import Any

import dagster as dg

from .assets import RECORD, STAGES, PromotionConfig
from .checks import VerifyConfig, verify_published
from .partitions import datasets

JOB = "promote"


def run_config(said: PromotionConfig | None = None) -> dict[str, Any]:
    """The run configuration of one promotion; nothing said leaves every value as it is."""
    return {"ops": {RECORD: {"config": (said or PromotionConfig()).model_dump()}}}


promote = dg.define_asset_job(
    JOB,
    # The checks read every published byte again: a promotion has just done so.
    selection=dg.AssetSelection.assets(*STAGES).without_checks(),
    description="Promote one dataset: all four stages, in one run.",
    # Stands in the launch dialog, ready to be filled in.
    config=run_config(),
    executor_def=dg.in_process_executor,
)


@dg.job(
    partitions_def=datasets,
    # Checks alone make no partitioned job, so an op reports their results.
    config={"ops": {verify_published.name: {"config": VerifyConfig().model_dump()}}},
    executor_def=dg.in_process_executor,
)
def verify() -> None:
    """Check that what is published of one dataset is what its records say."""
    verify_published()
