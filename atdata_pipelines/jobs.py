"""The job that promotes one dataset."""

from typing import Any

import dagster as dg

from .assets import RECORD, STAGES, PromotionConfig

JOB = "promote"


def run_config(said: PromotionConfig | None = None) -> dict[str, Any]:
    """The run configuration of one promotion; nothing said leaves every value as it is."""
    return {"ops": {RECORD: {"config": (said or PromotionConfig()).model_dump()}}}


promote = dg.define_asset_job(
    JOB,
    selection=dg.AssetSelection.assets(*STAGES),
    description="Promote one dataset: all four stages, in one run.",
    # Stands in the launch dialog, ready to be filled in.
    config=run_config(),
    executor_def=dg.in_process_executor,
)
