"""Stage 4, ``atmosphere_record``: the entry record, and the label that points at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..atmosphere.client import differing_fields
from ..atmosphere.names import ENTRY
from ..atmosphere.preflight import check
from ..atmosphere.records import entry_record
from ..errors import RecordChangedError
from .asked import Asked
from .draft import Publication, publication_of, said
from .due import metadata_digest
from .inventory import cid_of
from .label import point_label
from .values import Values, from_metadata

if TYPE_CHECKING:
    from ..atmosphere.client import AtmosphereClient, Record
    from ..protocols import AbstractIndex, IndexEntry
    from .copy import CopiedShards
    from .ledger import Ledger

CODE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """Where the entry record and its label lie.

    ``change`` is what this call did to the entry record: ``created``, ``updated`` or ``unchanged``.
    ``label_uri`` is None where the label stayed with another entry of the name; ``note`` says why.
    """

    uri: str
    cid: str
    change: str
    label_uri: str | None = None
    label_cid: str | None = None
    label_change: str = "unchanged"
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {"code_version": CODE_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PublishedRecord:
        """The inverse of ``to_json``."""
        return cls(**{key: data[key] for key in cls.__slots__ if key in data})


def publish_record(
    entry: IndexEntry,
    copies: CopiedShards,
    schema_uri: str,
    index: AbstractIndex,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    asked: Asked = Asked(),  # noqa: B008 - frozen
) -> PublishedRecord:
    """Write the entry record of a publication, or bring it up to date, or leave it; then its label.

    Raises:
        PreflightError, StorageError, MetadataError, DatasetNameError: Nothing was written.
        RecordChangedError: The record was edited elsewhere since it was last written from here.
    """
    values = asked.values
    publication = publication_of(entry, cid_of(entry), client.did, asked.name)
    scope = f"dataset:{entry.name}"

    def build(people_said: Values, created_at: str, swap: str | None = None) -> dict[str, Any]:
        settled = people_said.over(from_metadata(entry.metadata))
        record = entry_record(
            name=publication.name,
            schema_uri=schema_uri,
            shards=copies.shards,
            description=settled.description,
            tags=settled.tags,
            license=settled.license,
            metadata=entry.metadata,
            created_at=created_at,
        )
        check(ENTRY, publication.rkey, record, did=publication.did, swap=swap)
        return record

    def create() -> tuple[Record, str]:
        people_said = said(entry, publication, values, ledger)
        record = build(people_said, client.now())
        fact = f"created:{publication.fact}"
        record["createdAt"] = ledger.put_first(scope, fact, {"at": record["createdAt"]})["at"]
        _remember(scope, publication, people_said, ledger)
        written, created = client.create_once(ENTRY, publication.rkey, record)
        return written, "created" if created else "unchanged"

    def bring_up_to_date(known: dict[str, Any] | None) -> tuple[Record, str]:
        existing = client.find_record(ENTRY, publication.rkey)
        if existing is None:
            return create()
        before = said(entry, publication, Values(), ledger, existing.value)
        people_said = values.over(before)
        record = build(people_said, existing.value.get("createdAt") or client.now(), existing.cid)
        fields = differing_fields(record, existing.value)
        if fields and known is not None and known["cid"] != existing.cid:
            raise RecordChangedError(
                f"{existing.uri} was edited elsewhere since it was published from here; it differs in "
                f"{', '.join(fields)}. Undo that edit, or promote with the values it has now.",
                uri=existing.uri,
                fields=fields,
            )
        _remember(scope, publication, people_said, ledger)
        if not fields:
            return existing, "unchanged"
        try:
            return client.replace(ENTRY, publication.rkey, record, swap=existing.cid), "updated"
        except RecordChangedError:
            # What was refused was not said.
            _remember(scope, publication, before, ledger)
            raise

    known = ledger.get(scope, publication.fact)
    if known is not None:
        written, change = bring_up_to_date(known)
    else:
        # Where no record is known, creating is one request, and tells of one that is there.
        try:
            written, change = create()
        except RecordChangedError:
            written, change = bring_up_to_date(None)

    ledger.put(scope, publication.fact, {"uri": written.uri, "cid": written.cid})
    named = f"label:{publication.did}:{publication.name}"
    label = point_label(entry, publication, index, client, expected=ledger.get(scope, named) is not None)
    if label.uri is not None:
        ledger.put(scope, named, {"uri": label.uri})
    result = PublishedRecord(written.uri, written.cid, change, label.uri, label.cid, label.change, label.note)
    noted = {"publication": asdict(publication), "metadata_sha256": metadata_digest(entry)}
    ledger.put(scope, "record", {**result.to_json(), **noted})
    return result


def _remember(scope: str, publication: Publication, people_said: Values, ledger: Ledger) -> None:
    """Keep what was said, before the record is written: a run that takes over says the same."""
    ledger.put(scope, publication.said_fact, people_said.to_json())
