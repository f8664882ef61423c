"""The jobs that check what is published, of one dataset or many, and the schedule that starts the latter each week.

Links rot, and bytes change: each look is an evaluation of the same checks, so the page of the asset tells when each
was last seen to be true.
"""

from datetime import timedelta

import dagster as dg

from ..assets.check_config import SAMPLE, VerifyConfig, VerifyManyConfig
from ..assets.step_retries import POLICY, dagster_failures
from ..config.settings import DEFAULT, RECORD, Settings
from ..config.times import shortest_interval

VERIFY = "verify"
VERIFY_JOB = "verify_many"
_OP = "verify_datasets"
LONG = timedelta(hours=6)
"""What a look at everything may take before its lateness is a warning."""
LATE = timedelta(days=1)


def verify(settings: Settings) -> dg.JobDefinition:
    """The job that checks what is published of one dataset."""

    # Checks alone make no partitioned job, so an op reports their results.
    @dg.op(
        name=settings.named("verify_published"), required_resource_keys=settings.resource_keys, retry_policy=POLICY
    )
    def op(context: dg.OpExecutionContext, config: VerifyConfig) -> None:
        """All checks of one dataset; the op succeeds, what they found stands on the checks."""
        from ..assets.check_results import evaluation_of, results_of, verified

        client = settings.services(context).atproto.anonymous()
        for each in results_of(verified(context, config, settings), client, settings):
            context.log_event(evaluation_of(each, context.partition_key))

    @dg.job(
        name=settings.named(VERIFY),
        description="Check that what is published of one dataset is what its records say.",
        partitions_def=settings.partitions,
        config={"ops": {op.name: {"config": VerifyConfig().model_dump()}}},
        executor_def=settings.executor_def(),
    )
    def job() -> None:
        op()

    return job


def verify_many(settings: Settings) -> dg.JobDefinition:
    """The job that checks what is published of many datasets."""

    @dg.op(name=settings.named(_OP), required_resource_keys=settings.resource_keys, retry_policy=POLICY)
    def op(context: dg.OpExecutionContext, config: VerifyManyConfig) -> None:
        """All checks of many datasets; the run fails where one does that is no mere warning, and names it."""
        from .bulk_verification import verify_datasets

        with dagster_failures():
            verify_datasets(context, config, settings)

    @dg.job(
        name=settings.named(VERIFY_JOB),
        description="Check that what is published of many datasets is what their records say.",
        # Stands in the launch dialog, ready to be filled in.
        config=verify_config(settings=settings),
        executor_def=settings.executor_def(),
    )
    def job() -> None:
        op()

    return job


def verification(settings: Settings) -> dg.AssetSpec:
    """Stands in the graph for the last look at everything; its freshness tells when the next one is late."""
    freshness = None
    if settings.verification_cron is not None:
        between = shortest_interval(settings.verification_cron)
        freshness = dg.FreshnessPolicy.time_window(fail_window=between + LATE, warn_window=between + LONG)
    return settings.described(
        dg.AssetSpec(
            settings.verification,
            deps=[settings.key(RECORD)],
            group_name=settings.group,
            kinds={"atproto", "s3"},
            description=f"When all that is published was last looked at by the job `{settings.named(VERIFY_JOB)}`.",
            freshness_policy=freshness,
        )
    )


def weekly_verification(settings: Settings, job: dg.JobDefinition, cron: str) -> dg.ScheduleDefinition:
    """The schedule that starts it: one run for all that is published."""

    @dg.schedule(
        name=settings.named("weekly_verification"),
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Reads a shard of everything that is published, and looks at its records.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=context.scheduled_execution_time.date().isoformat(),
            run_config=verify_config(VerifyManyConfig(sample=SAMPLE), settings),
        )

    return schedule


def verify_config(said: VerifyManyConfig | None = None, settings: Settings = DEFAULT) -> dict[str, object]:
    """The run configuration of the job."""
    return {"ops": {settings.named(_OP): {"config": (said or VerifyManyConfig()).model_dump()}}}
