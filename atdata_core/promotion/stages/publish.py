"""Stage 4, ``atmosphere_record``: the entry record, and the label that points at it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...errors import AtdataError, RecordGoneError, RefusedError
from ...state.facts import LAST_RESULT, NAME_OWNER, NAME_RESULT, NameOwner, NameState, RecordResult
from ..copies.usage import end_use
from ..options import PromotionOptions, Values
from ..overrides import Overrides
from ..records.published_names import name_state
from ..records.summary import Summary
from ..records.upsert import Steps, current, run_effects
from ..scheduling.blocks import block_deleted, block_of, end_block, forget_retraction, refuse_blocked
from ..scheduling.retry_policy import end_outage, metadata_digest, succeeded
from .dataset_records import DatasetRecords

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.facts import CopiedShards
    from ...state.ledger import Ledger
    from ..inventory import Publication
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

    @property
    def parts(self) -> tuple[str, str | None, str, str | None, str | None, str, str | None, str | None]:
        """What is kept, in order."""
        label = self.label_uri, self.label_cid, self.label_change
        return self.uri, self.cid, self.change, *label, self.note, self.version_label_uri


def begin_publishing(
    entry: IndexEntry, publication: Publication, ledger: Ledger, options: PromotionOptions
) -> None:
    """Take up what people ask for, once ``validate`` has found nothing against it.

    A block ends where a person asks, and the values that are given are kept as overrides: a run that is stopped
    later, or whose services fail, has given them all the same.
    """
    end_block(ledger, entry.name, publication.did, options)
    Overrides(entry, publication, ledger).add(options.values, options.run)


@contextmanager
def dropping_refused(
    entry: IndexEntry, publication: Publication, ledger: Ledger, options: PromotionOptions
) -> Generator[None]:
    """What is refused inside was not given: the overrides of the run go, on the refusal's way out."""
    try:
        yield
    except RefusedError:
        # What comes through is the refusal.
        with suppress(AtdataError):
            if options.values != Values() and options.run is not None:
                Overrides(entry, publication, ledger).remove(options.run)
        raise


def publish_record(
    entry: IndexEntry,
    copies: CopiedShards,
    schema_uri: str,
    index: AbstractIndex,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    options: PromotionOptions,
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
        options: What is asked of the promotion.
        resolved: What comes of that.
        seen: Who can read the shards; the ledger keeps it.

    Raises:
        EntryNotFoundError: The dataset was deleted from the index. Nothing was written.
        PreflightError, StorageError, MetadataError, DatasetNameError, LicenseError: Nothing was written.
        BlockedError: The dataset was retracted or deleted, and no person asked.
        RecordGoneError: A record was deleted elsewhere, and no person asked; the ledger now holds the dataset.
        RecordChangedError: A record was edited elsewhere since it was last written from here.
    """
    steps = publishing(entry, copies, schema_uri, client, ledger, options=options, resolved=resolved, seen=seen)
    return run_effects(steps, client, index)


def publishing(
    entry: IndexEntry,
    copies: CopiedShards,
    schema_uri: str,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    options: PromotionOptions,
    resolved: Resolved,
    seen: Visibility,
) -> Steps[PublishedRecord]:
    """The steps of ``publish_record``; raises what that raises."""
    try:
        return (yield from _publishing(entry, copies, schema_uri, client, ledger, options, resolved, seen))
    finally:
        if copies.destination is not None:
            end_use(ledger, copies.cid, options.run)


def _publishing(
    entry: IndexEntry,
    copies: CopiedShards,
    schema_uri: str,
    client: AtmosphereClient,
    ledger: Ledger,
    options: PromotionOptions,
    resolved: Resolved,
    seen: Visibility,
) -> Steps[PublishedRecord]:
    # It may have been deleted while its shards were looked at and copied.
    yield from current(entry)
    publication = resolved.publication
    refuse_blocked(ledger, entry.name, publication.did, options)
    end_block(ledger, entry.name, publication.did, options)
    records = DatasetRecords(entry, resolved, copies.shards, schema_uri, client, ledger, options)
    records.entry.keep_overrides()
    try:
        yield from records.look()
        written, change = yield from records.entry.apply()
    except RefusedError as error:
        records.entry.drop_overrides()
        # Deleted by hand; a retraction has its own hold.
        if (
            isinstance(error, RecordGoneError)
            and not options.restore
            and not block_of(ledger, entry.name, client.did)
        ):
            block_deleted(ledger, entry.name, publication, error.uri)
        raise
    if written is None or change is None:
        note = "Other values were said since; the run that was asked for them writes the record."
        result = PublishedRecord(publication.uri, written.cid if written else None, "superseded", note=note)
        return result if written is None else replace(result, summary=_summary(publication, written), changed=())

    pointed = yield from records.label.point()
    version_label = None if records.version is None else (yield from records.version.point())
    result = PublishedRecord(
        written.uri, written.cid, change, pointed.uri, pointed.cid, pointed.change, pointed.note, version_label
    )
    summary, first = _summary(publication, written), copies.shards[0]
    kept = RecordResult(
        *result.parts,
        publication,
        metadata_digest(entry),
        records.entry.order,
        seen.summary,
        copies.destination,
        {"url": first.url, "endpoint": first.endpoint},
    )
    if pointed.current == publication.cid:
        stands = NameState(publication.cid, written.uri, copies.destination, not seen.unreadable)
        ledger.put(name_state(entry.name, publication), stands)
    last = _keep(ledger, entry, pointed.current, kept, summary)
    ledger.put(NAME_OWNER(publication.did, publication.name), NameOwner(entry.name))
    forget_retraction(ledger, publication.did, publication.name)
    succeeded(ledger, entry.name)
    end_outage(ledger, publication.did)
    return replace(result, summary=summary, changed=_changes(records.entry.before, last, publication, summary))


def _summary(publication: Publication, record: Record) -> Summary:
    return Summary.of(record.value, account=publication.did, entry=publication.cid)


def _changes(
    before: Record | None, last: RecordResult | None, publication: Publication, summary: Summary
) -> tuple[str, ...] | None:
    """What is other than in the record that was written over; where there was none, than the last time."""
    if before is not None:
        return summary.changes(_summary(publication, before))
    if last is None:
        return None
    gone = ("the record was gone, and is written again",) if last.publication == publication else ()
    return (*gone, *summary.changes(Summary.from_json(last.summary)))


def _keep(
    ledger: Ledger, entry: IndexEntry, current: str, result: RecordResult, summary: Summary
) -> RecordResult | None:
    """Keep the result, unless that of a newer entry or of later values stands already; the one before.

    It is that of the dataset, and that of its published name: once the one is retracted, the others still stand.
    """
    stood: list[RecordResult | None] = []
    publication = result.publication

    def change(last: RecordResult | None) -> RecordResult:
        if last is None or last.publication.did != publication.did:
            return result
        of_newer_entry = last.publication.cid == current != publication.cid
        of_later_values = last.publication == publication and last.order > result.order
        return last if of_newer_entry or of_later_values else result

    def change_with_summary(last: RecordResult | None) -> RecordResult:
        stood.append(last)
        kept = change(last)
        return replace(kept, summary=summary.to_json()) if kept is result else kept

    ledger.update(LAST_RESULT(entry.name), change_with_summary)
    ledger.update(NAME_RESULT(entry.name, publication.did, publication.name), change)
    return stood[-1]
