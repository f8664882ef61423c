"""One record of the account: found, judged, written, and never over somebody's edit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...atmosphere.record_format.difference import differing_fields
from ...atmosphere.record_format.preflight import check
from ...errors import RecordChangedError, RecordGoneError
from .effects import Steps, find, write

if TYPE_CHECKING:
    from ...atmosphere.client import Record
    from ..options import PromotionOptions
    from .record_history import RecordHistory

ROUNDS = 8
"""How often a write begins again because a rival was quicker."""

Wanted = Callable[["Record | None"], Steps["dict[str, Any] | None"]]
"""From the record as it stands (None: there is none) to the one that shall stand; None: leave it."""


class RecordUpsert:
    """A record under a key that comes from identity.

    ``look`` reads it and refuses what may not be written over; ``bring`` makes it what is wanted; ``foresee``
    says what that would be. Where the ledger knows no such record, creating it is one request, and tells of one
    that is there.
    """

    def __init__(self, did: str, collection: str, rkey: str, trail: RecordHistory, asked: PromotionOptions) -> None:
        self._did = did
        self._collection = collection
        self._rkey = rkey
        self._trail = trail
        self._asked = asked
        self._seen: Record | None = None
        self._noted: str | None = None
        self.before: Record | None = None
        """What stood where ``bring`` has written, or what it has left as it was."""
        self.uri = f"at://{did}/{collection}/{rkey}"

    def look(self, wanted: Wanted, *, surely: bool = False) -> Steps[Record | None]:
        """Read the record, where it is expected or ``surely``; nothing is written.

        Raises:
            RecordGoneError: It was published and is there no more, and nobody asked to restore it.
            RecordChangedError: It was edited elsewhere, and nobody asked to take it over.
        """
        known = self._trail.last()
        if known is None and not surely:
            return None
        self._noted = known.cid if known else None
        self._seen = yield from self._read()
        if self._seen is not None and self._seen.cid != self._noted:
            record = yield from wanted(self._seen)
            if record is not None:
                self._differing(record, self._seen)
        return self._seen

    def dry_run(self, wanted: Wanted) -> Steps[str]:
        """What ``bring`` would do: ``create``, ``update`` or ``keep``; raises what it would raise."""
        existing = yield from self.look(wanted, surely=True)
        record = yield from wanted(existing)
        if record is None or (existing is not None and not self._differing(record, existing)):
            return "keep"
        self._check(record, existing)
        return "update" if existing else "create"

    def apply(self, wanted: Wanted) -> Steps[tuple[Record | None, str | None]]:
        """Make the record what is wanted.

        ``wanted`` is asked directly before each write, and again after a rival's.

        Returns:
            The record, and ``created``, ``updated`` or ``unchanged``; None where it is to be left alone.

        Raises:
            PreflightError, RecordGoneError, RecordChangedError: It was not written.
        """
        for _ in range(ROUNDS):
            existing = self._seen
            record = yield from wanted(existing)
            if record is None:
                return existing, None
            self.before = existing
            if existing is not None and not self._differing(record, existing):
                self._note(existing)
                return existing, "unchanged"
            self._check(record, existing)
            self._trail.intend(record)
            swap = existing.cid if existing else None
            try:
                written, made = yield from write(self._collection, self._rkey, record, swap=swap)
            except RecordChangedError:
                self._seen = yield from self._read()
                if existing is not None and self._seen is None:
                    raise RecordGoneError(
                        f"{self.uri} was removed while this run was about to write it: somebody retracts it. "
                        "Promote the dataset again if it shall be published.",
                        uri=self.uri,
                    ) from None
            else:
                self._seen = written
                self._note(written)
                return written, "updated" if existing else "created" if made else "unchanged"
        raise RecordChangedError(
            f"{self.uri} kept changing while it was written. See what else writes it, then run again.",
            uri=self.uri,
            fields=[],
        )

    def _check(self, record: dict[str, Any], existing: Record | None) -> None:
        swap = existing.cid if existing else None
        check(self._collection, self._rkey, record, did=self._did, swap=swap)

    def _read(self) -> Steps[Record | None]:
        found = yield from find(self._collection, self._rkey)
        if found is None and not self._asked.restore and self._trail.last() is not None:
            raise RecordGoneError(
                f"{self.uri} was published from here and is there no more. Promote the dataset yourself to publish "
                "it again, or leave it.",
                uri=self.uri,
            )
        return found

    def _differing(self, record: dict[str, Any], existing: Record) -> list[str]:
        """In which fields the record is not what is wanted; refuses those that somebody else wrote."""
        fields = differing_fields(record, existing.value)
        if fields and not self._asked.take_over and not self._trail.leads_to(existing.cid):
            raise RecordChangedError(
                f"{self.uri} was edited elsewhere since it was published from here; it differs in "
                f"{', '.join(fields)}. Undo that edit, promote with the values it has now, or take it over: "
                "take_over=True, or --take-over.",
                uri=self.uri,
                fields=fields,
            )
        return fields

    def _note(self, record: Record) -> None:
        if record.cid != self._noted:
            self._trail.note(record)
            self._noted = record.cid
