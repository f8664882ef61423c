"""Stage 4, ``atmosphere_record``: the entry record, and the labels that point at it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ...atmosphere.publishers import create_schema
from ...atmosphere.record_format.build import entry_record, label_record
from ...atmosphere.record_format.content_metadata import content_schema, given_shapes, told_sizes
from ...atmosphere.record_format.parse import differing_fields, label_target
from ...atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA, label_rkey, schema_rkey
from ...atmosphere.record_format.record_metadata import to_field
from ...common.licenses import refuse_unknown
from ...errors import AtdataError, RecordChangedError, RecordGoneError, RefusedError, ServiceError
from ...state.facts import (
    CONTENT_SCHEMA,
    ENTRY_NOTE,
    FAILURE,
    LABEL_NOTE,
    LAST_RESULT,
    NAME_OWNER,
    NAME_RESULT,
    OUTAGE,
    RETRACTED,
    VERSION_LABEL_NOTE,
    VERSION_TARGET,
    FirstMade,
    NameOwner,
    NameState,
    RecordResult,
    VersionTarget,
)
from ...state.ledger import Fact, Key, timestamp
from ..copies.layout import metadata_of_copies
from ..copies.usage import end_use
from ..options import Values
from ..records.published_names import name_state, names_no_copies
from ..records.summary import Summary
from ..records.upsert import ROUNDS, Act, Created, Current, Effects, Find, RecordHistory, RecordUpsert, run_effects
from ..scheduling.retry_policy import block_deleted, block_of, end_block, metadata_digest, refuse_blocked
from .copy_stage import send_again

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...atmosphere.record_format.record_keys import Publication
    from ...protocols import AbstractIndex, ShardFacts
    from ...state.facts import CopiedShards
    from ...state.ledger import Ledger
    from .resolved_values import Finder, Resolved
    from .visibility import Visibility


_CONTENT_SCHEMA_KEY = schema_rkey("atdata.DatasetMetadata", "1.0.0")


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


def begin_publishing(resolved: Resolved) -> None:
    """Take up what people ask for, once ``validate`` has found nothing against it.

    A block ends where a person asks, and the values that are given are kept as overrides: a run that is stopped
    later, or whose services fail, has given them all the same.
    """
    end_block(resolved.ledger, resolved.entry.name, resolved.publication.did, resolved.options)
    resolved.overrides().add(resolved.options.values, resolved.options.run)


@contextmanager
def dropping_refused(resolved: Resolved) -> Generator[None]:
    """What is refused inside was not given: the overrides of the run go, on the refusal's way out."""
    options = resolved.options
    try:
        yield
    except RefusedError:
        # What comes through is the refusal.
        with suppress(AtdataError):
            if options.values != Values() and options.run is not None:
                resolved.overrides().remove(options.run)
        raise


def publish_record(
    resolved: Resolved,
    copies: CopiedShards,
    schema_uri: str,
    index: AbstractIndex,
    client: AtmosphereClient,
    *,
    visibility: Visibility,
    find: Finder | None = None,
) -> PublishedRecord:
    """Write the entry record of a publication, or bring it up to date, or leave it; then its labels.

    Args:
        resolved: What is to be published.
        copies: Its shards as they are published.
        schema_uri: At-uri of its schema record.
        index: The index.
        client: A client that is logged in.
        visibility: Who can read the shards; the ledger keeps it.
        find: Reads a record of the account; the client by default.

    Raises:
        EntryNotFoundError: The dataset was deleted from the index. Nothing was written.
        PreflightError, StorageError, MetadataError, DatasetNameError, LicenseError: Nothing was written.
        BlockedError: The dataset was retracted or deleted, and no person asked.
        RecordGoneError: A record was deleted elsewhere, and no person asked; the ledger now blocks the dataset.
        RecordChangedError: A record was edited elsewhere since it was last written from here.
    """
    return run_effects(publishing(resolved, copies, schema_uri, client, visibility), client, index, find)


def publishing(
    resolved: Resolved, copies: CopiedShards, schema_uri: str, client: AtmosphereClient, visibility: Visibility
) -> Effects[PublishedRecord]:
    """The effects of ``publish_record``; raises what that raises."""
    try:
        # It may have been deleted while its shards were looked at and copied.
        yield Current(resolved.entry)
        refuse_blocked(resolved.ledger, resolved.entry.name, resolved.publication.did, resolved.options)
        end_block(resolved.ledger, resolved.entry.name, resolved.publication.did, resolved.options)
        records = DatasetRecords(resolved, copies.shards, copies.claim, schema_uri, client)
        written, change = yield from _entry_written(records, resolved, copies)
        if written is None or change is None:
            return _superseded(resolved.publication, written)
        yield from _confirmed(resolved, copies, written, change)
        return (yield from _labelled(records, resolved, written, change, copies, visibility))
    finally:
        if copies.destination is not None:
            end_use(resolved.ledger, copies.cid, resolved.options.run)


def _entry_written(
    records: DatasetRecords, resolved: Resolved, copies: CopiedShards
) -> Effects[tuple[Record | None, str | None]]:
    """As ``RecordUpsert.apply`` of the entry, once nothing is known against any of the records."""
    ledger, dataset, publication = resolved.ledger, resolved.entry.name, resolved.publication
    records.entry.keep_overrides()
    try:
        for record in records:
            yield from record.refuse_conflict()
        return (yield from _with_copies(records.entry, resolved, copies))
    except RefusedError as error:
        records.entry.drop_overrides()
        gone = isinstance(error, RecordGoneError) and not resolved.options.restore
        # A retraction has blocked it already.
        if gone and not block_of(ledger, dataset, publication.did):
            block_deleted(ledger, dataset, publication, error.uri)
        raise


def _with_copies(
    entry: EntryUpsert, resolved: Resolved, copies: CopiedShards
) -> Effects[tuple[Record | None, str | None]]:
    """As ``RecordUpsert.apply``; a copy that was dropped since it was sent is sent again, each once."""
    store, sent = resolved.location.store, set[int]()
    while True:
        try:
            return (yield from entry.apply())
        except ServiceError as error:
            number = None if store is None else store.dropped(error, copies.shards)
            if store is None or number is None or number in sent:
                raise
        sent.add(number)
        yield Act(partial(send_again, resolved.entry, copies, number, store))


def _confirmed(resolved: Resolved, copies: CopiedShards, written: Record, change: str) -> Effects[None]:
    """See the copies that nothing but the record shows; those of a record that was published so were seen then."""
    store, publication = resolved.location.store, resolved.publication
    if store is None or store.shows_copies:
        return
    last = resolved.ledger.get(NAME_RESULT(resolved.entry.name, publication.did, publication.name))
    if change != "unchanged" or last is None or last.cid != written.cid:

        def confirm(_: AbstractIndex) -> None:
            store.confirm(copies.shards)

        yield Act(confirm)


def _superseded(publication: Publication, written: Record | None) -> PublishedRecord:
    note = "Other values were said since; the run that was asked for them writes the record."
    if written is None:
        return PublishedRecord(publication.uri, None, "superseded", note=note)
    summary = _summary(publication, written)
    return PublishedRecord(publication.uri, written.cid, "superseded", note=note, summary=summary, changed=())


def _labelled(
    records: DatasetRecords,
    resolved: Resolved,
    written: Record,
    change: str,
    copies: CopiedShards,
    visibility: Visibility,
) -> Effects[PublishedRecord]:
    """Point the labels at the entry record that stands now, and keep in the ledger what is published."""
    ledger, entry, publication = resolved.ledger, resolved.entry, resolved.publication
    label = yield from records.label.point()
    version_uri = None if records.version is None else (yield from records.version.point())
    result = PublishedRecord(
        written.uri, written.cid, change, label.uri, label.cid, label.change, label.note, version_uri
    )
    summary, first = _summary(publication, written), copies.shards[0]
    kept = RecordResult(
        *result.parts,
        publication,
        metadata_digest(entry),
        records.entry.order,
        visibility.summary,
        copies.destination,
        {"url": first.url, "endpoint": first.endpoint},
    )
    # Before the result, which says that nothing is left to do; what failed or stood against it counts no more.
    done: dict[Key[Any], Fact | None] = {
        NAME_OWNER(publication.did, publication.name): NameOwner(entry.name),
        RETRACTED(publication.did, publication.name): None,
        OUTAGE(publication.did): None,
        FAILURE(entry.name): None,
    }
    if label.current == publication.cid:
        done[name_state(entry.name, publication)] = NameState(
            publication.cid, written.uri, copies.destination, not visibility.unreadable
        )
    ledger.put_many(done)
    last = _keep(ledger, entry.name, label.current, kept, summary)
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
    ledger: Ledger, dataset: str, current: str, result: RecordResult, summary: Summary
) -> RecordResult | None:
    """Keep the result, unless that of a newer entry or of later values stands already; the one before.

    It is that of the dataset, and that of its published name: once the one is retracted, the others still stand.
    """
    before: list[RecordResult | None] = []
    publication = result.publication

    def change(last: RecordResult | None) -> RecordResult:
        if last is None or last.publication.did != publication.did:
            return result
        of_newer_entry = last.publication.cid == current != publication.cid
        of_later_values = last.publication == publication and last.order > result.order
        return last if of_newer_entry or of_later_values else result

    def change_with_summary(last: RecordResult | None) -> RecordResult:
        before.append(last)
        kept = change(last)
        return replace(kept, summary=summary.to_json()) if kept is result else kept

    ledger.update(LAST_RESULT(dataset), change_with_summary)
    ledger.update(NAME_RESULT(dataset, publication.did, publication.name), change)
    return before[-1]


class DatasetRecords:
    """Entry record, label of the name, and label of the version where one is asked for; iterates over them.

    Making and asking them writes nothing, so that validating, planning and publishing go by the same ones.

    Args:
        resolved: What is to be published.
        shards: Its shards as they are published, or will be.
        claim: ``claim_of`` its own shards.
        schema_uri: At-uri of its schema record.
        client: A client that is logged in.
    """

    def __init__(
        self,
        resolved: Resolved,
        shards: Sequence[ShardFacts],
        claim: str,
        schema_uri: str,
        client: AtmosphereClient,
    ) -> None:
        self.entry = EntryUpsert(resolved, shards, claim, schema_uri, client)
        self.label = NameLabel(resolved, client)
        version = resolved.options.version
        self.version = None if version is None else VersionLabel(resolved, version, client)

    def __iter__(self) -> Generator[RecordUpsert]:
        yield from (self.entry, self.label)
        if self.version is not None:
            yield self.version

    def check(self) -> None:
        """Refuse what the network would refuse, whatever stands there; raises ``PreflightError``."""
        for record in self:
            record.check()

    def dry_run(self) -> Effects[tuple[str, str, str]]:
        """What would be done to each: ``create``, ``update`` or ``keep``; raises what writing them would raise."""
        entry = yield from self.entry.dry_run()
        label = yield from self.label.dry_run()
        return entry, label, "keep" if self.version is None else (yield from self.version.dry_run())


class EntryUpsert(RecordUpsert):
    """The entry record as it shall be, by what people say now and what they said of it so far.

    ``order`` is the number of the last override that went into the record that was written.
    """

    def __init__(
        self,
        resolved: Resolved,
        shards: Sequence[ShardFacts],
        claim: str,
        schema_uri: str,
        client: AtmosphereClient,
    ) -> None:
        publication, options = resolved.publication, resolved.options
        history = RecordHistory(resolved.ledger, ENTRY_NOTE(resolved.entry.name, *publication))
        super().__init__(publication.did, ENTRY, publication.rkey, history, options, client.now)
        self._resolved = resolved
        self._shards, self._schema_uri, self._client = shards, schema_uri, client
        self._metadata = metadata_of_copies(resolved.entry, shards, claim)
        self._overrides = resolved.overrides()
        self._run = options.run or uuid4().hex
        self._own_order: int | None = None
        self.order = 0

    def keep_overrides(self) -> None:
        """Keep what people say now behind what they said before, and what they said of the name before that."""
        self._overrides.inherit()
        self._own_order = self._overrides.add(self._options.values, self._run)

    def drop_overrides(self) -> None:
        """What was refused is no override."""
        if self._own_order is not None:
            self._overrides.remove(self._run)

    def _draft(self) -> dict[str, Any]:
        return self._built(self._resolved.values, timestamp)

    def _planned(self, existing: Record | None, created: Created) -> Effects[dict[str, Any] | None]:
        """The record once people have said what they say now."""
        yield from ()  # nothing has to be asked for it
        witness, keep_urls = self._unblocked_witness(existing)
        layers = self._overrides.layers(witness and witness.value, keep_urls=keep_urls)
        record = self._built(self._overrides.resolve(layers, self._options.values), created)
        return _as_it_stands(record, existing, self._resolved.entry.metadata)

    def _wanted(self, existing: Record | None, created: Created) -> Effects[dict[str, Any] | None]:
        """The record that shall stand; None where somebody gave other values since ``keep_overrides``."""
        yield from ()  # nothing has to be asked for it
        witness, keep_urls = self._unblocked_witness(existing)
        if witness is not None:
            self._overrides.recover(witness.value, keep_urls=keep_urls)
        layers = self._overrides.layers()
        if self._own_order is not None:
            if layers.order > self._own_order:
                return None
            if layers.order < self._own_order:
                # The ledger was lost on the way.
                self._own_order = self._overrides.add(self._options.values, self._run)
                layers = self._overrides.layers()
        self.order = layers.order
        record = self._built(self._overrides.resolve(layers), created)
        if "metadataSchemaRef" in record:
            self._publish_content_schema()
        return _as_it_stands(record, existing, self._resolved.entry.metadata)

    def _publish_content_schema(self) -> None:
        """Write the schema of ``contentMetadata``, once for an account."""
        ledger, key = self._resolved.ledger, CONTENT_SCHEMA(self._did)
        if ledger.get(key) is None:
            record, _ = create_schema(content_schema(), self._client)
            ledger.put(key, FirstMade(at=str(record.value.get("createdAt"))))

    def _unblocked_witness(self, existing: Record | None) -> tuple[Record | None, bool]:
        """The record, where the ledger does not know it: then it tells what people said before.

        And whether its shards lie at the index's own URLs, and are to. Raises ``BlockedError`` where the dataset
        was blocked since, ``DestinationError`` where it names shards elsewhere and nobody says where they go.
        """
        resolved = self._resolved
        refuse_blocked(resolved.ledger, resolved.entry.name, self._did, self._options)
        if existing is None or self._history.last() is not None:
            return None, False
        resolved.location.refuse_unknown(existing, self._shards)
        return existing, resolved.location.store is None and names_no_copies(existing)

    def _built(self, values: Values, created: Created) -> dict[str, Any]:
        """The one place where an entry record is put together."""
        if self._options.require_license:
            refuse_unknown(values.license)
        said, metadata = values.of_record, self._metadata
        sizes, shapes = told_sizes(self._shards), given_shapes(metadata)
        said["content"] = replace(said["content"], shard_sizes=sizes, shapes=shapes)
        return entry_record(
            name=self._resolved.publication.name,
            schema_uri=self._schema_uri,
            shards=self._shards,
            **said,
            content_schema=f"at://{self._did}/{SCHEMA}/{_CONTENT_SCHEMA_KEY}",
            metadata=metadata,
            created_at=created(),
            did=self._did,
        )


def _as_it_stands(
    record: dict[str, Any], existing: Record | None, metadata: dict[Any, Any] | None
) -> dict[str, Any]:
    """The record; where it only adds sizes or splits of its shards to one of an earlier release, as that one is.

    ``metadata`` are without the splits.
    """
    if existing is None:
        return record
    content: dict[str, Any] = record.get("contentMetadata", {})
    if "shardSizes" not in (existing.value.get("contentMetadata") or {}):
        content = {key: value for key, value in content.items() if key != "shardSizes"}
    without = {key: value for key, value in record.items() if key != "contentMetadata"}
    if content:
        without["contentMetadata"] = content
    if differing_fields(without, existing.value) == ["metadata"]:
        without.pop("metadata", None)
        without |= {} if metadata is None else {"metadata": to_field(metadata)}
    return record if differing_fields(without, existing.value) else without


@dataclass(frozen=True, slots=True)
class Label:
    """The label after a promotion; ``uri`` is None where none points at this publication.

    ``current`` is the CID of the entry that the index gives for the dataset.
    """

    uri: str | None
    cid: str | None
    change: str
    current: str
    note: str | None = None


class NameLabel(RecordUpsert):
    """The label of a published name: it points at the entry that the index gives for the dataset.

    Promoting an old entry object never moves it back: where the index has a newer entry, the label points at
    that one once it is published, and is left alone until then.
    """

    def __init__(self, resolved: Resolved, client: AtmosphereClient) -> None:
        entry, publication = resolved.entry, resolved.publication
        history = RecordHistory(resolved.ledger, LABEL_NOTE(entry.name, publication.did, publication.name))
        super().__init__(publication.did, LABEL, publication.label_rkey, history, resolved.options, client.now)
        self._entry = entry
        self._publication = publication
        self._current = publication

    def point(self) -> Effects[Label]:
        """Point the label at the current entry; read the index again afterwards.

        Raises:
            PreflightError, RecordGoneError, RecordChangedError: It was not written.
        """
        change = "unchanged"
        for _ in range(ROUNDS):
            written, did = yield from self.apply()
            if written is None or did is None:
                note = f"The index has a newer entry for {self._entry.name!r}: its promotion sets the label."
                return Label(None, None, change, self._current.cid, note)
            change = did if change == "unchanged" else change
            if (yield Current(self._entry)) == self._current.cid:
                if self._current == self._publication:
                    return Label(written.uri, written.cid, change, self._current.cid)
                note = f"The label of {self._publication.name!r} points at its newer entry."
                return Label(None, None, change, self._current.cid, note)
        raise RecordChangedError(
            f"The index kept changing its entry for {self._entry.name!r} while its label was written. Run again.",
            uri=self.uri,
            fields=["datasetUri"],
        )

    def _draft(self) -> dict[str, Any]:
        return _label(self._publication, None, timestamp)

    def _planned(self, existing: Record | None, created: Created) -> Effects[dict[str, Any] | None]:
        """The label once this publication's entry is written."""
        if (yield Current(self._entry)) != self._publication.cid:
            return (yield from self._wanted(existing, created))
        return _label(self._publication, None, created)

    def _wanted(self, existing: Record | None, created: Created) -> Effects[dict[str, Any] | None]:
        """The label of the current entry; None where that is a newer one that is not published."""
        self._current = self._publication._replace(cid=(yield Current(self._entry)))
        if self._current != self._publication and (yield Find(ENTRY, self._current.rkey)) is None:
            return None
        return _label(self._current, None, created)


class VersionLabel(RecordUpsert):
    """A label of a name and a version. It stays with the entry that it was made for."""

    def __init__(self, resolved: Resolved, version: str, client: AtmosphereClient) -> None:
        publication = resolved.publication
        rkey = label_rkey(publication.did, publication.name, version)
        history = RecordHistory(resolved.ledger, VERSION_LABEL_NOTE(resolved.entry.name, rkey))
        super().__init__(publication.did, LABEL, rkey, history, resolved.options, client.now)
        self._resolved = resolved
        self._publication = publication
        self._version = version

    def point(self) -> Effects[str]:
        """Make the label, or see that it is there; its at-uri. Raises as ``NameLabel.point``."""
        written, _ = yield from self.apply()
        assert written is not None
        note_version(self._resolved.ledger, self._resolved.entry.name, self._rkey, self._publication, self._version)
        return written.uri

    def _draft(self) -> dict[str, Any]:
        return _label(self._publication, self._version, timestamp)

    def refuse_conflict(self) -> Effects[None]:
        """As ``RecordUpsert``; also refuses a version that stands for another entry."""
        existing = yield from self._find_existing(unnoted=True)
        if existing is not None:
            yield from self._wanted(existing, timestamp)

    def _wanted(self, existing: Record | None, created: Created) -> Effects[dict[str, Any] | None]:
        """The label of this publication; raises ``RecordChangedError`` where it is another one's."""
        yield from ()  # nothing has to be asked for it
        elsewhere = label_target(existing.value) if existing else None
        if elsewhere is not None and elsewhere != self._publication.uri and not self._options.take_over:
            raise RecordChangedError(
                f"Version {self._version!r} of {self._publication.name!r} is {elsewhere}, and versions stay. Give "
                "this entry another version, or take that one over: take_over=True, or --take-over.",
                uri=self.uri,
                fields=["datasetUri"],
            )
        return _label(self._publication, self._version, created)


def note_version(ledger: Ledger, dataset: str, rkey: str, publication: Publication, version: str) -> None:
    """Note what the label of a version stands for, so that one that vanished can be made again."""
    ledger.put(VERSION_TARGET(dataset, rkey), VersionTarget(publication.name, publication.cid, version))


def _label(publication: Publication, version: str | None, created: Created) -> dict[str, Any]:
    return label_record(name=publication.name, dataset_uri=publication.uri, version=version, created_at=created())
