"""The job that promotes many datasets in one run.

Each stage of each dataset is marked on the same assets that promote one dataset, as soon as it is done; so what
succeeded is marked, and nothing else. A dataset that fails costs no other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from atdata_core.common.names import near
from atdata_core.errors import AtdataError, EntryNotFoundError, MetadataError, ServiceError
from atdata_core.promotion.options import REQUIREMENTS
from atdata_core.promotion.scheduling.due import may_promote
from atdata_core.promotion.scheduling.retry_policy import noting_outage
from atdata_core.state.index_state import state_of

from ..assets.stage_context import read_by
from ..assets.step_retries import POLICY, dagster_failures
from ..config.partitions import add_keys, divided, why_no_key
from ..config.run_config import with_options
from ..config.settings import DEFAULT, RECORD, Services, Settings, is_like
from ..display.markdown import shown
from ..display.previews import Preview, preview_of
from .bulk_report import NOT_PROMOTED, BulkReport, named
from .planner import plan_promotions

if TYPE_CHECKING:
    from atdata_core.local import LocalDatasetEntry, LocalIndex
    from atdata_core.state.facts import Inventory

BULK_JOB = "promote_many"
_OP = "promote_datasets"

PREVIEWS = 4
"""Datasets whose samples are looked at at the same time, beside those that are promoted."""


@with_options(REQUIREMENTS)
class BulkConfig(dg.Config):
    """Which datasets are promoted. Nothing said: all that is missing on the network or has changed since."""

    datasets: list[str] = Field(
        default=[],
        description="Names of datasets. Empty, and no pattern: all that is missing on the network or has changed.",
    )
    pattern: str | None = Field(
        default=None,
        description="Also those whose name is like this; * and ? stand for anything: images-*. Those whose "
        "metadata say promote: false are skipped.",
    )
    restore: bool = Field(
        default=False,
        description="Of datasets that are named here: write again what was deleted on the network or retracted.",
    )

    @property
    def names_some(self) -> bool:
        """Whether somebody says which datasets; else it is all that is due."""
        return bool(self.datasets or self.pattern)


def bulk_config(config: BulkConfig | None = None, settings: Settings = DEFAULT) -> dict[str, Any]:
    """The run configuration of a bulk."""
    return {"ops": {settings.named(_OP): {"config": (config or BulkConfig()).model_dump()}}}


def config_of(run: dg.DagsterRun, settings: Settings = DEFAULT) -> Mapping[str, Any]:
    """The configuration of a bulk run."""
    return run.run_config.get("ops", {}).get(settings.named(_OP), {}).get("config", {})


def promote_many(settings: Settings, stages: Sequence[dg.AssetsDefinition]) -> dg.JobDefinition:
    """The job that promotes many datasets, and marks these stages."""

    @dg.op(
        name=settings.named(_OP),
        required_resource_keys=settings.resource_keys,
        retry_policy=POLICY,
        pool=settings.publishing_pool,
    )
    def op(context: dg.OpExecutionContext, config: BulkConfig) -> None:
        """Promote many datasets; those that fail are named in one table, and the run then fails."""
        with dagster_failures():
            _promote(context, config, settings, stages)

    @dg.job(
        name=settings.named(BULK_JOB),
        description="Promote many datasets in one run: those that are named, or all that is missing or changed.",
        # Stands in the launch dialog, ready to be filled in.
        config=bulk_config(settings=settings),
        executor_def=settings.executor_def(),
    )
    def job() -> None:
        op()

    return job


def _promote(
    context: dg.OpExecutionContext, config: BulkConfig, settings: Settings, stages: Sequence[dg.AssetsDefinition]
) -> None:
    from atdata_core.promotion.bulk import many

    if config.restore and not config.names_some:
        raise dg.Failure("restore is for datasets that are named: give datasets or a pattern.", allow_retries=False)
    services = settings.services(context)
    index, reading = services.redis.index(), services.s3.endpoint()
    wanted = (
        _wanted(context, config, index, settings)
        if config.names_some
        else _all_due(context, index, settings, services)
    )
    wanted.make_partitions(context.instance, settings)
    before = _promoted_before(context)
    entries = {name: read_by(each, reading) for name, each in wanted.entries.items() if name not in before}
    # What has exhausted its retries by now, or gone, failed all the same.
    given_up = {name: why for name, why in _failed_before(context).items() if name not in wanted.entries}
    total = len(entries) + len(before) + len(wanted.problems) + len(given_up)
    context.instance.add_run_tags(context.run.run_id, {"datasets": str(total)})
    store = services.destination.store(reading)
    with ThreadPoolExecutor(PREVIEWS, "preview") as threads:

        def look(name: str, found: "Inventory") -> Future[Preview]:
            return threads.submit(preview_of, entries[name], index, found, store)

        report = BulkReport(context, settings, stages, look, total, Counter(before.values()))
        for name, problem in wanted.problems.items():
            report.fail(name, "index", problem)
        for name, (stage, reason) in given_up.items():
            report.fail(name, stage, reason)
        if entries:
            with noting_outage(state_of(index).ledger, services.atproto.did):
                client = services.atproto.client()
            report.service = client.base_url
            many.promote_many(
                entries.values(),
                index,
                client,
                data_store=store,
                restore=config.restore,
                **settings.keywords(config.model_dump(include=set(REQUIREMENTS))),
                report=report.hear,
            )
        report.end()


@dataclass
class _Wanted:
    """The entries to promote, by name, and why others that were named cannot be."""

    entries: dict[str, "LocalDatasetEntry"] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def make_partitions(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        """Add what is no partition yet; what cannot be one is a problem."""
        problems = {
            name: problem
            for name in self.entries
            if (problem := settings.refusal(name) or why_no_key(name)) is not None
        }
        new, beyond = divided(instance, [name for name in self.entries if name not in problems], settings)
        for name, problem in (problems | beyond).items():
            self.problems[name] = problem
            del self.entries[name]
        add_keys(instance, new, settings)


def _wanted(context: dg.OpExecutionContext, config: BulkConfig, index: "LocalIndex", settings: Settings) -> _Wanted:
    """What is named; raises ``ServiceError`` where Redis is gone."""
    wanted = _Wanted()
    everything = {entry.name: entry for entry in index.list_datasets()} if config.pattern else None
    for name in dict.fromkeys(config.datasets):
        try:
            wanted.entries[name] = index.get_entry_by_name(name)
        except EntryNotFoundError as error:
            everything = everything or {entry.name: entry for entry in index.list_datasets()}
            wanted.problems[name] = error.message + near(name, everything)
        except ServiceError:
            raise
        except AtdataError as error:
            wanted.problems[name] = error.message
    if config.pattern:
        taken = settings.taken(everything or {})
        like = {name: entry for name, entry in taken.items() if is_like(name, config.pattern)}
        if not like:
            wanted.problems[config.pattern] = "No dataset has a name like this."
        alone = []
        for name, entry in like.items():
            try:
                # A pattern names nobody, so what a dataset says of itself counts.
                if name in wanted.entries or may_promote(entry):
                    wanted.entries[name] = entry
                else:
                    alone.append(name)
            except MetadataError as error:
                wanted.problems[name] = error.message
        if alone:
            said = f"Left alone, as their metadata say so: {named(alone, len(alone))}"
            context.log.info(shown(said, "log"))
    return wanted


def _all_due(
    context: dg.OpExecutionContext, index: "LocalIndex", settings: Settings, services: Services
) -> _Wanted:
    """What is missing or changed, or cannot be promoted; what is skipped is told in the log. As ``_wanted``."""
    findings = plan_promotions(context, index, settings, services)
    if not findings.due:
        context.log.info(findings.summary("log"))
    return _Wanted({each.name: each.entry for each in findings.due}, dict(findings.left.get("refused", {})))


def _promoted_before(context: dg.OpExecutionContext) -> dict[str, str]:
    """What this run has promoted before something failed for all and it was tried again; how each changed."""
    if context.retry_number == 0:
        return {}
    marked = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return {
        str(said.partition): str(said.metadata["change"].value)
        for event in marked
        if (said := event.asset_materialization) is not None and said.asset_key.path[-1] == RECORD
    }


def _failed_before(context: dg.OpExecutionContext) -> dict[str, tuple[str, str]]:
    """What failed in this run before it was tried again, and is not promoted: at which stage, and why."""
    if context.retry_number == 0:
        return {}
    promoted = _promoted_before(context)
    observed = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    return {
        str(said.partition): (said.asset_key.path[-1], str(said.metadata[NOT_PROMOTED].value))
        for event in observed
        if (said := event.asset_observation) is not None and said.partition not in promoted
    }
