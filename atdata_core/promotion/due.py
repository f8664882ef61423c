"""Whether a dataset has to be promoted, as far as the ledger knows: no request is made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..metadata import pack
from .draft import Publication
from .holds import held
from .inventory import cid_of, read_schema
from .said import Sayings

if TYPE_CHECKING:
    from ..protocols import AbstractIndex, IndexEntry
    from .ledger import Ledger


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
    """
    hold = held(ledger, entry.name, did)
    if hold is not None:
        return Due("held", hold["reason"])
    last = ledger.get(f"dataset:{entry.name}", "record")
    reason = _what_changed(entry, last, did) or _what_was_said(entry, last, ledger)
    if reason is None:
        return Due("published", f"published as {last['uri']}" if last else "published")
    try:
        read_schema(entry, index)
    except KeyError:
        return Due("waiting", f"waits for its schema {entry.schema_ref}")
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


def _what_was_said(entry: IndexEntry, last: dict[str, Any] | None, ledger: Ledger) -> str | None:
    """Values of a run that was followed by a newer one, which then failed, are still to be published."""
    if last is None:
        return None
    standing = Sayings(entry, Publication(**last["publication"]), ledger).standing()
    return "has values that are not published yet" if standing.order > last.get("order", 0) else None
