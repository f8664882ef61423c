"""The whole pipeline as Dagster definitions."""

import dagster as dg

from .assets import STAGES
from .automation import new_datasets, nightly_promotion
from .bulk import promote_many
from .checks import published_true
from .jobs import promote, verify
from .resources import AtprotoResource, DestinationResource, RedisResource, ShardS3Resource
from .verifying import verify_many, weekly_verification


def promotion_definitions() -> dg.Definitions:
    """Assets, checks, jobs, sensor and schedule, with resources that read the environment."""
    return dg.Definitions(
        assets=STAGES,
        asset_checks=[published_true],
        jobs=[promote, promote_many, verify, verify_many],
        sensors=[new_datasets],
        schedules=[nightly_promotion, weekly_verification],
        resources={
            "redis": RedisResource(),
            "s3": ShardS3Resource(),
            "destination": DestinationResource(),
            "atproto": AtprotoResource(),
        },
    )
