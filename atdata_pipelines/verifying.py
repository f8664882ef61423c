"""The job that checks what is published of many datasets, and the schedule that starts it each week.

Links rot, and bytes change: each look is an evaluation of the same checks that the job ``verify`` reports for one
dataset, so the page of the asset tells when each was last seen to be true.
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
from dagster._utils.schedules import get_smallest_cron_interval
from pydantic import Field

from atdata_core.atmosphere.labels import all_published
from atdata_core.promotion.due import TOGETHER
from atdata_core.promotion.ledger import ledger_of
from atdata_core.promotion.verify import verify_dataset

from .checks import FINDINGS_SHOWN, SAMPLE, VerifyConfig, evaluation_of, published_uri, results_of
from .progress import now_and_then
from .retries import POLICY, dagster_failures
from .settings import DEFAULT, RECORD, Services, Settings

VERIFY_JOB = "verify_many"
_OP = "verify_datasets"
LONG = timedelta(hours=6)
"""What a look at everything may take before its lateness is a warning."""
LATE = timedelta(days=1)
_COLUMNS = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in ("dataset", "check", "problem")])


class VerifyManyConfig(VerifyConfig):
    """Which datasets are looked at, and how much of each is read."""

    datasets: list[str] = Field(default=[], description="Names of datasets. Empty: all that are published.")


def verify_many(settings: Settings) -> dg.JobDefinition:
    """The job that checks what is published of many datasets."""

    @dg.op(
        name=settings.named(_OP),
        required_resource_keys=settings.resource_keys,
        retry_policy=POLICY,
    )
    def op(context: dg.OpExecutionContext, config: VerifyManyConfig) -> None:
        """All checks of many datasets; the run fails where one does that is no mere warning, and names it."""
        _verify(context, config, settings)

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
        between = get_smallest_cron_interval(settings.verification_cron)
        freshness = dg.FreshnessPolicy.time_window(fail_window=between + LATE, warn_window=between + LONG)
    return dg.AssetSpec(
        settings.verification,
        deps=[settings.key(RECORD)],
        group_name=settings.group,
        kinds={"atproto", "s3"},
        description=f"When all that is published was last looked at by the job `{settings.named(VERIFY_JOB)}`.",
        freshness_policy=freshness,
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


def _verify(context: dg.OpExecutionContext, config: VerifyManyConfig, settings: Settings) -> None:
    problems: list[dg.TableRecord] = []
    is_time, looked_at, size = now_and_then(), 0, 0
    services = settings.services(context)
    with dagster_failures():
        for name, uri in _published(context, config, settings, services):
            result = verify_dataset(uri, client=services.atproto.stranger(), sample=config.sample)
            for check in results_of(result, settings):
                context.log_event(evaluation_of(check, name))
                if not check.passed:
                    context.log.warning(f"{name}: {check.check_name}: {check.description}")
                    if check.severity == dg.AssetCheckSeverity.ERROR:
                        row = {"dataset": name, "check": str(check.check_name), "problem": check.description or ""}
                        problems.append(dg.TableRecord(row))
            looked_at, size = looked_at + 1, size + result.bytes_read
            if is_time():
                context.log.info(f"{looked_at} datasets looked at, {size:,} bytes read")
    shown = {"datasets": looked_at, "bytes_read": size}
    if not config.datasets:
        # What was found stands on the checks; this says that somebody looked.
        seen = {**shown, "failed_checks": len(problems)}
        context.log_event(dg.AssetMaterialization(settings.verification, metadata=seen))
    context.log.info(f"{looked_at} datasets looked at, {size:,} bytes read, {len(problems)} checks failed")
    if problems:
        failed = dict.fromkeys(str(problem.data["dataset"]) for problem in problems)
        raise dg.Failure(
            f"{len(failed)} of {looked_at} datasets are not as published, or could not be looked at: "
            f"{', '.join(list(failed)[:5])}{' and more' if len(failed) > 5 else ''}",
            metadata={
                **shown,
                "failed_table": dg.TableMetadataValue(records=problems[:FINDINGS_SHOWN], schema=_COLUMNS),
            },
            allow_retries=False,
        )
    context.add_output_metadata(shown)


def _published(
    context: dg.OpExecutionContext, config: VerifyManyConfig, settings: Settings, services: Services
) -> Iterator[tuple[str, str]]:
    """Names and at-uris of what the ledger or a label says is published.

    Raises:
        EntryNotFoundError: A dataset is named, and nothing is published of it.
    """
    if config.datasets:
        for name in config.datasets:
            yield name, published_uri(name, services)
        return
    did, ledger = services.atproto.did(), ledger_of(services.redis.index())
    labelled = all_published(services.atproto.stranger(), did)
    names = sorted(context.instance.get_dynamic_partitions(settings.partitions_name))
    for start in range(0, len(names), TOGETHER):
        page = names[start : start + TOGETHER]
        promoted = ledger.get_many([(f"dataset:{name}", "record") for name in page])
        for name, last in zip(page, promoted, strict=True):
            uri = last["uri"] if last and last["publication"]["did"] == did else labelled.get(name)
            if uri is not None:
                yield name, str(uri)


def verify_config(said: VerifyManyConfig | None = None, settings: Settings = DEFAULT) -> dict[str, object]:
    """The run configuration of the job."""
    return {"ops": {settings.named(_OP): {"config": (said or VerifyManyConfig()).model_dump()}}}
