"""What promotes by itself, once a person turns it on: a sensor for what comes in, a schedule for the rest."""

import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg

from ..assets.step_retries import said_without_secrets
from ..config.settings import Settings

# A sensor that asks for a job of ops is built again by Dagster, with a parameter that it calls beta.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)


def new_datasets(settings: Settings, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """The sensor that promotes what is new in the index, also what other programs wrote there."""
    told = "Promotes all that is not published or has changed in the index, also what other programs wrote there."
    if settings.automation:
        told = (
            "Marks the entries that are new or changed; automation conditions start their runs. "
            "Many go into one run."
        )

    @dg.sensor(
        name=settings.named("new_datasets"),
        jobs=jobs,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.sensor else dg.DefaultSensorStatus.STOPPED,
        description=told,
        required_resource_keys=settings.resource_keys,
    )
    @said_without_secrets()
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from .ticks import tick

        return tick(context, settings)

    return sensor


def nightly_promotion(settings: Settings, job: dg.JobDefinition, cron: str) -> dg.ScheduleDefinition:
    """The schedule that promotes what is missing on the network or has changed since."""

    @dg.schedule(
        name=settings.named("nightly_promotion"),
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Promotes what is missing on the network or has changed since.",
        required_resource_keys=settings.resource_keys,
    )
    @said_without_secrets()
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        from .ticks import night

        return night(context, settings)

    return schedule
