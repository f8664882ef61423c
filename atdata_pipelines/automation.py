"""What promotes by itself, once a person turns it on: a sensor for what comes in, a schedule for the rest."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from atdata_core.local.registry import Position
from atdata_core.promotion.attempts import failed
from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.ledger import ledger_of

from .assets import PromotionConfig
from .bulk import BULK_JOB, BulkConfig, bulk_config, names_under_way, promote_many
from .jobs import JOB, promote, run_config
from .looking import Findings, Wanted, look
from .partitions import add_keys, datasets
from .requested import LostRunError, asked_before, promoted_alone
from .resources import AtprotoResource, RedisResource
from .retries import said_without_secrets

if TYPE_CHECKING:
    from atdata_core.local import LocalIndex

EVENTS_A_TICK = 500
NAMES_A_TICK = 500
"""Together at most 1,000 partitions and runs a tick."""

BULK_FROM = 20
"""More datasets than this in one tick are promoted in one run."""

# A sensor that asks for a job of ops is built again by Dagster, with a parameter that it calls beta.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)


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
    if findings.runs:
        findings.leave_to_runs(names_under_way(context.instance), promoted_alone(context.instance))
    requests = _unasked(_runs(findings.runs), findings, index, context)
    findings.say(context.log)
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else findings.summary(),
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
    wanted = findings.runs + findings.later
    if not wanted:
        return dg.SkipReason(findings.summary())
    night = context.scheduled_execution_time.date().isoformat()
    return dg.RunRequest(run_key=night, run_config=bulk_config(), tags={"datasets": str(len(wanted))})


def _runs(wanted: Sequence[Wanted]) -> list[dg.RunRequest]:
    """A run for each of a few datasets; one run for many, with a key that is made from theirs."""
    each = [_run(one) for one in wanted]
    if len(each) <= BULK_FROM:
        return each
    keys = "\n".join(sorted(str(request.run_key) for request in each))
    return [
        dg.RunRequest(
            run_key=f"bulk@{hashlib.sha256(keys.encode()).hexdigest()}",
            job_name=BULK_JOB,
            run_config=bulk_config(BulkConfig(datasets=[one.name for one in wanted])),
            tags={"datasets": str(len(each))},
        )
    ]


def _unasked(
    requests: Sequence[dg.RunRequest], findings: Findings, index: "LocalIndex", context: dg.SensorEvaluationContext
) -> list[dg.RunRequest]:
    """Those whose key no run was given yet; Dagster would pass over the others without a word.

    An attempt that ended and told the ledger nothing is noted there as failed: the next one has another key.
    """
    fresh: list[dg.RunRequest] = []
    for request in requests:
        before = asked_before(context.instance, context.sensor_name, str(request.run_key))
        if before is None:
            fresh.append(request)
            continue
        for wanted in findings.runs:
            # A run without a partition is that of all.
            if request.partition_key in (None, wanted.name):
                findings.leave(before.kind, wanted.name, before.reason)
                if before.kind == "failed":
                    failed(ledger_of(index), wanted.name, "run", LostRunError(before.reason), entry=wanted.entry)
    return fresh


def _run(wanted: Wanted) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=wanted.key,
        job_name=JOB,
        run_config=run_config(PromotionConfig(restore=False)),
        partition_key=wanted.name,
        tags={"dataset": wanted.name, "entry_cid": cid_of(wanted.entry)},
    )


def _position(cursor: str | None) -> Position:
    try:
        said = json.loads(cursor or "{}")
        return Position(str(said.get("event", "")), str(said.get("name", "")))
    except (ValueError, AttributeError):
        return Position()
