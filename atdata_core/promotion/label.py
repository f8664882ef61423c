"""The label of a name: it points at the entry that the index gives for that name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..atmosphere.client import differing_fields
from ..atmosphere.names import ENTRY, LABEL
from ..atmosphere.preflight import check
from ..atmosphere.records import label_record
from ..errors import RecordChangedError
from .inventory import cid_of

if TYPE_CHECKING:
    from ..atmosphere.client import AtmosphereClient, Record
    from ..protocols import AbstractIndex, IndexEntry
    from .draft import Publication

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Label:
    """The label after a promotion; ``uri`` is None where none points at this publication."""

    uri: str | None
    cid: str | None
    change: str
    note: str | None = None


def point_label(
    entry: IndexEntry,
    publication: Publication,
    index: AbstractIndex,
    client: AtmosphereClient,
    *,
    expected: bool,
) -> Label:
    """Point the label of the published name at the current entry; read the index again afterwards.

    Promoting an old entry object never moves the label back: where the index has a newer entry for the
    name, the label points at that one once it is published, and is left alone until then. ``expected``:
    the name was published from here before, so its label is likely to be there.
    """
    change = "unchanged"
    for _ in range(ROUNDS):
        current = replace(publication, cid=_current_cid(entry, index))
        if current != publication and client.find_record(ENTRY, current.rkey) is None:
            return Label(
                None,
                None,
                change,
                f"The index has a newer entry for {entry.name!r}: its promotion sets the label.",
            )
        written, did = _write(current, client, expected=expected)
        change = did if change == "unchanged" else change
        if _current_cid(entry, index) == current.cid:
            if current == publication:
                return Label(written.uri, written.cid, change)
            return Label(None, None, change, f"The label of {publication.name!r} points at its newer entry.")
    raise RecordChangedError(
        f"The index kept changing its entry for {entry.name!r} while its label was written. Run again.",
        uri=publication.uri,
        fields=["datasetUri"],
    )


def _current_cid(entry: IndexEntry, index: AbstractIndex) -> str:
    """The CID that the index has for the entry's name now; the entry's own where it does not know it."""
    try:
        return cid_of(index.get_dataset(entry.name))
    except KeyError:
        return cid_of(entry)


def _write(publication: Publication, client: AtmosphereClient, *, expected: bool) -> tuple[Record, str]:
    record = label_record(name=publication.name, dataset_uri=publication.uri, version=None, created_at=client.now())
    check(LABEL, publication.label_rkey, record, did=client.did)
    # Where a label is expected, looking is one request; where none is, creating is.
    existing = client.find_record(LABEL, publication.label_rkey) if expected else None
    if existing is None:
        try:
            written, created = client.create_once(LABEL, publication.label_rkey, record)
            return written, "created" if created else "unchanged"
        except RecordChangedError:
            existing = client.find_record(LABEL, publication.label_rkey)
            if existing is None:
                raise
    if not differing_fields(existing.value, record):
        return existing, "unchanged"
    record["createdAt"] = existing.value.get("createdAt") or record["createdAt"]
    return client.replace(LABEL, publication.label_rkey, record, swap=existing.cid), "updated"
