"""What a tick of the sensor and of the nightly schedule does.

Definitions load without this module: what a look at the index needs is imported with the first tick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import islice

import dagster as dg

from atdata_core.common.plurals import number_of
from atdata_core.local import LocalIndex
from atdata_core.local.registry import Position, is_event_id
from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.scheduling.retry_policy import failed
from atdata_core.state.index_state import state_of

from ..assets.check_results import gone
from ..config.partitions import add_keys
from ..config.run_config import PromotionConfig
from ..config.settings import Settings
from ..display.markdown import shown
from ..jobs.bulk_config import BulkConfig, bulk_config, named
from ..jobs.planner import NAMED, PlannedPromotions, ReportedReasons, Wanted, look, plan_promotions
from ..jobs.promotion_jobs import BULK_JOB, JOB, run_config
from .entry_marks import leave_to_conditions
from .outside_publications import outside_publications
from .run_history import LastRun, LostRunError, active_runs, end_lost_runs, run_key_for

EVENTS_A_TICK = 500
NAMES_A_TICK = 500
"""Together at most 1,000 partitions and runs a tick."""

SILENCE = 8.0
"""Seconds that Redis may be silent, three times: after 60 Dagster ends a tick, and nobody would read why."""


def tick(context: dg.SensorEvaluationContext, settings: Settings) -> dg.SensorResult:
    """Look at what came in since the last tick, and at the next few of all names.

    The stream of the index tells at once what came in. The walk over all names, some a tick and round
    again, finds what no event tells: a schema that a waiting entry now has, events that were lost.
    """
    _end_lost_runs(context)
    services = settings.services(context)
    index = services.redis.index(silence=SILENCE)
    position, told = _cursor(context.cursor)
    found, following = index.news(position, events=EVENTS_A_TICK, names=NAMES_A_TICK)
    plan = look(settings.taken(found), index, services.atproto.did(), services.store())
    new = plan.new_keys(context.instance, settings)
    if plan.runs:
        plan.leave_to_runs(active_runs(context.instance, settings))
    few = len(plan.runs) <= settings.bulk_from
    marks = leave_to_conditions(plan, context.instance, settings) if settings.automation and few else []
    marks += outside_publications(
        plan.published,
        context.instance,
        settings,
        services.atproto.anonymous().base_url,
        lambda: active_runs(context.instance, settings),
    )
    requests = _unasked(_runs(plan.runs, settings), plan, index, context)
    plan.leave_out(told, found)
    marks += [gone(settings, name, why) for name, why in islice(plan.left.get("blocked", {}).items(), NAMED)]
    if len(new) > settings.bulk_from or marks:
        # The daemon looks up each key that a tick asks for by itself: seconds for hundreds of them. And it makes
        # marks before it adds partitions.
        add_keys(context.instance, new, settings)
        context.log.info(f"{len(new)} partitions added")
        new = []
    plan.say(context.log)
    if requests:
        # Else the log that the UI offers would be empty.
        names = named([each.name for each in plan.runs])
        context.log.info(shown(f"{number_of(len(requests), 'run')} asked for: {names}", "log"))
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else plan.summary(),
        dynamic_partitions_requests=[settings.partitions.build_add_request(new)] if new else None,
        asset_events=marks,
        cursor=json.dumps({**following._asdict(), "told": told.digests()}),
    )


def night(context: dg.ScheduleEvaluationContext, settings: Settings) -> dg.RunRequest | dg.SkipReason:
    """Look at everything: one run for all that is missing or has changed, or why there is none."""
    # What counts is the ledger for the account in use, not Dagster's materialisations.
    _end_lost_runs(context)
    services = settings.services(context)
    index = services.redis.index(silence=SILENCE)
    plan = plan_promotions(context, index, settings, services)
    if not plan.due:
        return dg.SkipReason(plan.summary())
    # One run promotes all, and looks again when it begins.
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.date().isoformat(),
        run_config=bulk_config(settings=settings),
        tags={"datasets": str(len(plan.due))},
    )


def _end_lost_runs(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext) -> None:
    for run_id in end_lost_runs(context.instance):
        context.log.warning(f"run {run_id[:8]} had lost its process, and is ended as failed")


def _runs(wanted: Sequence[Wanted], settings: Settings) -> list[tuple[dg.RunRequest, Sequence[Wanted]]]:
    """A run for each of a few datasets; for many one run, or some. Each with the datasets that it is for."""
    if len(wanted) <= settings.bulk_from:
        return [(_run(one, settings), [one]) for one in wanted]
    starts = range(0, len(wanted), settings.batch_size)
    batches = [wanted[start : start + settings.batch_size] for start in starts]
    return [(_bulk_run(batch, settings), batch) for batch in batches]


def _run(wanted: Wanted, settings: Settings) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=wanted.key,
        job_name=settings.named(JOB),
        run_config=run_config(PromotionConfig(restore=False), settings),
        partition_key=wanted.name,
        tags={"dataset": wanted.name, "entry_cid": shown(cid_of(wanted.entry))},
    )


def _bulk_run(wanted: Sequence[Wanted], settings: Settings) -> dg.RunRequest:
    keys = "\n".join(sorted(one.key for one in wanted))
    return dg.RunRequest(
        run_key=f"bulk@{hashlib.sha256(keys.encode()).hexdigest()}",
        job_name=settings.named(BULK_JOB),
        run_config=bulk_config(BulkConfig(datasets=[one.name for one in wanted]), settings),
        tags={"datasets": str(len(wanted))},
    )


def _unasked(
    requests: Sequence[tuple[dg.RunRequest, Sequence[Wanted]]],
    plan: PlannedPromotions,
    index: LocalIndex,
    context: dg.SensorEvaluationContext,
) -> list[dg.RunRequest]:
    """Those to ask for, with a key that no run was given yet: Dagster would pass over others without a word.

    An attempt that ended and told the ledger nothing is noted there as failed: the next one has another key.
    """
    fresh: list[dg.RunRequest] = []
    for request, wanted in requests:
        registered = [each.entry.registered_at for each in wanted]
        before = run_key_for(context.instance, context.sensor_name, str(request.run_key), registered)
        if not isinstance(before, LastRun):
            if before != request.run_key:
                names = named([each.name for each in wanted])
                said = f"Promoted again, as the ledger knows nothing of a run that succeeded: {names}"
                context.log.info(shown(said, "log"))
            fresh.append(request._replace(run_key=before))
            continue
        for each in wanted:
            plan.leave(before.kind, each.name, before.reason)
            if before.kind == "failed":
                failed(state_of(index).ledger, each.name, "run", LostRunError(before.reason), entry=each.entry)
    return fresh


def _cursor(cursor: str | None) -> tuple[Position, ReportedReasons]:
    """How far the sensor has looked, and what it has told.

    A new look from the beginning where a person edited the cursor, and it says nothing.
    """
    try:
        said = json.loads(cursor or "{}")
        position = Position(said.get("event", ""), said.get("name", ""))
        position.name.encode(errors="surrogateescape")  # JSON holds characters that nothing in Redis has
        told = ReportedReasons.of(said.get("told"))
        return (position if not position.event or is_event_id(position.event) else Position()), told
    except (ValueError, AttributeError, TypeError):
        return Position(), ReportedReasons()
