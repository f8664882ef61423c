"""The ledger and the account's records, compared: what the ledger lost is learnt from the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...atmosphere.record_format.parse import label_target, read_entry_record
from ...atmosphere.record_format.record_keys import ENTRY, LABEL, AtUri, Publication, label_rkey
from ...common.names import near
from ...common.urls import expand
from ...errors import EntryNotFoundError, RefusedError
from ...shards.splits import keeping_splits
from ...state.facts import (
    ENTRY_NOTE,
    FAILURE,
    LABEL_NOTE,
    LAST_RESULT,
    NAME_OWNER,
    RECORDS,
    VERSION_LABEL_NOTE,
    VERSION_TARGET,
    NameOwner,
    NameState,
    RecordNote,
    RecordResult,
)
from ...state.ledger import FactMap, Key, Ledger
from ..inventory import cid_of
from ..overrides import Overrides
from ..records.published_names import Versions, is_promoted, name_state, names_no_copies, place_of, versions_of
from ..records.summary import Summary
from ..records.upsert import RecordHistory
from ..scheduling.retry_policy import block_deleted, block_of, metadata_digest
from ..stages.publish import PublishedRecord, note_version

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex, IndexEntry

Kind = Literal["rebuilt", "gone", "older", "edited", "unlabelled", "orphaned", "foreign"]

NOTES: dict[Kind, str] = {
    "rebuilt": "the ledger knows it again",
    "gone": "published from here, and there no more",
    "older": "older than what was written from here, as after a backup was put back",
    "edited": "edited elsewhere since it was published from here",
    "unlabelled": "has no label; the next promotion of its dataset sets it",
    "orphaned": "published from here, of an entry that this index does not have; --recover takes it back",
    "foreign": "made by another program; left alone",
}


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A record that is not as the ledger has it.

    ``rebuilt``: the ledger had lost it. ``gone``, ``older``, ``edited``: the record is not what was written
    from here. ``unlabelled``: its name has no label. ``orphaned``: made by this program of an entry that the index
    does not have; ``recover`` takes it back. ``foreign``: another program's record.

    ``name`` is the published name, ``dataset`` and ``cid`` the entry of the local index that it belongs to;
    ``cid`` is None where no promotion of that entry would bring the record back. ``version`` is that of a label
    that stands for one.
    """

    kind: Kind
    uri: str
    name: str
    dataset: str | None = None
    cid: str | None = None
    version: str | None = None

    @property
    def note(self) -> str:
        """What that means, in words for people."""
        return NOTES[self.kind]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a comparison found; ``records`` counts the entry records and labels that were looked at."""

    did: str
    records: int
    discrepancies: tuple[Discrepancy, ...]

    def of(self, *kinds: Kind) -> list[Discrepancy]:
        """The discrepancies of some kinds."""
        return [each for each in self.discrepancies if each.kind in kinds]

    @property
    def counts(self) -> dict[str, int]:
        """How many discrepancies there are of each kind."""
        return dict(Counter(each.kind for each in self.discrepancies))


def reconcile(
    index: AbstractIndex, client: AtmosphereClient, ledger: Ledger, names: Collection[str] = ()
) -> Reconciliation:
    """Compare the ledger with the account's entry records and labels; only the ledger is written.

    What the ledger does not know is noted in it: a dataset that is published as it should be counts as
    published again. A record that it knows and that is there no more holds its dataset back from sensor and
    schedules, as a promotion of theirs would.

    Args:
        index: The local index.
        client: A client that is logged in.
        ledger: The ledger of the index.
        names: Datasets or published names to look at; all by default.

    Raises:
        EntryNotFoundError: Nothing has one of the names.
        ServiceError: The index, the ledger or the PDS does not answer. What was noted is right; run again.
        NotLoggedInError: The client is not logged in.
    """
    records = {record.uri: record for record in client.iter_records(ENTRY)}
    labels = {record.uri: record for record in client.iter_records(LABEL)}
    comparison = _Comparison(index, client, ledger, records, labels)
    known = comparison.datasets | {_name(record) for record in records.values()}
    for name in names:
        if name not in known:
            raise EntryNotFoundError(
                f"Nothing is called {name!r}: no dataset of the index or the ledger, no published entry."
                f"{near(name, sorted(known))}",
                ref=name,
            )
    chosen = [record for record in records.values() if comparison.concerns(record, names)]
    discrepancies = [each for record in chosen for each in comparison.entry(record)]
    discrepancies += comparison.labels(chosen)
    discrepancies += comparison.gone(names)
    count = len(chosen) + sum(1 for label in labels.values() if not names or label.value.get("name") in names)
    return Reconciliation(client.did, count, tuple(discrepancies))


def _name(record: Record) -> str:
    return str(record.value.get("name"))


_Pair = tuple["Record", "IndexEntry"]
"""An entry record, and the entry of the index that it was made from."""


class _Comparison:
    def __init__(
        self,
        index: AbstractIndex,
        client: AtmosphereClient,
        ledger: Ledger,
        records: Mapping[str, Record],
        labels: Mapping[str, Record],
    ) -> None:
        self._client = client
        self._did = client.did
        self._ledger = ledger
        self._records = records
        self._labels = labels
        self._of_versions: dict[str | None, list[Record]] = {}
        for label in labels.values():
            if isinstance(label.value.get("version"), str):
                self._of_versions.setdefault(label_target(label.value), []).append(label)
        self._versions = Versions(versions_of(index), self._did)
        self._current = {entry.name: cid_of(entry) for entry in index.list_datasets()}
        self._account = ledger.get_all("account", self._did)
        self._entries = {uri: self._entry_of(record) for uri, record in records.items()}
        self.datasets = self._versions.names | {*ledger.owners("dataset")}

    def concerns(self, record: Record, names: Collection[str]) -> bool:
        """Whether a record has one of the names, or belongs to a dataset that has."""
        entry = self._entries[record.uri]
        return not names or record.value.get("name") in names or (entry is not None and entry.name in names)

    def entry(self, record: Record) -> Iterator[Discrepancy]:
        """Compare an entry record."""
        name, entry = _name(record), self._entries[record.uri]
        if entry is None:
            yield Discrepancy("orphaned" if is_promoted(record, self._did) else "foreign", record.uri, name)
            return
        publication = self._publication(record, entry)
        history = RecordHistory(self._ledger, ENTRY_NOTE(entry.name, *publication))
        lost = history.last() is None
        kind = self._compare(record, history)
        if lost:
            Overrides(entry, publication, self._ledger).recover(record.value, keep_urls=names_no_copies(record))
        self._ledger.put_first(NAME_OWNER(self._did, name), NameOwner(entry.name))
        if kind is not None:
            yield Discrepancy(kind, record.uri, name, entry.name, publication.cid)

    def labels(self, records: Collection[Record]) -> Iterator[Discrepancy]:
        """Compare the labels that belong to entry records; then note each dataset's last result."""
        named: dict[str, list[_Pair]] = {}
        for record in records:
            entry = self._entries[record.uri]
            if entry is not None:
                named.setdefault(_name(record), []).append((record, entry))
        labelled: dict[str, list[tuple[_Pair, Record]]] = {}
        for name, pairs in named.items():
            label = self._labels.get(f"at://{self._did}/{LABEL}/{label_rkey(self._did, name)}")
            target = label_target(label.value) if label else None
            record, entry = pair = next((pair for pair in pairs if pair[0].uri == target), pairs[0])
            history = RecordHistory(self._ledger, LABEL_NOTE(entry.name, self._did, name))
            if label is not None:
                points_here = record.uri == target
                if points_here:
                    labelled.setdefault(entry.name, []).append((pair, label))
                known = points_here or history.last() is not None
                kind = self._compare(label, history) if known else "edited"
                if kind is not None:
                    yield Discrepancy(kind, label.uri, name, entry.name, self._labelled(entry.name, name))
            elif history.last() is None:
                yield Discrepancy("unlabelled", record.uri, name, entry.name, cid_of(entry))
            for pair in pairs:
                yield from self._version_labels(*pair)
        for dataset, published in labelled.items():
            self._rebuild_result(dataset, published)

    def gone(self, names: Collection[str]) -> Iterator[Discrepancy]:
        """What the ledger has, and the account has no more."""
        for dataset in sorted(self.datasets):
            block = block_of(self._ledger, dataset, self._did)
            retracted = block.name if block is not None and block.kind == "retracted" else None
            facts = self._ledger.get_all("dataset", dataset)
            for key, note in facts.of(*RECORDS):
                gone = self._known(key, note, facts)
                if gone is None or gone.name == retracted:
                    continue
                if names and dataset not in names and gone.name not in names:
                    continue
                if not self._is_gone(gone.uri, RecordHistory(self._ledger, key)):
                    continue
                current = self._current.get(dataset)
                of_name = gone.cid == current and gone.version is None
                present = key.pattern is LABEL_NOTE or of_name
                if block is None and current is not None and present:
                    block_deleted(self._ledger, dataset, Publication(self._did, gone.name, current), gone.uri)
                yield gone

    def _entry_of(self, record: Record) -> IndexEntry | None:
        known = self._account[NAME_OWNER(self._did, _name(record))]
        return self._versions.of(record, known.dataset if known else None)

    def _compare(self, record: Record, history: RecordHistory) -> Kind | None:
        """What a record is by what the ledger knows of it; what it does not know is noted."""
        known = history.last()
        if known is None:
            history.note(record)
            return "rebuilt"
        if known.cid == record.cid:
            return None
        record, known = self._settled(record, history, known)
        if known.cid == record.cid:
            return None
        if record.cid in known.earlier:
            return "older"
        if not history.leads_to(record.cid):
            return "edited"
        # Written by a run that was killed before it could say so.
        history.note(record)
        return "rebuilt"

    def _settled(self, record: Record, history: RecordHistory, known: RecordNote) -> tuple[Record, RecordNote]:
        """Record and fact, read again until no promotion came between them."""
        at = AtUri.parse(record.uri)
        while True:
            record = self._client.find_record(at.collection, at.rkey) or record
            after = history.last() or known
            if after.cid == known.cid:
                return record, after
            known = after

    def _labelled(self, dataset: str, name: str) -> str | None:
        """The entry whose promotion sets the label of a name; None where that would publish a new entry."""
        if dataset not in self._current:
            return None
        publication = Publication(self._did, name, self._current[dataset])
        known = publication.uri in self._records or self._ledger.get(ENTRY_NOTE(dataset, *publication))
        return publication.cid if known else None

    def _version_labels(self, record: Record, entry: IndexEntry) -> Iterator[Discrepancy]:
        publication = self._publication(record, entry)
        for label in self._of_versions.get(record.uri, ()):
            rkey, version = label.uri.rpartition("/")[2], str(label.value["version"])
            if rkey == label_rkey(self._did, publication.name, version):
                kind = self._compare(label, RecordHistory(self._ledger, VERSION_LABEL_NOTE(entry.name, rkey)))
                if kind == "rebuilt":
                    note_version(self._ledger, entry.name, rkey, publication, version)
                if kind is not None:
                    yield Discrepancy(kind, label.uri, publication.name, entry.name, publication.cid, version)

    def _publication(self, record: Record, entry: IndexEntry) -> Publication:
        return Publication(self._did, _name(record), cid_of(entry))

    def _rebuild_result(self, dataset: str, published: list[tuple[_Pair, Record]]) -> None:
        """Note the last result of a dataset, so that it counts as published as far as it is."""
        for (record, entry), _ in published:
            publication = self._publication(record, entry)
            key = name_state(dataset, publication)
            if self._ledger.get(key) is None:
                place = place_of(record, expand(entry.data_urls))
                self._ledger.put(key, NameState(publication.cid, record.uri, place, place is not None))
        if self._ledger.get(LAST_RESULT(dataset)) is not None:
            return
        (record, entry), label = max(published, key=lambda each: (_name(each[0][0]) == dataset, each[0][0].created))
        publication = self._publication(record, entry)
        try:
            service_of = self._client.service_of
            parsed = read_entry_record(record.uri, record.cid, record.value, service_of=service_of)
        except RefusedError:
            return  # the next promotion says what is wrong with it
        if not parsed.shards:
            return
        result = PublishedRecord(record.uri, record.cid, "unchanged", label.uri, label.cid)
        urls = expand(entry.data_urls)
        destination, first = place_of(record, urls), parsed.shards[0]
        copies = [shard.url for shard in parsed.shards]
        same = parsed.metadata == keeping_splits(entry.metadata, urls, copies)
        kept = RecordResult(
            *result.parts,
            publication,
            metadata_digest(entry if same else parsed),
            Overrides(entry, publication, self._ledger).layers().order,
            None,
            destination,
            {"url": first.url, "endpoint": first.endpoint},
            summary=Summary.of(record.value, account=self._did, entry=publication.cid).to_json(),
        )
        self._ledger.put_first(LAST_RESULT(dataset), kept)
        if publication.cid == self._current.get(dataset):
            # What failed before was about what is published after all.
            self._ledger.remove(FAILURE(dataset))

    def _known(self, key: Key[RecordNote], note: RecordNote, facts: FactMap) -> Discrepancy | None:
        """The record of a fact, as if it were gone; None for one of another account."""
        uri, dataset = note.uri, key.owner
        if not uri.startswith(f"at://{self._did}/"):
            return None
        if key.pattern is ENTRY_NOTE:
            _, name, cid = key.parts
            there = self._versions.find(dataset, cid) is not None
            return Discrepancy("gone", uri, name, dataset, cid if there else None)
        if key.pattern is LABEL_NOTE:
            name = key.parts[1]
            return Discrepancy("gone", uri, name, dataset, self._labelled(dataset, name))
        stood = facts[VERSION_TARGET(dataset, *key.parts)]
        if stood is None:
            return Discrepancy("gone", uri, dataset, dataset)
        there = self._versions.find(dataset, stood.cid) is not None
        return Discrepancy("gone", uri, stood.name, dataset, stood.cid if there else None, stood.version)

    def _is_gone(self, uri: str, history: RecordHistory) -> bool:
        """Whether a record is not there, looked at again: one may have been written since the listing."""
        if uri in self._records or uri in self._labels:
            return False
        at = AtUri.parse(uri)
        return self._client.find_record(at.collection, at.rkey) is None and history.last() is not None
