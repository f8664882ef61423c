"""The job that promotes many datasets in one run.

Each stage of each dataset is marked on the same assets that promote one dataset, as soon as it is done; so what
succeeded is marked, and nothing else. A dataset that fails costs no other.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from atdata_core.errors import AtdataError, EntryNotFoundError, ServiceError
from atdata_core.names import near
from atdata_core.promotion.again import noting_trouble
from atdata_core.promotion.ledger import ledger_of

from .assets import RECORD, read_by
from .bulk_report import NOT_PROMOTED, BulkReport
from .looking import look
from .partitions import add_keys, divided, why_no_key
from .requested import UNFINISHED
from .resources import AtprotoResource, DestinationResource, RedisResource, ShardS3Resource
from .retries import POLICY, dagster_failures

if TYPE_CHECKING:
    from atdata_core.local import LocalDatasetEntry, LocalIndex

BULK_JOB = "promote_many"


class BulkConfig(dg.Config):
    """Which datasets are promoted. Nothing said: all that is missing on the network or has changed since."""

    datasets: list[str] = Field(
        default=[],
        description="Names of datasets. Empty, and no pattern: all that is missing on the network or has changed.",
    )
    pattern: str | None = Field(
        default=None, description="Also those whose name is like this; * and ? stand for anything: images-*"
    )
    restore: bool = Field(
        default=False,
        description="Of datasets that are named here: write again what was deleted on the network or retracted.",
    )
    require_public: bool = Field(
        default=False, description="Refuse shards that a stranger cannot read; else that is a warning."
    )

    @property
    def names_some(self) -> bool:
        """Whether somebody says which datasets; else it is all that is due."""
        return bool(self.datasets or self.pattern)


def bulk_config(said: BulkConfig | None = None) -> dict[str, Any]:
    """The run configuration of a bulk."""
    return {"ops": {promote_datasets.name: {"config": (said or BulkConfig()).model_dump()}}}


def names_under_way(instance: dg.DagsterInstance) -> set[str] | None:
    """The datasets that bulk runs will promote which are queued or under way; None: it may be any."""
    names: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(job_name=BULK_JOB, statuses=UNFINISHED)):
        said: Mapping[str, Any] = run.run_config.get("ops", {}).get(promote_datasets.name, {}).get("config", {})
        if said.get("pattern") or not said.get("datasets"):
            return None
        names.update(said["datasets"])
    return names


@dg.op(retry_policy=POLICY)
def promote_datasets(
    context: dg.OpExecutionContext,
    config: BulkConfig,
    redis: RedisResource,
    s3: ShardS3Resource,
    destination: DestinationResource,
    atproto: AtprotoResource,
) -> None:
    """Promote many datasets; those that fail are named in one table, and the run then fails."""
    from atdata_core.promotion import bulk

    with dagster_failures():
        if config.restore and not config.names_some:
            raise dg.Failure(
                "restore is for datasets that are named: give datasets or a pattern.", allow_retries=False
            )
        index, reading = redis.index(), s3.endpoint()
        wanted = _wanted(config, index) if config.names_some else _all_due(context, index, atproto.did())
        wanted.make_partitions(context.instance)
        before = _promoted_before(context)
        entries = {name: read_by(each, reading) for name, each in wanted.entries.items() if name not in before}
        # What is given up by now, or gone, failed all the same.
        given_up = {name: why for name, why in _failed_before(context).items() if name not in wanted.entries}
        total = len(entries) + len(before) + len(wanted.problems) + len(given_up)
        context.instance.add_run_tags(context.run.run_id, {"datasets": str(total)})
        store = destination.store(reading)
        report = BulkReport(context, entries, index, store, total, Counter(before.values()))
        for name, problem in wanted.problems.items():
            report.fail(name, "index", problem)
        for name, (stage, reason) in given_up.items():
            report.fail(name, stage, reason)
        if entries:
            with noting_trouble(ledger_of(index), atproto.did):
                client = atproto.client()
            report.service = client.base_url
            bulk.promote_many(
                entries.values(),
                index,
                client,
                data_store=store,
                restore=config.restore,
                require_public=config.require_public,
                report=report.hear,
            )
        report.end()


@dg.job(
    name=BULK_JOB,
    # Stands in the launch dialog, ready to be filled in.
    config=bulk_config(),
    executor_def=dg.in_process_executor,
)
def promote_many() -> None:
    """Promote many datasets in one run: those that are named, or all that is missing or changed."""
    promote_datasets()


@dataclass
class _Wanted:
    """The entries to promote, by name, and why others that were named cannot be."""

    entries: dict[str, "LocalDatasetEntry"] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def make_partitions(self, instance: dg.DagsterInstance) -> None:
        """Add what is no partition yet; what cannot be one is a problem."""
        problems = {name: problem for name in self.entries if (problem := why_no_key(name)) is not None}
        new, beyond = divided(instance, [name for name in self.entries if name not in problems])
        for name, problem in (problems | beyond).items():
            self.problems[name] = problem
            del self.entries[name]
        add_keys(instance, new)


def _wanted(config: BulkConfig, index: "LocalIndex") -> _Wanted:
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
        like = {name: entry for name, entry in (everything or {}).items() if fnmatchcase(name, config.pattern)}
        if not like:
            wanted.problems[config.pattern] = "No dataset has a name like this."
        wanted.entries.update(like)
    return wanted


def _all_due(context: dg.OpExecutionContext, index: "LocalIndex", did: str) -> _Wanted:
    """What is missing or changed; what is left alone is told in the log. Raises as ``_wanted``."""
    everything = {entry.name: entry for entry in index.list_datasets()}
    findings = look(everything, index, did)
    add_keys(context.instance, findings.new_keys(context.instance))
    findings.say(context.log)
    # Nobody else tries tonight what has just failed; and it failed, maybe, in this run, which goes on.
    wanted = findings.runs + findings.later
    if not wanted:
        context.log.info(findings.summary())
    return _Wanted({each.name: everything[each.name] for each in wanted})


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
