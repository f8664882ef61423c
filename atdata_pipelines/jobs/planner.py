"""What is to be done with datasets: which are promoted now, which later, and why the others are not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import dagster as dg

from atdata_core.common.plurals import number_of
from atdata_core.errors import AtdataError, MetadataError
from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.scheduling.due import due_of_all
from atdata_core.state.index_state import state_of

from ..config.partitions import add_keys, divided, why_no_key
from ..config.settings import DEFAULT, Services, Settings
from ..display.markdown import Medium, shown

if TYPE_CHECKING:
    from atdata_core.local import LocalDatasetEntry, LocalIndex
    from atdata_core.state.facts import RecordResult

NAMED = 20
"""Names that one line of a log lists."""

REASON = 500
"""Characters of a name, and of a reason, in such a line."""

_LEFT = {
    "refused": "cannot be promoted",
    "retries exhausted": "retries exhausted, promote them yourself once that is mended",
    "failed": "failed, tried again later",
    "paused": "nothing can be published, tried again later",
    "waiting": "waiting",
    "blocked": "left to a person",
    "skipped": "skipped",
    "stopped": "stopped",
    "under way": "under way",
    "declared": "left to automation conditions",
}
"""Why datasets are not promoted now, in words for people."""


REMEMBERED = 1_000
"""Datasets of which it is known what was told; Dagster keeps the cursor of each tick."""

_DIGITS = 8


class ReportedReasons:
    """What was told of datasets last, as short digests: a part of a sensor's cursor.

    Args:
        digests: By the digest of a dataset's name that of what was told, the oldest first.
    """

    def __init__(self, digests: dict[str, str] | None = None) -> None:
        self._digests = digests or {}

    @classmethod
    def of(cls, said: Any) -> Self:
        """As a cursor says; nothing was told where a person edited it, and it says nothing."""
        if not isinstance(said, dict):
            return cls()
        digests: list[tuple[Any, Any]] = list(said.items())[-REMEMBERED:]
        return cls({str(name)[:_DIGITS]: str(what)[:_DIGITS] for name, what in digests})

    def has(self, name: str, what: str) -> bool:
        """Whether this was the last that was told of a dataset."""
        return self._digests.get(_digest(name)) == _digest(what)

    def keep(self, name: str, what: str) -> None:
        """Remember what is told of a dataset; of too many the oldest are forgotten."""
        self.forget([name])
        self._digests[_digest(name)] = _digest(what)
        for oldest in list(self._digests)[:-REMEMBERED]:
            del self._digests[oldest]

    def forget(self, names: Iterable[str]) -> None:
        """There is nothing to tell of datasets any more: what comes is news."""
        for name in names:
            self._digests.pop(_digest(name), None)

    def digests(self) -> dict[str, str]:
        """For the cursor."""
        return dict(self._digests)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_DIGITS]


class Wanted(NamedTuple):
    """A dataset to promote. ``key`` tells this attempt at this entry from every other one."""

    name: str
    entry: LocalDatasetEntry
    key: str


@dataclass
class PlannedPromotions:
    """What is to be done with the datasets that were looked at.

    ``keys`` are the names that can be partitions; ``runs`` the entries to promote; ``later`` those that the
    sensor promotes later, as an attempt has just failed: what is started once a night tries them, too. ``left``
    tells by kind (of ``_LEFT``) and by name why others are not promoted, ``again`` from when on some of them are
    tried again. ``told`` counts by kind those of which the same was told before. ``published`` are those of which
    nothing is to be done, and what the ledger knows of that.
    """

    keys: list[str] = field(default_factory=list)
    runs: list[Wanted] = field(default_factory=list)
    later: list[Wanted] = field(default_factory=list)
    left: dict[str, dict[str, str]] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    published: list[tuple[LocalDatasetEntry, RecordResult]] = field(default_factory=list)

    @property
    def due(self) -> list[Wanted]:
        """What is missing or changed, also what has just failed: nobody else tries it tonight."""
        return self.runs + self.later

    def leave(self, kind: str, name: str, reason: str) -> None:
        """A dataset that is not promoted now, and why."""
        self.left.setdefault(kind, {})[name] = reason

    def new_keys(self, instance: dg.DagsterInstance, settings: Settings = DEFAULT) -> list[str]:
        """The partitions to add; names that there is no room for are refused, and nothing is run of them."""
        new, beyond = divided(instance, self.keys, settings)
        for name, reason in beyond.items():
            self.leave("refused", name, reason)
        self.runs = [run for run in self.runs if run.name not in beyond]
        self.later = [run for run in self.later if run.name not in beyond]
        return new

    def leave_to_runs(self, promoted_by: Callable[[LocalDatasetEntry], str | None]) -> None:
        """What runs promote already is not started again."""
        waiting = []
        for wanted in self.runs:
            if (said := promoted_by(wanted.entry)) is None:
                waiting.append(wanted)
            else:
                self.leave("under way", wanted.name, said)
        self.runs = waiting

    def leave_out(self, told: ReportedReasons, looked_at: Iterable[str]) -> None:
        """Count what was told before instead of naming it again, and remember what is named now.

        A time from which on something is tried again is no news by itself.

        Args:
            told: What was told before.
            looked_at: The names of all datasets that were looked at.
        """
        left = {name for reasons in self.left.values() for name in reasons}
        told.forget(name for name in looked_at if name not in left)
        for kind, reasons in self.left.items():
            news = {name: reason for name, reason in reasons.items() if not told.has(name, f"{kind}: {reason}")}
            if len(news) < len(reasons):
                self.told[kind] = len(reasons) - len(news)
            for name, reason in islice(news.items(), NAMED):
                told.keep(name, f"{kind}: {reason}")
            self.left[kind] = news

    def say(self, log: Any) -> None:
        """Name in a log what is skipped."""
        for kind, words in _LEFT.items():
            if self.left.get(kind):
                said = f"{words[0].upper()}{words[1:]}: {self._listed(kind, 'log')}"
                (log.warning if kind in ("refused", "retries exhausted") else log.info)(said)

    @property
    def unchanged(self) -> str:
        """How many need nothing."""
        are = "is" if len(self.published) == 1 else "are"
        return f"{number_of(len(self.published), 'dataset')} looked at {are} published and unchanged"

    def summary(self, place: Medium = "text") -> str:
        """One line for a tick that starts nothing."""
        parts = [self.unchanged]
        parts += [f"{words}: {self._listed(kind, place)}" for kind, words in _LEFT.items() if self.left.get(kind)]
        if self.told:
            counts = ", ".join(f"{self.told[kind]} {kind}" for kind in _LEFT if kind in self.told)
            parts.append(f"as told before: {counts}")
        return "; ".join(parts)

    def _listed(self, kind: str, place: Medium) -> str:
        reasons = self.left[kind]
        listed: list[str] = []
        for name, reason in islice(reasons.items(), NAMED):
            again = self.again.get(name, "")
            when = f"not before {again[:16].replace('T', ' ')} UTC: " if again else ""
            listed.append(f"{shown(name, place, length=REASON)} ({when}{shown(reason, place, length=REASON)})")
        more = len(reasons) - len(listed)
        return ", ".join(listed) + (f" and {more} more" if more else "")


def look(
    found: Mapping[str, LocalDatasetEntry | MetadataError], index: LocalIndex, did: str, store: Any = None
) -> PlannedPromotions:
    """Decide what is to be done with datasets by name; raises ``ServiceError`` where Redis is gone.

    ``store`` is where the instance copies shards to, None where it copies none.
    """
    plan = PlannedPromotions()
    entries: list[LocalDatasetEntry] = []
    for name, entry in found.items():
        problem = why_no_key(name) or (entry.message if isinstance(entry, MetadataError) else None)
        if problem is not None:
            plan.leave("refused", name, problem)
        elif not isinstance(entry, MetadataError):
            entries.append(entry)
    for entry, due in zip(entries, due_of_all(entries, index, state_of(index).ledger, did, store), strict=True):
        name = entry.name
        if isinstance(due, AtdataError):
            plan.leave("refused", name, due.message)
            continue
        plan.keys.append(name)
        wanted = Wanted(name, entry, f"{name}@{cid_of(entry)}@{due.what}@{due.attempts}")
        if due.state == "due":
            plan.runs.append(wanted)
        elif due.last is not None:
            plan.published.append((entry, due.last))
        else:
            plan.leave(due.state, name, due.reason)
            if due.retry_at:
                plan.again[name] = due.retry_at
                plan.later.append(wanted)
    return plan


def plan_promotions(context: Any, index: LocalIndex, settings: Settings, services: Services) -> PlannedPromotions:
    """Look at every dataset that an instance takes, make it a partition, and tell what is skipped in the log.

    Raises ``ServiceError`` where Redis is gone, ``PartitionLimitError`` where another one has just filled Dagster.
    """
    entries = settings.taken({entry.name: entry for entry in index.list_datasets()})
    plan = look(entries, index, services.atproto.did(), services.store())
    add_keys(context.instance, plan.new_keys(context.instance, settings), settings)
    plan.say(context.log)
    return plan
