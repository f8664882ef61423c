"""The whole pipeline as Dagster definitions."""

import dagster as dg

from ..assets.checks import published_true
from ..assets.stage_assets import stages
from ..automation.automation_conditions import entries, with_conditions
from ..automation.sensor import new_datasets, nightly_promotion
from ..config.settings import DEFAULT, Settings
from ..jobs.bulk_job import promote_many
from ..jobs.promote_job import promote, verify
from ..jobs.verify_job import verification, verify_many, weekly_verification


def promotion_definitions(settings: Settings = DEFAULT) -> dg.Definitions:
    """Assets, checks, jobs, sensor and schedules, with resources that read the environment."""
    assets = with_conditions(stages(settings), settings)
    one, many, look = promote(settings), promote_many(settings, assets), verify_many(settings)
    schedules = []
    if settings.cron is not None:
        schedules.append(nightly_promotion(settings, many, settings.cron))
    if settings.verification_cron is not None:
        schedules.append(weekly_verification(settings, look, settings.verification_cron))
    return dg.Definitions(
        assets=[*assets, verification(settings), *([entries(settings)] if settings.automation else [])],
        asset_checks=[published_true(settings)],
        jobs=[one, many, verify(settings), look],
        sensors=[new_datasets(settings, [one, many])],
        schedules=schedules,
        resources=settings.resources(),
    )
