"""What a stage asks of the outside, apart from how it is asked.

A stage that writes records is a generator: it yields what it wants to know or to have written, and is sent the
answer. So the same code publishes one dataset (``run_effects``: a request for each step) and many at once
(``batch_executor.py``: the steps of all of them, a few requests).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ...atmosphere.record_batches import Write
from ...errors import AtdataError, EntryNotFoundError, RefusedError
from ...protocols import CurrentEntries
from ..inventory import cid_of, refuse_deleted

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex, IndexEntry

R = TypeVar("R")


class Find(NamedTuple):
    """A record of the own repository; the answer is the record, or None."""

    collection: str
    rkey: str


class Current(NamedTuple):
    """Which CID the index has for an entry's name now; the entry's own where it does not know the name."""

    entry: IndexEntry


Step = Find | Write | Current
Steps = Generator[Step, Any, R]
"""Steps on the way to a result. An error of a step is raised where it was yielded.

The answer to a ``Write`` is the record and whether a commit was made for it.
"""


def find(collection: str, rkey: str) -> Steps[Record | None]:
    """The record under a key."""
    return (yield Find(collection, rkey))


def write(collection: str, rkey: str, record: dict[str, Any], *, swap: str | None) -> Steps[tuple[Record, bool]]:
    """The record as written, and whether a commit was made; raises ``RecordChangedError``."""
    return (yield Write(collection, rkey, record, swap))


def current(entry: IndexEntry) -> Steps[str]:
    """The CID that the index has for an entry's name."""
    return (yield Current(entry))


def run_effects(steps: Steps[R], client: AtmosphereClient, index: AbstractIndex) -> R:
    """Take steps one by one; what comes of them."""
    try:
        step = next(steps)
        while True:
            try:
                answer = _answer(step, client, index)
            except AtdataError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        return end.value


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


def _answer(step: Step, client: AtmosphereClient, index: AbstractIndex) -> Any:
    if isinstance(step, Current):
        [cid] = current_cids([step.entry], index)
        if isinstance(cid, AtdataError):
            raise cid
        return cid
    if isinstance(step, Find):
        return client.find_record(step.collection, step.rkey)
    if step.swap is None:
        return client.create_once(step.collection, step.rkey, step.record)
    return client.replace(step.collection, step.rkey, step.record, swap=step.swap), True
