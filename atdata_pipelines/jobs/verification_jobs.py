"""The jobs that check what is published, of one dataset or many, and the schedule that starts the latter each week.

Links rot, and bytes change: each look is an evaluation of the same checks, so the page of the asset tells when each
was last seen to be true.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta

import dagster as dg
from pydantic import Field

from atdata_core.errors import RefusedError
from atdata_core.promotion.operations.published_state import PublishedState, PublishedStates
from atdata_core.promotion.verify.findings import Verification, of_error, plain
from atdata_core.promotion.verify.verification import verify_dataset
from atdata_core.state.index_state import state_of

from ..assets.checks import (
    FINDINGS_SHOWN,
    SAMPLE,
    VerifyConfig,
    evaluation_of,
    published_uri,
    results_of,
    verified,
)
from ..assets.step_retries import POLICY, dagster_failures
from ..config.settings import DEFAULT, RECORD, Services, Settings
from ..config.times import shortest_interval
from ..display.markdown import shown
from ..display.materialisation_metadata import table
from ..display.progress import now_and_then

VERIFY = "verify"
VERIFY_JOB = "verify_many"
_OP = "verify_datasets"
LONG = timedelta(hours=6)
"""What a look at everything may take before its lateness is a warning."""
LATE = timedelta(days=1)
_COLUMNS = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in ("dataset", "check", "problem")])


def verify(settings: Settings) -> dg.JobDefinition:
    """The job that checks what is published of one dataset."""

    # Checks alone make no partitioned job, so an op reports their results.
    @dg.op(
        name=settings.named("verify_published"), required_resource_keys=settings.resource_keys, retry_policy=POLICY
    )
    def op(context: dg.OpExecutionContext, config: VerifyConfig) -> None:
        """All checks of one dataset; the op succeeds, what they found stands on the checks."""
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


class VerifyManyConfig(VerifyConfig):
    """Which datasets are looked at, and how much of each is read."""

    datasets: list[str] = Field(default=[], description="Names of datasets. Empty: all that are published.")


def verify_many(settings: Settings) -> dg.JobDefinition:
    """The job that checks what is published of many datasets."""

    @dg.op(name=settings.named(_OP), required_resource_keys=settings.resource_keys, retry_policy=POLICY)
    def op(context: dg.OpExecutionContext, config: VerifyManyConfig) -> None:
        """All checks of many datasets; the run fails where one does that is no mere warning, and names it."""
        with dagster_failures():
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


def _verify(context: dg.OpExecutionContext, config: VerifyManyConfig, settings: Settings) -> None:
    problems: list[dict[str, str]] = []
    is_time, looked_at, size, unmarked = now_and_then(), 0, 0, 0
    services = settings.services(context)
    client = services.atproto.anonymous()
    partitions = set(context.instance.get_dynamic_partitions(settings.partitions_name))
    everything = None if config.datasets else _everything(partitions, settings, services)
    for dataset, states in _named(config.datasets, services) if everything is None else everything:
        found: list[list[dg.AssetCheckResult]] = []
        for each in states:
            result = _looked_at(each, services, config)
            found.append(results_of(result, client, settings))
            problems += _problems(context, each, found[-1])
            looked_at, size = looked_at + 1, size + result.bytes_read
            if is_time():
                context.log.info(f"{looked_at} datasets looked at, {size:,} bytes read")
        if dataset in partitions:
            # What is published under several names has one light: red where one is.
            for results in zip(*found, strict=True):
                context.log_event(evaluation_of(min(results, key=lambda result: result.passed), dataset))
        else:
            unmarked += len(states)
    seen = {"datasets": looked_at, "bytes_read": size}
    if unmarked:
        context.log.info(f"{unmarked} of those that were looked at have no partition that shows their checks")
    if everything is not None:
        _tell(context, everything, {**seen, "failed_checks": len(problems)}, settings)
    context.log.info(f"{looked_at} datasets looked at, {size:,} bytes read, {len(problems)} checks failed")
    if problems:
        failed = list(dict.fromkeys(problem["dataset"] for problem in problems))
        raise dg.Failure(
            shown(
                f"{len(failed)} of {looked_at} datasets are not as published, or could not be looked at: "
                f"{', '.join(failed[:5])}{' and more' if len(failed) > 5 else ''}"
            ),
            metadata={**seen, "failed_table": table(_COLUMNS, problems[:FINDINGS_SHOWN])},
            allow_retries=False,
        )
    context.add_output_metadata(seen)


def _named(datasets: Iterable[str], services: Services) -> Iterator[tuple[str, list[PublishedState]]]:
    """The last promotion of each; raises ``EntryNotFoundError`` where nothing is published of one."""
    for name in datasets:
        yield name, [PublishedState(name, name, published_uri(name, services))]


def _everything(partitions: Collection[str], settings: Settings, services: Services) -> PublishedStates:
    """What is published of the datasets that are partitions, or that the instance takes."""
    ledger = state_of(services.redis.index()).ledger
    return PublishedStates(services.atproto.anonymous(), ledger, services.atproto.did(), partitions, settings.takes)


def _looked_at(state: PublishedState, services: Services, config: VerifyManyConfig) -> Verification:
    try:
        return verify_dataset(state.uri, client=services.atproto.anonymous(), sample=config.sample)
    except RefusedError as error:
        # A label that somebody edited may point at anything.
        uri = plain(state.uri)
        return Verification(uri, findings=(of_error("label", uri, error),))


def _problems(
    context: dg.OpExecutionContext, state: PublishedState, results: Iterable[dg.AssetCheckResult]
) -> Iterator[dict[str, str]]:
    """Names in the log each check that failed; those that are no mere warning."""
    for check in results:
        if not check.passed:
            context.log.warning(shown(f"{state}: {check.check_name}: {check.description}", "log"))
            if check.severity == dg.AssetCheckSeverity.ERROR:
                said = {"check": str(check.check_name), "problem": check.description or ""}
                yield {"dataset": str(state), **said}


def _tell(
    context: dg.OpExecutionContext, everything: PublishedStates, seen: dict[str, int], settings: Settings
) -> None:
    """Say that somebody looked at everything, unless there was something and nobody did."""
    if everything.passed_over:
        passed = f"{everything.passed_over} of {everything.labels} labels of datasets that are taken here"
        context.log.info(f"{passed} are of other programs, and were passed over")
    if everything.labels and not seen["datasets"]:
        mark = settings.verification.to_user_string()
        context.log.warning(
            f"The account has labels of such datasets, but nothing was looked at: {mark} is not marked"
        )
    else:
        # What was found stands on the checks.
        context.log_event(dg.AssetMaterialization(settings.verification, metadata=seen))


def verify_config(said: VerifyManyConfig | None = None, settings: Settings = DEFAULT) -> dict[str, object]:
    """The run configuration of the job."""
    return {"ops": {settings.named(_OP): {"config": (said or VerifyManyConfig()).model_dump()}}}
