"""One record of the account: found, judged, written, and never over somebody's edit.

What that asks of the network and the index it yields as effects, so that one dataset takes them one by one
(``run_effects``), and many take them together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ...atmosphere.record_batches import Write
from ...atmosphere.record_format.lexicon import check
from ...atmosphere.record_format.parse import differing_fields
from ...common.cid import record_cid
from ...errors import AtdataError, EntryNotFoundError, RecordChangedError, RecordGoneError, RefusedError
from ...protocols import CurrentEntries
from ...state.facts import CREATED, INTENT, FirstMade, Intent, RecordNote
from ..inventory import cid_of, refuse_deleted

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.ledger import Key, Ledger
    from ..options import PromotionOptions

R = TypeVar("R")

ROUNDS = 8
"""How often a write begins again because a rival was quicker."""

KEPT = 20
"""CIDs that are remembered of a record."""

Created = Callable[[], str]
"""Tells when a record was first made."""


class Find(NamedTuple):
    """A record of the own repository; the answer is the record, or None."""

    collection: str
    rkey: str


class Current(NamedTuple):
    """Which CID the index has for an entry's name now; the entry's own where it does not know the name."""

    entry: IndexEntry


class Act(NamedTuple):
    """Something to be done to the copies that a record names; nothing is the answer."""

    do: Callable[[AbstractIndex], None]


Effect = Find | Write | Current | Act

Effects = Generator[Effect, Any, R]
"""Effects on the way to a result. An error of one is raised where it was yielded.

The answer to a ``Write`` is the record and whether a commit was made for it.
"""


class RecordUpsert(ABC):
    """A record under a key that comes from identity; a class of its own says what is wanted of it.

    ``check`` and ``refuse_conflict`` refuse what may not be written, ``dry_run`` says what ``apply`` would do:
    these write nothing. ``apply`` makes the record what is wanted. Where the ledger knows no such record, creating
    it is one request, and tells of one that is there.

    Args:
        did: The account.
        collection: Of the record.
        rkey: Its key.
        history: What the ledger knows of it.
        options: What is asked of the promotion.
        now: The time, as a new record carries it.
    """

    def __init__(
        self,
        did: str,
        collection: str,
        rkey: str,
        history: RecordHistory,
        options: PromotionOptions,
        now: Callable[[], str],
    ) -> None:
        self._did = did
        self._collection = collection
        self._rkey = rkey
        self._history = history
        self._options = options
        self._now = now
        self._existing: Record | None = None
        self._noted: str | None = None
        self.before: Record | None = None
        """What stood where ``apply`` has written, or what it has left as it was."""
        self.uri = f"at://{did}/{collection}/{rkey}"

    @abstractmethod
    def _draft(self) -> dict[str, Any]:
        """The record as far as it is known before anything is asked."""

    @abstractmethod
    def _wanted(self, existing: Record | None, created: Created) -> Effects[dict[str, Any] | None]:
        """From the record as it stands (None: there is none) to the one that shall stand; None: leave it."""

    def _planned(self, existing: Record | None, created: Created) -> Effects[dict[str, Any] | None]:
        """As ``_wanted`` will be once the records before it are written; keeps nothing."""
        return self._wanted(existing, created)

    def check(self) -> None:
        """Refuse what the network would refuse, whatever stands there; raises ``PreflightError``."""
        self._preflight(self._draft(), None)

    def refuse_conflict(self) -> Effects[None]:
        """Read the record where the ledger knows it, and refuse what ``apply`` could not write over.

        Raises:
            RecordGoneError: It was published and is there no more, and nobody asked to restore it.
            RecordChangedError: It was edited elsewhere, and nobody asked to take it over.
        """
        yield from self._find_existing(unnoted=False)

    def dry_run(self) -> Effects[str]:
        """What ``apply`` would do: ``create``, ``update`` or ``keep``; raises what it would raise."""
        existing = yield from self._find_existing(unnoted=True)
        record = yield from self._planned(existing, lambda: self._created(existing))
        if record is None or (existing is not None and not self._differing(record, existing)):
            return "keep"
        self._preflight(record, existing)
        return "update" if existing else "create"

    def apply(self) -> Effects[tuple[Record | None, str | None]]:
        """Make the record what is wanted.

        What is wanted is asked directly before each write, and once more after a rival's.

        Returns:
            The record, and ``created``, ``updated`` or ``unchanged``; None where it is to be left alone.

        Raises:
            PreflightError, RecordGoneError, RecordChangedError: It was not written.
        """
        for _ in range(ROUNDS):
            existing = self._existing
            record = yield from self._wanted(existing, lambda: self._first_created(self._existing))
            if record is None:
                return existing, None
            self.before = existing
            if existing is not None and not self._differing(record, existing):
                if existing.cid != self._noted:
                    self._history.note(existing)
                    self._noted = existing.cid
                return existing, "unchanged"
            self._preflight(record, existing)
            self._history.intend(record)
            swap = existing.cid if existing else None
            try:
                written, made = yield Write(self._collection, self._rkey, record, swap)
            except RecordChangedError:
                self._existing = yield from self._read()
                if existing is not None and self._existing is None:
                    raise RecordGoneError(
                        f"{self.uri} was removed while this run was about to write it: somebody retracts it. "
                        "Promote the dataset again if it shall be published.",
                        uri=self.uri,
                    ) from None
            else:
                self._existing, self._noted = written, written.cid
                if existing is None and made:
                    self._history.note_created(written)
                else:
                    self._history.note(written)
                return written, "updated" if existing else "created" if made else "unchanged"
        raise RecordChangedError(
            f"{self.uri} kept changing while it was written. See what else writes it, then run again.",
            uri=self.uri,
            fields=[],
        )

    def _find_existing(self, *, unnoted: bool) -> Effects[Record | None]:
        """The record where the ledger knows it, or also an ``unnoted`` one; raises as ``refuse_conflict``."""
        known = self._history.last()
        if known is None and not unnoted:
            return None
        self._noted = known.cid if known else None
        self._existing = yield from self._read()
        if self._existing is not None and self._existing.cid != self._noted:
            record = yield from self._planned(self._existing, lambda: self._created(self._existing))
            if record is not None:
                self._differing(record, self._existing)
        return self._existing

    def _preflight(self, record: dict[str, Any], existing: Record | None) -> None:
        check(self._collection, self._rkey, record, did=self._did, swap=existing.cid if existing else None)

    def _created(self, existing: Record | None) -> str:
        """When a record was made, as it says itself; where there is none, it is made now."""
        return (existing.value.get("createdAt") if existing else None) or self._now()

    def _first_created(self, existing: Record | None) -> str:
        """The same for a record that is written next: one that was gone has the time of the first one."""
        return self._created(existing) if existing else self._history.created_at(self._now())

    def _read(self) -> Effects[Record | None]:
        found: Record | None = yield Find(self._collection, self._rkey)
        if found is None and not self._options.restore and self._history.last() is not None:
            raise RecordGoneError(
                f"{self.uri} was published from here and is there no more. Promote the dataset yourself to publish "
                "it again, or leave it.",
                uri=self.uri,
            )
        return found

    def _differing(self, record: dict[str, Any], existing: Record) -> list[str]:
        """In which fields the record is not what is wanted; refuses those that somebody else wrote."""
        fields = differing_fields(record, existing.value)
        if fields and not self._options.take_over and not self._history.leads_to(existing.cid):
            raise RecordChangedError(
                f"{self.uri} was edited elsewhere since it was published from here; it differs in "
                f"{', '.join(fields)}. Undo that edit, promote with the values it has now, or take it over: "
                "take_over=True, or --take-over.",
                uri=self.uri,
                fields=fields,
            )
        return fields


@dataclass(frozen=True, slots=True)
class RecordHistory:
    """What the ledger knows of one record: the CIDs written or adopted, and its ``createdAt``.

    It also has the CIDs that were about to be written: a process that is killed between the commit and its note
    leaves a record that is known all the same.
    """

    ledger: Ledger
    key: Key[RecordNote]

    @property
    def created(self) -> Key[FirstMade]:
        """Where it is kept when the record was first made."""
        return CREATED(self.key.owner, self.key.name)

    @property
    def intent(self) -> Key[Intent]:
        """Where it is kept what was about to be written of it."""
        return INTENT(self.key.owner, self.key.name)

    def last(self) -> RecordNote | None:
        """The record as it was last noted; None where it is not known to be published."""
        return self.ledger.get(self.key)

    def created_at(self, now: str) -> str:
        """The time at which the record was first made; ``now`` where it is made now."""
        return self.ledger.put_first(self.created, FirstMade(at=now)).at or now

    def intend(self, record: dict[str, Any]) -> None:
        """Note what is about to be written."""
        cid = record_cid(record)

        def change(intent: Intent | None) -> Intent:
            return Intent(_first(cid, () if intent is None else intent.cids))

        self.ledger.update(self.intent, change)

    def note(self, record: Record) -> None:
        """Note what was written, or found and taken over."""
        created = record.value.get("createdAt")
        if isinstance(created, str) and self.last() is None:
            self.ledger.put(self.created, FirstMade(at=created))
        self.note_created(record)

    def note_created(self, record: Record) -> None:
        """Note what was written where there was nothing: when that was, ``created_at`` has kept."""

        def change(last: RecordNote | None) -> RecordNote:
            return RecordNote(record.uri, record.cid, _first(record.cid, _cids(last))[1:])

        self.ledger.update(self.key, change)

    def leads_to(self, cid: str) -> bool:
        """Whether this content comes from here; so it does where the ledger knows nothing of the record."""
        known = _cids(self.last())
        if not known or cid in known:
            return True
        intent = self.ledger.get(self.intent)
        return intent is not None and cid in intent.cids


def _cids(note: RecordNote | None) -> tuple[str, ...]:
    """The CIDs that a note names, the last one first."""
    return () if note is None else (note.cid, *note.earlier)


def _first(cid: str, others: tuple[str, ...]) -> tuple[str, ...]:
    return (cid, *(other for other in others if other != cid))[:KEPT]


def run_effects(
    effects: Effects[R],
    client: AtmosphereClient,
    index: AbstractIndex,
    find: Callable[[str, str], Record | None] | None = None,
) -> R:
    """Take effects one by one; what comes of them. ``find`` reads a record, the client's by default."""
    find = find or client.find_record
    try:
        effect = next(effects)
        while True:
            try:
                answer = find(*effect) if isinstance(effect, Find) else _answer(effect, client, index)
            except AtdataError as error:
                effect = effects.throw(error)
            else:
                effect = effects.send(answer)
    except StopIteration as end:
        return end.value


def _answer(effect: Write | Current | Act, client: AtmosphereClient, index: AbstractIndex) -> Any:
    if isinstance(effect, Current):
        [cid] = current_cids([effect.entry], index)
        if isinstance(cid, AtdataError):
            raise cid
        return cid
    if isinstance(effect, Act):
        return effect.do(index)
    if effect.swap is None:
        return client.create_once(effect.collection, effect.rkey, effect.record)
    return client.replace(effect.collection, effect.rkey, effect.record, swap=effect.swap), True


def current_cids(entries: Sequence[IndexEntry], index: AbstractIndex) -> list[str | AtdataError]:
    """The answers to ``Current`` for some entries; an error for one that was deleted from the index, for instance.

    This decides which entry of a name is its newest, for one dataset and for many. An index that can is asked for
    all names at once.
    """
    known: list[str | None] = [None] * len(entries)
    if entries and isinstance(index, CurrentEntries):
        known = index.current_cids([entry.name for entry in entries])
    return [_current_cid(entry, cid, index) for entry, cid in zip(entries, known, strict=True)]


def _current_cid(entry: IndexEntry, known: str | None, index: AbstractIndex) -> str | AtdataError:
    own = cid_of(entry)
    if known == own:
        return own
    try:
        found = known or cid_of(index.get_dataset(entry.name))
    except KeyError:
        found = None
    except RefusedError as error:
        return error
    if found != own:
        try:
            refuse_deleted(entry, index)
        except EntryNotFoundError as error:
            return error
    return found or own
