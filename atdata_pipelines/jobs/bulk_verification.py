"""What the job that checks many datasets does.

Definitions load without this module: all that verifications need is imported when such a run begins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import dagster as dg

from atdata_core.errors import RefusedError
from atdata_core.promotion.operations.published_state import PublishedState, PublishedStates
from atdata_core.promotion.verify.findings import Verification, of_error, plain
from atdata_core.promotion.verify.verification import verify_dataset
from atdata_core.state.index_state import state_of

from ..assets.check_config import VerifyManyConfig
from ..assets.check_results import FINDINGS_SHOWN, evaluation_of, published_uri, results_of
from ..config.settings import Services, Settings
from ..display.markdown import shown
from ..display.materialisation_metadata import table
from ..display.progress import now_and_then

_COLUMNS = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in ("dataset", "check", "problem")])


def verify_datasets(context: dg.OpExecutionContext, config: VerifyManyConfig, settings: Settings) -> None:
    """All checks of what is asked for; raises ``Failure`` where one fails that is no mere warning."""
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
