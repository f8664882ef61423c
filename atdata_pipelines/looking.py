"""What is to be done with datasets: which are promoted now, which later, and why the others are not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from atdata_core.errors import AtdataError, MetadataError
from atdata_core.promotion.due import Due, due_of_all
from atdata_core.promotion.inventory import cid_of
from atdata_core.promotion.ledger import ledger_of

from .partitions import add_keys, divided, why_no_key
from .settings import DEFAULT, Services, Settings

if TYPE_CHECKING:
    from atdata_core.local import LocalDatasetEntry, LocalIndex

NAMED = 20
"""Names that one line of a log lists."""

_LEFT = {
    "refused": "cannot be promoted",
    "given up": "given up, promote them yourself once that is mended",
    "failed": "failed, tried again later",
    "paused": "nothing can be published, tried again later",
    "waiting": "waiting",
    "held": "left to a person",
    "left alone": "left alone",
    "stopped": "stopped",
    "under way": "under way",
    "declared": "left to automation conditions",
}
"""Why datasets are not promoted now, in words for people."""


class Wanted(NamedTuple):
    """A dataset to promote. ``key`` tells this attempt at this entry from every other one."""

    name: str
    entry: "LocalDatasetEntry"
    key: str


@dataclass
class Findings:
    """What is to be done with the datasets that were looked at.

    ``keys`` are the names that can be partitions; ``runs`` the entries to promote; ``later`` those that the
    sensor promotes later, as an attempt has just failed: what is started once a night tries them, too. ``left``
    tells by kind (of ``_LEFT``) and by name why others are not promoted.
    """

    keys: list[str] = field(default_factory=list)
    runs: list[Wanted] = field(default_factory=list)
    later: list[Wanted] = field(default_factory=list)
    left: dict[str, dict[str, str]] = field(default_factory=dict)
    published: int = 0

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

    def leave_to_runs(self, promoted_by: Callable[["LocalDatasetEntry"], str | None]) -> None:
        """What runs promote already is not started again."""
        waiting = []
        for wanted in self.runs:
            if (said := promoted_by(wanted.entry)) is None:
                waiting.append(wanted)
            else:
                self.leave("under way", wanted.name, said)
        self.runs = waiting

    def say(self, log: Any) -> None:
        """Name in a log what is left alone."""
        for kind, words in self._told():
            said = words[0].upper() + words[1:]
            (log.warning if kind in ("refused", "given up") else log.info)(f"{said}: {_listed(self.left[kind])}")

    def summary(self) -> str:
        """One line for a tick that starts nothing."""
        parts = [f"{self.published} datasets looked at are published and unchanged"]
        return "; ".join(parts + [f"{words}: {_listed(self.left[kind])}" for kind, words in self._told()])

    def _told(self) -> list[tuple[str, str]]:
        return [(kind, words) for kind, words in _LEFT.items() if kind in self.left]


def look(
    found: Mapping[str, "LocalDatasetEntry | MetadataError"], index: "LocalIndex", did: str, store: Any = None
) -> Findings:
    """Decide what is to be done with datasets by name; raises ``ServiceError`` where Redis is gone.

    ``store`` is where the instance copies shards to, None where it copies none.
    """
    findings = Findings()
    entries: list[LocalDatasetEntry] = []
    for name, entry in found.items():
        problem = why_no_key(name) or (entry.message if isinstance(entry, MetadataError) else None)
        if problem is not None:
            findings.leave("refused", name, problem)
        elif not isinstance(entry, MetadataError):
            entries.append(entry)
    for entry, due in zip(entries, due_of_all(entries, index, ledger_of(index), did, store), strict=True):
        name = entry.name
        if isinstance(due, AtdataError):
            findings.leave("refused", name, due.message)
            continue
        findings.keys.append(name)
        wanted = Wanted(name, entry, f"{name}@{cid_of(entry)}@{due.what}@{due.attempts}")
        if due.state == "promote":
            findings.runs.append(wanted)
        elif due.state == "published":
            findings.published += 1
        else:
            findings.leave(due.state, name, _reason(due))
            if due.again:
                findings.later.append(wanted)
    return findings


def look_at_all(context: Any, index: "LocalIndex", settings: Settings, services: Services) -> Findings:
    """Look at every dataset that an instance takes, make it a partition, and tell what is left alone in the log.

    Raises ``ServiceError`` where Redis is gone, ``PartitionLimitError`` where another one has just filled Dagster.
    """
    entries = settings.taken({entry.name: entry for entry in index.list_datasets()})
    findings = look(entries, index, services.atproto.did(), services.store())
    add_keys(context.instance, findings.new_keys(context.instance, settings), settings)
    findings.say(context.log)
    return findings


def _reason(due: Due) -> str:
    return f"not before {due.again[:16].replace('T', ' ')} UTC: {due.reason}" if due.again else due.reason


def _listed(reasons: Mapping[str, str]) -> str:
    shown = [f"{name} ({reason})" for name, reason in list(reasons.items())[:NAMED]]
    more = len(reasons) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
