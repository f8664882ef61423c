"""What promotes by itself, once a person turns it on: a sensor for what comes in, a schedule for the rest."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from atdata_core.errors import AtdataError, ServiceError
from atdata_core.local.connection import reaching
from atdata_core.local.registry import DATASETS, EVENTS
from atdata_core.promotion.due import due
from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.ledger import ledger_of

from .assets import PromotionConfig
from .jobs import promote, run_config
from .partitions import PARTITIONS, add_keys, datasets, why_no_key
from .resources import AtprotoResource, RedisResource
from .retries import said_without_secrets

if TYPE_CHECKING:
    from atdata_core.local import LocalIndex

EVENTS_A_TICK = 500
NAMES_A_TICK = 500
"""Together at most 1,000 partitions and runs a tick."""

SCANS_A_TICK = 5
"""Steps over the keys of other programs, 1,000 keys each."""

NAMED = 20
"""Names that one line of a log lists."""


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

    def summary(self) -> str:
        """One line for a tick that starts nothing."""
        parts = [f"{self.published} datasets looked at are published and unchanged"]
        parts += [f"waiting: {_listed(self.waiting)}"] if self.waiting else []
        parts += [f"left to a person: {_listed(self.held)}"] if self.held else []
        parts += [f"cannot be promoted: {_listed(self.refused)}"] if self.refused else []
        return "; ".join(parts)


def look(names: Iterable[str], index: "LocalIndex", did: str) -> Findings:
    """Decide what is to be done with datasets by name; raises ``ServiceError`` where Redis is gone."""
    ledger = ledger_of(index)
    findings = Findings()
    for name in dict.fromkeys(names):
        problem = why_no_key(name)
        if problem is not None:
            findings.refused[name] = problem
            continue
        try:
            entry = index.get_entry_by_name(name)
            found = due(entry, index, ledger, did)
        except ServiceError:
            raise
        except AtdataError as error:
            findings.refused[name] = error.message
            continue
        findings.keys.append(name)
        if found.state == "promote":
            findings.runs.append((name, cid_of(entry)))
        elif found.state == "waiting":
            findings.waiting[name] = found.reason
        elif found.state == "held":
            findings.held[name] = found.reason
        else:
            findings.published += 1
    return findings


@dg.sensor(
    name="new_datasets",
    job=promote,
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
    names, cursor = _next_names(index, context.cursor)
    findings = look(names, index, atproto.did())
    findings.say(context.log)
    known = set(context.instance.get_dynamic_partitions(PARTITIONS))
    new = [key for key in findings.keys if key not in known]
    return dg.SensorResult(
        run_requests=[_run(name, cid, f"{name}@{cid}") for name, cid in findings.runs],
        skip_reason=None if findings.runs else findings.summary(),
        dynamic_partitions_requests=[datasets.build_add_request(new)] if new else None,
        cursor=cursor,
    )


@dg.schedule(
    name="nightly_promotion",
    job=promote,
    cron_schedule="0 3 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Promotes what is missing on the network or has changed since.",
)
@said_without_secrets()
def nightly_promotion(
    context: dg.ScheduleEvaluationContext, redis: RedisResource, atproto: AtprotoResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Look at every dataset; what counts is the ledger for the account in use, not Dagster's marks."""
    index = redis.index()
    findings = look((entry.name for entry in index.list_datasets()), index, atproto.did())
    findings.say(context.log)
    add_keys(context.instance, findings.keys)
    if not findings.runs:
        return dg.SkipReason(findings.summary())
    night = context.scheduled_execution_time.date().isoformat()
    return [_run(name, cid, f"{name}@{cid}@{night}") for name, cid in findings.runs]


def _run(name: str, cid: str, key: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=key,
        run_config=run_config(PromotionConfig(restore=False)),
        partition_key=name,
        tags={"dataset": name, "entry_cid": cid},
    )


def _next_names(index: "LocalIndex", cursor: str | None) -> tuple[list[str], str]:
    """Names to look at in this tick, and the cursor of the next."""
    position = _position(cursor)
    with reaching(index.redis):
        newest = index.redis.xrevrange(EVENTS, count=1)
    scan = position["scan"]
    for _ in range(SCANS_A_TICK):
        # What is found there comes as an event, too.
        scan, _found = index.scan_foreign(scan)
        if scan == 0:
            break
    with reaching(index.redis):
        after = position["event"] or (newest[0][0].decode() if newest else "0-0")
        events = index.redis.xrange(EVENTS, min=f"({after}", count=EVENTS_A_TICK)
        start = f"({position['name']}" if position["name"] else "-"
        walked = index.redis.zrangebylex(DATASETS, start, "+", start=0, num=NAMES_A_TICK)
    following = {
        "event": events[-1][0].decode() if events else after,
        "name": walked[-1].decode() if len(walked) == NAMES_A_TICK else "",
        "scan": scan,
    }
    names = [fields[b"name"] for _, fields in events] + walked
    return [name.decode() for name in names], json.dumps(following)


def _position(cursor: str | None) -> dict[str, Any]:
    start: dict[str, Any] = {"event": "", "name": "", "scan": 0}
    try:
        return start | json.loads(cursor or "{}")
    except (ValueError, TypeError):
        return start


def _listed(reasons: Mapping[str, str]) -> str:
    shown = [f"{name} ({reason})" for name, reason in list(reasons.items())[:NAMED]]
    more = len(reasons) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
