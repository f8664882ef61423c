"""What the job that promotes many datasets does.

Definitions load without this module: all that promotions need is imported when such a run begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from atdata_core.common.names import near
from atdata_core.common.plurals import number_of
from atdata_core.errors import AtdataError, EntryNotFoundError, MetadataError, ServiceError
from atdata_core.local import LocalDatasetEntry, LocalIndex
from atdata_core.promotion.bulk import many
from atdata_core.promotion.bulk.many import StageDone
from atdata_core.promotion.options import REQUIREMENTS
from atdata_core.promotion.scheduling.due import may_promote
from atdata_core.promotion.scheduling.retry_policy import attempt, noting_outage
from atdata_core.state.facts import Inventory
from atdata_core.state.index_state import state_of

from ..assets.check_results import evaluation_of, seen_in_passing, warnings_of
from ..assets.materialisation_events import NOT_PROMOTED, MaterialisationEvents
from ..assets.stage_context import read_by
from ..assets.step_retries import reason_of
from ..config.partitions import add_keys, divided, why_no_key
from ..config.settings import RECORD, STAGES, Settings, is_like
from ..display import materialisation_metadata, progress
from ..display.markdown import shown
from ..display.materialisation_metadata import table
from ..display.previews import Preview, preview_of
from ..display.progress import now_and_then, reporting
from .bulk_config import FAILED, BulkConfig, named, not_promoted
from .planner import plan_promotions

PREVIEWS = 4
"""Datasets whose samples are looked at at the same time, beside those that are promoted."""

FAILED_SHOWN = 500
"""Rows of the table of what failed; the log names all."""

_COLUMNS = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in ("dataset", "stage", "reason")])


def promote_datasets(
    context: dg.OpExecutionContext, config: BulkConfig, settings: Settings, stages: Sequence[dg.AssetsDefinition]
) -> None:
    """Promote what is asked for, and mark each stage of it; raises ``Failure`` where one of the datasets failed."""
    if config.restore and not config.names_some:
        raise dg.Failure("restore is for datasets that are named: give datasets or a pattern.", allow_retries=False)
    services = settings.services(context)
    index, reading = services.redis.index(), services.s3.endpoint()
    if config.names_some:
        wanted = _wanted(context, config, index, settings)
    else:
        plan = plan_promotions(context, index, settings, services)
        if not plan.due:
            context.log.info(f"Nothing is due: {plan.unchanged}")
        wanted = _Wanted({each.name: each.entry for each in plan.due}, dict(plan.left.get("refused", {})))
    wanted.make_partitions(context.instance, settings)
    before, failed_before = _before_retry(context, settings)
    entries = {name: read_by(each, reading) for name, each in wanted.entries.items() if name not in before}
    # What has exhausted its retries by now, or gone, failed all the same.
    given_up = {name: why for name, why in failed_before.items() if name not in wanted.entries}
    total = len(entries) + len(before) + len(wanted.problems) + len(given_up)
    context.instance.add_run_tags(context.run.run_id, {"datasets": str(total)})
    store = services.store()
    with ThreadPoolExecutor(PREVIEWS, "preview") as threads:

        def look(name: str, found: Inventory) -> Future[Preview]:
            return threads.submit(preview_of, entries[name], index, found, store)

        report = BulkReport(context, settings, stages, look, total, Counter(before.values()))
        for name, problem in wanted.problems.items():
            report.fail(name, "index", problem)
        for name, (stage, reason) in given_up.items():
            report.fail(name, stage, reason)
        for name, entry in list(entries.items()):
            try:
                with attempt(state_of(index).ledger, name, STAGES[0], entry=entry, run=context.run.run_id):
                    settings.hooks.before_promotion(context, entry)
            except Exception as error:
                report.hear(StageDone(name, STAGES[0], None, error))
                del entries[name]
        report.entries = entries
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
                progress=report.progress,
            )
        report.end()


@dataclass
class _Wanted:
    """The entries to promote, by name, and why others that were named cannot be."""

    entries: dict[str, LocalDatasetEntry] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def make_partitions(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        """Add what is no partition yet; what cannot be one is a problem."""
        asked = {name: settings.refusal(name) or why_no_key(name) for name in self.entries}
        new, beyond = divided(instance, [name for name, problem in asked.items() if problem is None], settings)
        for name, problem in (asked | beyond).items():
            if problem is not None:
                self.problems[name] = problem
                del self.entries[name]
        add_keys(instance, new, settings)


def _wanted(context: dg.OpExecutionContext, config: BulkConfig, index: LocalIndex, settings: Settings) -> _Wanted:
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
    if not config.pattern:
        return wanted
    taken = settings.taken(everything or {})
    like = [entry for name, entry in taken.items() if is_like(name, config.pattern)]
    if not like:
        wanted.problems[config.pattern] = "No dataset has a name like this."
    alone = []
    for entry in like:
        try:
            # A pattern names nobody, so what a dataset says of itself counts.
            if entry.name in wanted.entries or may_promote(entry):
                wanted.entries[entry.name] = entry
            else:
                alone.append(entry.name)
        except MetadataError as error:
            wanted.problems[entry.name] = error.message
    if alone:
        context.log.info(shown(f"Left alone, as their metadata say so: {named(alone)}", "log"))
    return wanted


def _before_retry(
    context: dg.OpExecutionContext, settings: Settings
) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """What this run did before something failed for all and it was tried again.

    How each that it promoted changed; of those that it did not promote, at which stage they failed and why.
    """
    promoted: dict[str, str] = {}
    failed: dict[str, tuple[str, str]] = {}
    if context.retry_number == 0:
        return promoted, failed
    of_type = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION}
    for event in context.instance.all_logs(context.run.run_id, of_type=of_type):
        if (mark := event.asset_materialization) is not None and mark.asset_key == settings.key(RECORD):
            promoted[str(mark.partition)] = str(mark.metadata["change"].value)
        elif (seen := event.asset_observation) is not None:
            stage = settings.asset_name(seen.asset_key)
            failed[str(seen.partition)] = stage, str(seen.metadata[NOT_PROMOTED].value)
    return promoted, {name: why for name, why in failed.items() if name not in promoted}


@dataclass
class _Way:
    """What the stages of a dataset gave so far, and its preview until that is marked."""

    inventory: Any = None
    preview: Future[Preview] | None = None
    schema: Any = None
    copies: Any = None


class BulkReport:
    """Hears of each stage, marks it, and says in the log how far the bulk is.

    Args:
        context: Of the op.
        settings: Of the pipeline.
        stages: The assets to mark.
        look: Begins to look at samples of a dataset, which goes on to its next stage meanwhile.
        total: How many datasets the run is about.
        changes: What became of those that it has promoted before.
    """

    service: str
    """URL of the PDS, once it is known."""
    entries: Mapping[str, LocalDatasetEntry]
    """What is promoted, by name."""

    def __init__(
        self,
        context: dg.OpExecutionContext,
        settings: Settings,
        stages: Sequence[dg.AssetsDefinition],
        look: Callable[[str, Inventory], Future[Preview]],
        total: int,
        changes: Counter[str],
    ) -> None:
        self._context = context
        self._settings = settings
        self._look = look
        self._events = MaterialisationEvents(context, stages, settings)
        self._ways: dict[str, _Way] = {}
        self._total = total
        self._changes = changes
        self._failed: dict[str, tuple[str, str]] = {}
        self._warned: dict[str, list[tuple[str, str]]] = {}
        self._is_time = now_and_then()
        self.progress = reporting(lambda _: None, "datasets promoted")
        """Of the bytes of all of them."""

    def hear(self, done: StageDone) -> None:
        """Of a stage of a dataset."""
        self._mark_inventory(done.dataset)
        if done.error is not None:
            self._ways.pop(done.dataset, None)
            reason = reason_of(done.error)
            self.fail(done.dataset, done.stage, reason)
            self._events.mark_failed(done.dataset, done.stage, reason)
        else:
            self._mark(done)
        self.progress(self._changes.total(), self._total)
        if self._is_time() and progress.screen is None:
            ready = sum(way.copies is not None for way in self._ways.values())
            self._context.log.info(
                f"{self._changes.total()} of {self._total} datasets promoted, {ready} ready for their records, "
                f"{len(self._failed)} failed"
            )

    def fail(self, dataset: str, stage: str, reason: str) -> None:
        """Name a dataset that is not promoted."""
        self._failed[dataset] = stage, reason
        self._context.log.error(shown(not_promoted(dataset, reason), "log"))

    def end(self) -> None:
        """Say what became of all; raises ``Failure`` where one of them failed."""
        context, failed = self._context, self._failed
        for check, warned in self._warned.items():
            (first, said), names = warned[0], [name for name, _ in warned]
            of_first = f" {first}:" if len(names) > 1 else ""
            context.log.warning(shown(f"Warning for {named(names)} ({check}):{of_first} {said}", "log"))
        counts: dict[str, Any] = {"datasets": self._total, **dict(sorted(self._changes.items()))}
        if not failed:
            if self._total:
                context.log.info(f"{self._changes.total():,} of {number_of(self._total, 'dataset')} promoted")
            context.add_output_metadata(counts)
            return
        context.instance.add_run_tags(context.run.run_id, {"failed": str(len(failed))})
        rows = [
            {"dataset": name, "stage": stage, "reason": reason}
            for name, (stage, reason) in list(failed.items())[:FAILED_SHOWN]
        ]
        were = "was" if len(failed) == 1 else "were"
        raise dg.Failure(
            shown(
                f"{len(failed):,} of {number_of(self._total, 'dataset')} {were} not promoted: {named([*failed])}"
            ),
            # Of a long event the page shows the beginning.
            metadata={FAILED: table(_COLUMNS, rows), "failed": len(failed), **counts},
            allow_retries=False,
        )

    def _mark(self, done: StageDone) -> None:
        name, stage, result = done.dataset, done.stage, done.result
        way = self._ways.setdefault(name, _Way())
        if stage == "local_dataset":
            way.inventory = result
            for warning in way.inventory.warnings:
                self._context.log.warning(shown(f"{name}: {warning}", "log"))
            way.preview = self._look(name, way.inventory)
            return
        if stage == "published_schema":
            way.schema = result
            metadata = materialisation_metadata.of_schema(way.inventory, way.schema, self.service)
        elif stage == "copied_shards":
            way.copies = result
            metadata = materialisation_metadata.of_copies(way.copies)
        else:
            del self._ways[name]
            record, seen = result, done.visibility
            # One line for all at the end: what many datasets lack, all of them lack.
            for check, warning in warnings_of(record, way.schema, seen).items():
                self._warned.setdefault(check, []).append((name, warning))
            metadata = materialisation_metadata.of_record(record, way.schema.uri, way.copies, seen, self.service)
            self._changes[record.change] += 1
        self._events.mark(name, stage, way.inventory.cid, metadata)
        if done.visibility is not None:
            for each in seen_in_passing(self._settings, result, way.schema, done.visibility):
                self._context.log_event(evaluation_of(each, name))
        if stage == RECORD:
            try:
                self._settings.hooks.after_promotion(self._context, self.entries[name], result)
            except Exception as error:
                self.fail(name, "after", reason_of(error))

    def _mark_inventory(self, dataset: str) -> None:
        way = self._ways.get(dataset)
        if way is not None and way.preview is not None:
            preview, way.preview = way.preview.result(), None
            metadata = materialisation_metadata.of_inventory(way.inventory, preview)
            self._events.mark(dataset, "local_dataset", way.inventory.cid, metadata)
