"""Whether datasets have to be promoted, as far as the ledger knows: no request is made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import AtdataError, ServiceError
from ..metadata import pack
from .draft import Publication
from .holds import HOLD, concerns
from .inventory import cid_of, read_schema
from .said import order_of

if TYPE_CHECKING:
    from ..protocols import AbstractIndex, IndexEntry
    from .ledger import Facts, Ledger

TOGETHER = 500
"""Datasets that one question to the ledger is about."""


ACCEPTED = "accepted"
"""In the ledger's result of a publication: a digest of other bytes, which a person accepted since."""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done with a dataset, and why, in words for people.

    ``promote``: its current entry is not published by this account, or has changed since. ``published``:
    nothing is to be done. ``waiting``: its schema is not in the index yet. ``held``: only a person may promote
    it again.
    """

    state: Literal["promote", "published", "waiting", "held"]
    reason: str


def due(entry: IndexEntry, index: AbstractIndex, ledger: Ledger, did: str) -> Due:
    """Decide whether the current entry of a dataset is missing or changed on the network.

    What counts is the last promotion of the dataset, under whatever name: its account, its entry, the bytes and
    the metadata that were published with it, and what people said of it since.

    Args:
        entry: The current entry of its name.
        index: The index that it comes from.
        ledger: The ledger of that index.
        did: The account in use.

    Raises:
        ServiceError: The index or the ledger does not answer.
        AtdataError: The entry or its schema cannot be read.
    """
    [found] = due_of_all([entry], index, ledger, did)
    if isinstance(found, AtdataError):
        raise found
    return found


def due_of_all(
    entries: Sequence[IndexEntry], index: AbstractIndex, ledger: Ledger, did: str
) -> list[Due | AtdataError]:
    """Decide as ``due`` does for many datasets, with one question to the ledger for ``TOGETHER`` of them.

    The index is asked once for each schema of those that are not published.

    Returns:
        For each entry what is to be done, or why that cannot be said.

    Raises:
        ServiceError: The index or the ledger does not answer.
    """
    schemas: dict[str, AtdataError | KeyError | None] = {}
    found: list[Due | AtdataError] = []
    for start in range(0, len(entries), TOGETHER):
        page = entries[start : start + TOGETHER]
        for entry, facts in zip(page, _facts(page, ledger, did), strict=True):
            try:
                found.append(_due(entry, facts, index, did, schemas))
            except ServiceError:
                raise
            except AtdataError as error:
                found.append(error)
    return found


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the ledger knows of a dataset: why it is held, its last promotion, and what was said since."""

    hold: Facts | None
    last: Facts | None
    said: Facts | None


def _facts(entries: Sequence[IndexEntry], ledger: Ledger, did: str) -> list[_Facts]:
    wanted: list[tuple[str, str]] = []
    for entry in entries:
        scope = f"dataset:{entry.name}"
        likely = Publication(did, entry.name, cid_of(entry))
        wanted += [(scope, HOLD), (scope, "record"), (scope, likely.said_fact)]
    answers = ledger.get_many(wanted)
    found = [_Facts(*answers[number : number + 3]) for number in range(0, len(answers), 3)]
    # Published under another name, by another account or with an earlier entry: what was said then.
    others: dict[int, tuple[str, str]] = {}
    for number, facts in enumerate(found):
        scope, likely_fact = wanted[3 * number + 2]
        if facts.last and (fact := Publication(**facts.last["publication"]).said_fact) != likely_fact:
            others[number] = scope, fact
    for number, said in zip(others, ledger.get_many([*others.values()]), strict=True):
        found[number] = replace(found[number], said=said)
    return found


def _due(
    entry: IndexEntry,
    facts: _Facts,
    index: AbstractIndex,
    did: str,
    schemas: dict[str, AtdataError | KeyError | None],
) -> Due:
    if facts.hold is not None and concerns(facts.hold, did):
        return Due("held", facts.hold["reason"])
    reason = _what_changed(entry, facts.last, did) or _what_was_said(facts)
    if reason is None:
        return Due("published", f"published as {facts.last['uri']}" if facts.last else "published")
    ref = entry.schema_ref
    if ref not in schemas:
        schemas[ref] = None
        try:
            read_schema(entry, index)
        except (AtdataError, KeyError) as error:
            schemas[ref] = error
    problem = schemas[ref]
    if isinstance(problem, KeyError):
        return Due("waiting", f"waits for its schema {ref}")
    if problem is not None:
        raise problem
    return Due("promote", reason)


def metadata_digest(entry: IndexEntry) -> str:
    """SHA-256 of an entry's metadata as it is packed; of nothing where there is none."""
    return hashlib.sha256(pack(entry.metadata) if entry.metadata else b"").hexdigest()


def _what_changed(entry: IndexEntry, last: dict[str, Any] | None, did: str) -> str | None:
    if last is None:
        return "was never published"
    publication = last["publication"]
    if publication["did"] != did:
        return "was never published by this account"
    if publication["cid"] != cid_of(entry):
        return "has a new entry"
    # Promotions before this was noted say nothing about it.
    if last.get("metadata_sha256", metadata_digest(entry)) != metadata_digest(entry):
        return "has new metadata"
    if ACCEPTED in last:
        return "accepted bytes are not published yet"
    return None


def _what_was_said(facts: _Facts) -> str | None:
    """Values of a run that was followed by a newer one, which then failed, are still to be published."""
    if facts.last is None:
        return None
    return "has values that are not published yet" if order_of(facts.said) > facts.last.get("order", 0) else None
