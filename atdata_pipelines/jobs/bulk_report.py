"""What a run that promotes many datasets tells of each: marks, a log, and one table of what failed."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from ..assets.inline_checks import evaluations, warnings_of
from ..assets.materialisation_events import MaterialisationEvents
from ..assets.step_retries import reason_of
from ..config.settings import Settings
from ..display import materialisations
from ..display.markdown import shown
from ..display.materialisation_metadata import safe, table
from ..display.previews import Preview
from ..display.progress import now_and_then

if TYPE_CHECKING:
    from atdata_core.promotion.bulk.many import StageDone
    from atdata_core.state.facts import Inventory

FAILED_SHOWN = 500
"""Rows of the table of what failed; the log names all."""

FAILED = "failed_table"

NOT_PROMOTED = "not_promoted"
"""Metadata of what is observed of a partition whose stage failed: the reason."""

NAMED = 5
"""Datasets that the error of the run names, and a warning."""

_COLUMNS = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in ("dataset", "stage", "reason")])


@dataclass
class _Way:
    """What the stages of a dataset gave so far; a preview is there until its inventory is marked."""

    inventory: Any = None
    preview: Future[Preview] | None = None
    schema: Any = None
    copies: Any = None


@dataclass
class _Warned:
    """Datasets that one check does not pass: how many, the first of them, and what is wrong with that one."""

    said: str
    first: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, dataset: str) -> None:
        self.count += 1
        self.first += [dataset] if self.count <= NAMED else []


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

    def __init__(
        self,
        context: dg.OpExecutionContext,
        settings: Settings,
        stages: Sequence[dg.AssetsDefinition],
        look: Callable[[str, "Inventory"], Future[Preview]],
        total: int,
        changes: Counter[str],
    ) -> None:
        self._context = context
        self._settings = settings
        self._look = look
        self._marks = MaterialisationEvents(context, stages, settings.upstream_partitions)
        self._keys = {stage.key.path[-1]: stage.key for stage in stages}
        self._ways: dict[str, _Way] = {}
        self._total = total
        self._changes = changes
        self._failed: dict[str, tuple[str, str]] = {}
        self._warned: dict[str, _Warned] = {}
        self._is_time = now_and_then()

    def hear(self, done: "StageDone") -> None:
        """Of a stage of a dataset."""
        self._mark_inventory(done.dataset)
        if done.error is not None:
            self._ways.pop(done.dataset, None)
            reason = reason_of(done.error)
            self.fail(done.dataset, done.stage, reason)
            self._marks.mark_failed(done.dataset, done.stage)
            # Where a person looks who sees that the partition failed.
            self._context.log_event(
                dg.AssetObservation(
                    asset_key=self._keys[done.stage],
                    partition=done.dataset,
                    metadata=safe({NOT_PROMOTED: reason}),
                )
            )
        else:
            self._mark(done)
        if self._is_time():
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
            fails = f"{check} fails for {named(warned.first, warned.count)}. {warned.first[0]}: {warned.said}"
            context.log.warning(shown(fails, "log"))
        counts: dict[str, Any] = {"datasets": self._total, **dict(sorted(self._changes.items()))}
        context.log.info(f"{self._changes.total()} of {self._total} datasets promoted, {len(failed)} failed")
        if not failed:
            context.add_output_metadata(counts)
            return
        context.instance.add_run_tags(context.run.run_id, {"failed": str(len(failed))})
        raise dg.Failure(
            shown(f"{len(failed)} of {self._total} datasets were not promoted: {named([*failed], len(failed))}"),
            # Of a long event the page shows the beginning.
            metadata={FAILED: _table(failed), "failed": len(failed), **counts},
            allow_retries=False,
        )

    def _mark(self, done: "StageDone") -> None:
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
            metadata = materialisations.of_schema(way.inventory, way.schema, self.service)
        elif stage == "copied_shards":
            way.copies = result
            metadata = materialisations.of_copies(way.copies)
        else:
            del self._ways[name]
            record: Any = result
            seen: Any = done.visibility
            # One line for all at the end: what many datasets lack, all of them lack.
            for check, warning in warnings_of(record, way.schema, seen).items():
                self._warned.setdefault(check, _Warned(warning)).add(name)
            metadata = materialisations.of_record(record, way.schema.uri, way.copies, seen, self.service)
            self._changes[record.change] += 1
        self._marks.mark(name, stage, way.inventory.cid, metadata)
        if done.visibility is not None:
            for check in evaluations(self._settings, name, result, way.schema, done.visibility):
                self._context.log_event(check)

    def _mark_inventory(self, dataset: str) -> None:
        way = self._ways.get(dataset)
        if way is not None and way.preview is not None:
            metadata = materialisations.of_inventory(way.inventory, way.preview.result())
            way.preview = None
            self._marks.mark(dataset, "local_dataset", way.inventory.cid, metadata)


def not_promoted(dataset: str, reason: str) -> str:
    """What is said of a dataset that failed."""
    return f"{dataset} was not promoted: {reason}"


def named(names: Sequence[str], count: int) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {count - NAMED} more" if count > NAMED else "")


def _table(failed: Mapping[str, tuple[str, str]]) -> dg.TableMetadataValue:
    rows = [
        {"dataset": name, "stage": stage, "reason": reason}
        for name, (stage, reason) in list(failed.items())[:FAILED_SHOWN]
    ]
    return table(_COLUMNS, rows)
