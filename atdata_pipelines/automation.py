"""What promotes by itself, once a person turns it on: a sensor for what comes in, a schedule for the rest."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from atdata_core.errors import AtdataError, MetadataError
from atdata_core.local.registry import Position
from atdata_core.promotion.due import due_of_all
from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.ledger import ledger_of

from .assets import PromotionConfig
from .bulk import BULK_JOB, BulkConfig, bulk_config, names_under_way, promote_many
from .jobs import JOB, promote, run_config
from .partitions import add_keys, datasets, divided, why_no_key
from .resources import AtprotoResource, RedisResource
from .retries import said_without_secrets

if TYPE_CHECKING:
    from atdata_core.local import LocalDatasetEntry, LocalIndex

EVENTS_A_TICK = 500
NAMES_A_TICK = 500
"""Together at most 1,000 partitions and runs a tick."""

BULK_FROM = 20
"""More datasets than this in one tick are promoted in one run."""

NAMED = 20
"""Names that one line of a log lists."""

# A sensor that asks for a job of ops is built again by Dagster, with a parameter that it calls beta.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)


@dataclass
class Findings:
    """What is to be done with the datasets that were looked at.

    ``keys`` are the names that can be partitions; ``runs`` the entries to promote, as ``(name, cid)``;
    ``waiting``, ``held`` and ``refused`` tell why, by name.
    """

    keys: list[str] = field(default_factory=list)
    runs: list[tuple[str, str]] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    published: int = 0

    def say(self, log: Any) -> None:
        """Name in a log what is left alone."""
        if self.refused:
            log.warning(f"Cannot be promoted: {_listed(self.refused)}")
        if self.waiting:
            log.info(f"Waiting: {_listed(self.waiting)}")
        if self.held:
            log.info(f"Left to a person: {_listed(self.held)}")

    def new_keys(self, instance: dg.DagsterInstance) -> list[str]:
        """The partitions to add; names that there is no room for are refused, and nothing is run of them."""
        new, beyond = divided(instance, self.keys)
        self.refused.update(beyond)
        self.runs = [run for run in self.runs if run[0] not in beyond]
        return new

    def summary(self) -> str:
        """One line for a tick that starts nothing."""
        parts = [f"{self.published} datasets looked at are published and unchanged"]
        parts += [f"waiting: {_listed(self.waiting)}"] if self.waiting else []
        parts += [f"left to a person: {_listed(self.held)}"] if self.held else []
        parts += [f"cannot be promoted: {_listed(self.refused)}"] if self.refused else []
        return "; ".join(parts)


def look(found: Mapping[str, "LocalDatasetEntry | MetadataError"], index: "LocalIndex", did: str) -> Findings:
    """Decide what is to be done with datasets by name; raises ``ServiceError`` where Redis is gone."""
    findings = Findings()
    entries: list[LocalDatasetEntry] = []
    for name, entry in found.items():
        problem = why_no_key(name) or (entry.message if isinstance(entry, MetadataError) else None)
        if problem is not None:
            findings.refused[name] = problem
        elif not isinstance(entry, MetadataError):
            entries.append(entry)
    for entry, due in zip(entries, due_of_all(entries, index, ledger_of(index), did), strict=True):
        name = entry.name
        if isinstance(due, AtdataError):
            findings.refused[name] = due.message
            continue
        findings.keys.append(name)
        if due.state == "promote":
            findings.runs.append((name, cid_of(entry)))
        elif due.state == "waiting":
            findings.waiting[name] = due.reason
        elif due.state == "held":
            findings.held[name] = due.reason
        else:
            findings.published += 1
    return findings


@dg.sensor(
    name="new_datasets",
    jobs=[promote, promote_many],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Promotes what is new in the index, also what other programs wrote there.",
)
@said_without_secrets()
def new_datasets(
    context: dg.SensorEvaluationContext, redis: RedisResource, atproto: AtprotoResource
) -> dg.SensorResult:
    """Look at what came in since the last tick, and at the next few of all names.

    The stream of the index tells at once what came in. The walk over all names, some a tick and round
    again, finds what no event tells: a schema that a waiting entry now has, events that were lost.
    """
    index = redis.index()
    found, following = index.news(_position(context.cursor), events=EVENTS_A_TICK, names=NAMES_A_TICK)
    findings = look(found, index, atproto.did())
    new = findings.new_keys(context.instance)
    findings.say(context.log)
    under_way = names_under_way(context.instance)
    left = [] if under_way is None else [run for run in findings.runs if run[0] not in under_way]
    skipped = len(findings.runs) - len(left)
    return dg.SensorResult(
        run_requests=_runs(left),
        skip_reason=None if left else findings.summary() + (f"; {skipped} wait for a bulk run" if skipped else ""),
        dynamic_partitions_requests=[datasets.build_add_request(new)] if new else None,
        cursor=json.dumps(following._asdict()),
    )


@dg.schedule(
    name="nightly_promotion",
    job=promote_many,
    cron_schedule="0 3 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Promotes what is missing on the network or has changed since.",
)
@said_without_secrets()
def nightly_promotion(
    context: dg.ScheduleEvaluationContext, redis: RedisResource, atproto: AtprotoResource
) -> dg.RunRequest | dg.SkipReason:
    """Look at every dataset; what counts is the ledger for the account in use, not Dagster's marks.

    One run promotes all, and looks again when it begins.
    """
    index = redis.index()
    findings = look({entry.name: entry for entry in index.list_datasets()}, index, atproto.did())
    add_keys(context.instance, findings.new_keys(context.instance))
    findings.say(context.log)
    if not findings.runs:
        return dg.SkipReason(findings.summary())
    night = context.scheduled_execution_time.date().isoformat()
    return dg.RunRequest(run_key=night, run_config=bulk_config(), tags={"datasets": str(len(findings.runs))})


def _runs(wanted: Sequence[tuple[str, str]]) -> list[dg.RunRequest]:
    """A run for each of a few datasets; one run for many, with a key that is made from theirs."""
    each = [_run(name, cid) for name, cid in wanted]
    if len(each) <= BULK_FROM:
        return each
    keys = "\n".join(sorted(str(request.run_key) for request in each))
    return [
        dg.RunRequest(
            run_key=f"bulk@{hashlib.sha256(keys.encode()).hexdigest()}",
            job_name=BULK_JOB,
            run_config=bulk_config(BulkConfig(datasets=[name for name, _ in wanted])),
            tags={"datasets": str(len(each))},
        )
    ]


def _run(name: str, cid: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{name}@{cid}",
        job_name=JOB,
        run_config=run_config(PromotionConfig(restore=False)),
        partition_key=name,
        tags={"dataset": name, "entry_cid": cid},
    )


def _position(cursor: str | None) -> Position:
    try:
        said = json.loads(cursor or "{}")
        return Position(str(said.get("event", "")), str(said.get("name", "")))
    except (ValueError, AttributeError):
        return Position()


def _listed(reasons: Mapping[str, str]) -> str:
    shown = [f"{name} ({reason})" for name, reason in list(reasons.items())[:NAMED]]
    more = len(reasons) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
