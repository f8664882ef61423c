"""Stage 4, ``atmosphere_record``: the entry record, and the label that points at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from ...atmosphere.record_format.build import entry_record
from ...atmosphere.record_format.nsids import ENTRY
from ...common.licenses import refuse_unknown
from ...errors import RecordGoneError, RefusedError
from ..copies.usage_leases import end_use
from ..options import PromotionOptions
from ..overrides import Overrides
from ..records.effects import Steps, current, run_effects
from ..records.label import NameLabel, VersionLabel
from ..records.published_names import names_no_copies, note_published
from ..records.record_history import RecordHistory
from ..records.summary import SUMMARY, Summary
from ..records.upsert import RecordUpsert
from ..scheduling.attempts import succeeded
from ..scheduling.blocks import block_deleted, forget_retraction, held, refuse_blocked, still_unblocked
from ..scheduling.due import metadata_digest, placed
from ..scheduling.retry_policy import end_outage

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex, IndexEntry, ShardFacts
    from ...state.ledger import Facts, Ledger
    from ..publication import Publication
    from .copy_stage import CopiedShards
    from .resolved_values import Resolved
    from .visibility import Visibility

CODE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """Where the entry record and its label lie.

    ``change`` is what this call did to the entry record: ``created``, ``updated``, ``unchanged``, or
    ``superseded``: somebody said other values later, and that run writes them. ``cid`` is None where the record
    of a superseded run is not there yet. ``label_uri`` is None where the label stayed with another entry of the
    name; ``note`` says why. ``version_label_uri`` is the label of the version that was asked for.
    ``summary`` is what the record says, in short, None where it is not there; ``changed`` says for people what of
    it is other than when the dataset was last published, None where it never was. These two are not kept.
    """

    uri: str
    cid: str | None
    change: str
    label_uri: str | None = None
    label_cid: str | None = None
    label_change: str = "unchanged"
    note: str | None = None
    version_label_uri: str | None = None
    summary: Summary | None = field(default=None, compare=False)
    changed: tuple[str, ...] | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {"code_version": CODE_VERSION, **{key: getattr(self, key) for key in _KEPT}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PublishedRecord:
        """The inverse of ``to_json``."""
        return cls(**{key: data[key] for key in _KEPT if key in data})


_KEPT = tuple(each.name for each in fields(PublishedRecord) if each.compare)


def publish_record(
    entry: IndexEntry,
    copies: CopiedShards,
    schema_uri: str,
    index: AbstractIndex,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    asked: PromotionOptions,
    resolved: Resolved,
    seen: Visibility,
) -> PublishedRecord:
    """Write the entry record of a publication, or bring it up to date, or leave it; then its labels.

    Args:
        entry: The entry of the local index.
        copies: Its shards as they are published.
        schema_uri: At-uri of its schema record.
        index: The index.
        client: A client that is logged in.
        ledger: The ledger of the index.
        asked: What is asked of the promotion.
        resolved: What comes of that.
        seen: Who can read the shards; the ledger keeps it.

    Raises:
        EntryNotFoundError: The dataset was deleted from the index. Nothing was written.
        PreflightError, StorageError, MetadataError, DatasetNameError, LicenseError: Nothing was written.
        BlockedError: The dataset was retracted or deleted, and no person asked.
        RecordGoneError: A record was deleted elsewhere, and no person asked; the ledger now holds the dataset.
        RecordChangedError: A record was edited elsewhere since it was last written from here.
    """
    steps = publishing(entry, copies, schema_uri, client, ledger, asked=asked, resolved=resolved, seen=seen)
    return run_effects(steps, client, index)


def publishing(
    entry: IndexEntry,
    copies: CopiedShards,
    schema_uri: str,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    asked: PromotionOptions,
    resolved: Resolved,
    seen: Visibility,
) -> Steps[PublishedRecord]:
    """The steps of ``publish_record``; raises what that raises."""
    try:
        return (yield from _publishing(entry, copies, schema_uri, client, ledger, asked, resolved, seen))
    finally:
        if copies.destination is not None:
            end_use(ledger, copies.cid, asked.run)


def _publishing(
    entry: IndexEntry,
    copies: CopiedShards,
    schema_uri: str,
    client: AtmosphereClient,
    ledger: Ledger,
    asked: PromotionOptions,
    resolved: Resolved,
    seen: Visibility,
) -> Steps[PublishedRecord]:
    # It may have been deleted while its shards were looked at and copied.
    yield from current(entry)
    publication = resolved.publication
    refuse_blocked(ledger, entry.name, publication.did, asked)
    text = _Entry(entry, resolved, copies.shards, schema_uri, client, ledger, asked)
    label = NameLabel(entry, publication, client, ledger, asked)
    fixed = _version_label(entry, publication, client, ledger, asked)
    try:
        yield from text.record.look(text.wanted)
        yield from label.look()
        if fixed is not None:
            yield from fixed.look()
        written, change = yield from text.record.apply(text.wanted)
    except RefusedError as error:
        text.take_back()
        # Deleted by hand; a retraction has its own hold.
        if isinstance(error, RecordGoneError) and not asked.restore and not held(ledger, entry.name, client.did):
            block_deleted(ledger, entry.name, publication, error.uri)
        raise
    if written is None or change is None:
        note = "Other values were said since; the run that was asked for them writes the record."
        result = PublishedRecord(publication.uri, written.cid if written else None, "superseded", note=note)
        return result if written is None else replace(result, summary=_summary(publication, written), changed=())

    pointed = yield from label.point()
    version_label = None if fixed is None else (yield from fixed.point())
    result = PublishedRecord(
        written.uri, written.cid, change, pointed.uri, pointed.cid, pointed.change, pointed.note, version_label
    )
    place = placed(copies.destination, copies.shards[0].url, copies.shards[0].endpoint)
    noted = {
        "publication": asdict(publication),
        "metadata_sha256": metadata_digest(entry),
        "order": text.order,
        "readers": seen.summary,
        **place,
    }
    summary = _summary(publication, written)
    if pointed.current == publication.cid:
        stands = {"uri": written.uri, "destination": copies.destination, "readable": not seen.unreadable}
        note_published(ledger, entry.name, publication, stands)
    last = _keep(ledger, entry, pointed.current, {**result.to_json(), **noted}, summary)
    ledger.put(f"account:{publication.did}", f"published:{publication.name}", {"dataset": entry.name})
    forget_retraction(ledger, publication.did, publication.name)
    succeeded(ledger, entry.name)
    end_outage(ledger, publication.did)
    return replace(result, summary=summary, changed=_changes(text.record.before, last, publication, summary))


def _summary(publication: Publication, record: Record) -> Summary:
    return Summary.of(record.value, account=publication.did, entry=publication.cid)


def _changes(
    before: Record | None, last: Facts | None, publication: Publication, summary: Summary
) -> tuple[str, ...] | None:
    """What is other than in the record that was written over; where there was none, than the last time."""
    if before is not None:
        return summary.changes(_summary(publication, before))
    if last is None:
        return None
    gone = ("the record was gone, and is written again",) if last["publication"] == asdict(publication) else ()
    return (*gone, *summary.changes(Summary.from_json(last.get(SUMMARY))))


def dry_run_records(
    entry: IndexEntry,
    shards: Sequence[ShardFacts],
    schema_uri: str,
    index: AbstractIndex,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    asked: PromotionOptions,
    resolved: Resolved,
) -> tuple[str, str, str]:
    """What ``publish_record`` would do to entry record, label and version's label; nothing is written there.

    Each is ``create``, ``update`` or ``keep``. Raises what it would raise. Give a ``DryLedger``.
    """
    publication = resolved.publication
    text = _Entry(entry, resolved, shards, schema_uri, client, ledger, asked)
    fixed = _version_label(entry, publication, client, ledger, asked)
    label = NameLabel(entry, publication, client, ledger, asked)
    return (
        run_effects(text.record.dry_run(text.wanted), client, index),
        run_effects(label.dry_run(), client, index),
        "keep" if fixed is None else run_effects(fixed.dry_run(), client, index),
    )


def _version_label(
    entry: IndexEntry, publication: Publication, client: AtmosphereClient, ledger: Ledger, asked: PromotionOptions
) -> VersionLabel | None:
    if asked.version is None:
        return None
    return VersionLabel(entry, publication, asked.version, client, ledger, asked)


class _Entry:
    """The entry record as it shall be, with what people said of it so far."""

    def __init__(
        self,
        entry: IndexEntry,
        resolved: Resolved,
        shards: Sequence[ShardFacts],
        schema_uri: str,
        client: AtmosphereClient,
        ledger: Ledger,
        asked: PromotionOptions,
    ) -> None:
        publication = resolved.publication
        self._entry = entry
        self._publication = publication
        self._location = resolved.location
        self._shards = shards
        self._schema_uri = schema_uri
        self._client = client
        self._ledger = ledger
        self._trail = RecordHistory(ledger, f"dataset:{entry.name}", publication.fact)
        self._sayings = Overrides(entry, publication, ledger, asked.defaults, resolved.earlier)
        self._sayings.inherit()
        self._asked = asked
        self._own_order = self._sayings.say(asked.values, asked.run)
        self.order = 0
        self.record = RecordUpsert(publication.did, ENTRY, publication.rkey, self._trail, asked)

    def wanted(self, existing: Record | None) -> Steps[dict[str, Any] | None]:
        """The record that shall stand; None where somebody said other values since."""
        yield from ()  # nothing has to be asked for it
        still_unblocked(self._ledger, self._entry.name, self._publication.did, self._asked)
        if existing is not None and self._trail.last() is None:
            self._location.refuse_unknown(existing, self._shards)
            kept = self._location.store is None and names_no_copies(existing)
            self._sayings.recover(existing.value, keep_urls=kept)
        standing = self._sayings.standing()
        if self._own_order is not None:
            if standing.order > self._own_order:
                return None
            if standing.order < self._own_order:
                # The ledger was lost on the way.
                self._own_order = self._sayings.say(self._asked.values, self._asked.run)
                standing = self._sayings.standing()
        self.order = standing.order
        settled = self._sayings.resolve(standing)
        if self._asked.require_license:
            refuse_unknown(settled.license)
        created = existing.value.get("createdAt") if existing else self._trail.created_at(self._client.now())
        return entry_record(
            name=self._publication.name,
            schema_uri=self._schema_uri,
            shards=self._shards,
            **settled.of_record,
            metadata=self._entry.metadata,
            created_at=created or self._client.now(),
        )

    def take_back(self) -> None:
        """What was refused was not said."""
        if self._own_order is not None:
            self._sayings.take_back(self._own_order)


def _keep(ledger: Ledger, entry: IndexEntry, current: str, result: Facts, summary: Summary) -> Facts | None:
    """Keep the result, unless that of a newer entry or of later values stands already; the one before.

    It is that of the dataset, and that of its published name: once the one is retracted, the others still stand.
    """
    stood: list[Facts | None] = []

    def change(last: Facts | None) -> Facts:
        if last is None or last["publication"]["did"] != result["publication"]["did"]:
            return result
        of_newer_entry = last["publication"]["cid"] == current != result["publication"]["cid"]
        of_later_values = last["publication"] == result["publication"] and last.get("order", 0) > result["order"]
        return last if of_newer_entry or of_later_values else result

    def change_with_summary(last: Facts | None) -> Facts:
        stood.append(last)
        kept = change(last)
        return {**kept, SUMMARY: summary.to_json()} if kept is result else kept

    publication = result["publication"]
    ledger.update(f"dataset:{entry.name}", "record", change_with_summary)
    ledger.update(f"dataset:{entry.name}", f"result:{publication['did']}:{publication['name']}", change)
    return stood[-1]
