"""Which contents of a record were written from here: how an edit made elsewhere is told from our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...common.cid import record_cid
from ...state.facts import Created, Intent, RecordNote, created_key, intent_key

if TYPE_CHECKING:
    from ...atmosphere.client import Record
    from ...state.facts import Key
    from ...state.ledger import Ledger

KEPT = 20
"""CIDs that are remembered of a record."""


@dataclass(frozen=True, slots=True)
class RecordHistory:
    """What the ledger knows of one record: the CIDs written or adopted, and its ``createdAt``.

    It also has the CIDs that were about to be written: a process that is killed between the commit and its note
    leaves a record that is known all the same.
    """

    ledger: Ledger
    key: Key[RecordNote]

    def last(self) -> RecordNote | None:
        """The record as it was last noted; None where it is not known to be published."""
        return self.ledger.get(self.key)

    def created_at(self, now: str) -> str:
        """The time at which the record was first made; ``now`` where it is made now."""
        return self.ledger.put_first(created_key(self.key), Created(at=now)).at or now

    def intend(self, record: dict[str, Any]) -> None:
        """Note what is about to be written."""
        cid = record_cid(record)

        def change(intent: Intent | None) -> Intent:
            return Intent(_first(cid, () if intent is None else intent.cids))

        self.ledger.update(intent_key(self.key), change)

    def note(self, record: Record) -> None:
        """Note what was written, or found and taken over."""
        created = record.value.get("createdAt")
        if isinstance(created, str) and self.last() is None:
            self.ledger.put(created_key(self.key), Created(at=created))

        def change(last: RecordNote | None) -> RecordNote:
            return RecordNote(record.uri, record.cid, _first(record.cid, _cids(last))[1:])

        self.ledger.update(self.key, change)

    def leads_to(self, cid: str) -> bool:
        """Whether this content comes from here; so it does where the ledger knows nothing of the record."""
        known = _cids(self.last())
        if not known or cid in known:
            return True
        intent = self.ledger.get(intent_key(self.key))
        return intent is not None and cid in intent.cids


def _cids(note: RecordNote | None) -> tuple[str, ...]:
    """The CIDs that a note names, the last one first."""
    return () if note is None else (note.cid, *note.earlier)


def _first(cid: str, others: tuple[str, ...]) -> tuple[str, ...]:
    return (cid, *(other for other in others if other != cid))[:KEPT]
