"""What an account has published so far: under a name, and from which entry of the index.

Values and the place of shards stay until somebody says else. The ledger knows them, also after a retraction. Where
it does not (Redis was lost, another machine published), the label of the name tells. Which entry a record was made
from its key tells, which comes from identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from ...atmosphere.record_format.parse import PublishedShard, blobs_of, label_target
from ...atmosphere.record_format.record_keys import ENTRY, LABEL, AtUri, Publication, is_identity_tid
from ...common.cid import entry_cid
from ...errors import DatasetNameError, RefusedError
from ...state.facts import ENTRY_NOTE, NAME_STATE, OVERRIDES
from ..copies.layout import BLOB, is_copied
from ..copies.usage import shards_of
from ..inventory import cid_of, publication_of
from ..options import PromotionOptions, Values
from ..overrides import overrides_in, overrides_of
from .summary import Summary
from .upsert import Effects, Find

if TYPE_CHECKING:
    from ...atmosphere.listings import Record
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.facts import NameState, RecordNote
    from ...state.ledger import FactMap, Key, Ledger


@dataclass(frozen=True, slots=True)
class PublishedName:
    """The last publication under a name, or this very entry's own, where that was published before.

    Attributes:
        uri: At-uri of its entry record.
        cid: Of the index entry; None where the record does not tell.
        said: What people said of it, for the entries that follow; nothing where it is this entry's own.
        destination: Where its shards were copied to, None where they lie at the index's own URLs.
        readable: Whether anonymous readers could read all of its shards when it was published.
        record: The entry record, where it was read; see ``read``.
    """

    uri: str
    cid: str | None
    said: Values
    destination: str | None
    readable: bool = False
    record: Record | None = None

    def read(self) -> Effects[PublishedName]:
        """With its record, read where it was not; None as the record where it is there no more."""
        if self.record is not None:
            return self
        at = AtUri.parse(self.uri)
        return replace(self, record=(yield Find(at.collection, at.rkey)))

    @property
    def shards(self) -> list[PublishedShard]:
        """The shards that its record names; none where it was not read, or cannot be."""
        return (self.record and _shards_named(self.record)) or []


def published_name(
    entry: IndexEntry,
    publication: Publication,
    known: FactMap,
    ledger: Ledger,
    own_urls: Sequence[str],
    defaults: Values = Values(),  # noqa: B008 - frozen
) -> Effects[PublishedName | None]:
    """What is published under the name of a publication; None where nothing is, as far as can be told.

    Args:
        entry: The entry that is to be published.
        publication: Of the entry.
        known: What the ledger has for ``name_keys``.
        ledger: Of its index.
        own_urls: Of the entry's shards, patterns expanded.
        defaults: Of the pipeline: they were not said.
    """
    state, note = name_keys(entry, publication)
    last = known[state]
    if last is not None and last.cid == publication.cid:
        return PublishedName(last.uri, publication.cid, Values(), last.destination, last.readable)
    if known[note] is not None:
        # An older entry: what was said of the name since, and where its shards lie, is not of this one.
        record = yield Find(ENTRY, publication.rkey)
        return None if record is None else _read(record, publication, own_urls, defaults)
    if last is not None:
        said = overrides_of(ledger.get(OVERRIDES(entry.name, *publication._replace(cid=last.cid))))
        return PublishedName(last.uri, last.cid, said, last.destination, last.readable)
    label = yield Find(LABEL, publication.label_rkey)
    rkey = target_of(label, publication.did)
    record = None if rkey is None else (yield Find(ENTRY, rkey))
    if record is None:
        return None
    found = _read(record, publication, own_urls, defaults)
    # Nobody knows whether somebody said so; who has data that are not to be public must not find them copied.
    return replace(found, said=replace(found.said, keep_urls=True)) if names_no_copies(record) else found


def unknown_names(
    entries: Sequence[IndexEntry], did: str, ledger: Ledger, options: PromotionOptions
) -> list[Publication]:
    """The publications of entries of whose names the ledger knows nothing: their labels have to be looked at."""
    wanted: list[tuple[Publication, Key[NameState], Key[RecordNote]]] = []
    for entry in entries:
        with suppress(DatasetNameError):
            publication = publication_of(entry, cid_of(entry), did, options.name)
            wanted.append((publication, *name_keys(entry, publication)))
    found = ledger.get_many([key for _, *keys in wanted for key in keys])
    return [each for each, state, note in wanted if found[state] is None and found[note] is None]


def name_keys(entry: IndexEntry, publication: Publication) -> tuple[Key[NameState], Key[RecordNote]]:
    """Where the ledger has the last publication of a name, and the record of this one."""
    return name_state(entry.name, publication), ENTRY_NOTE(entry.name, *publication)


def name_state(dataset: str, publication: Publication) -> Key[NameState]:
    """Where the last publication of a name is kept."""
    return NAME_STATE(dataset, publication.did, publication.name)


def place_of(record: Record, own_urls: Sequence[str] | None) -> str | None:
    """Where the copies lie that an entry record names, in words for people; None where it names no copies.

    ``own_urls`` are those of the entry's own shards; None where they are not known.
    """
    shards = _shards_named(record)
    if shards is None:
        return None
    urls = [shard.url for shard in shards]
    if urls and urls[0].startswith(BLOB):
        return blobs_of(AtUri.parse(record.uri).authority)
    copied = any(map(is_copied, urls)) if own_urls is None else urls != list(own_urls)
    return (Summary.of(record.value, account="", entry="").place or "unknown") if copied else None


def names_no_copies(record: Record) -> bool:
    """Whether an entry record names shards, none of which lies where copies do."""
    shards = _shards_named(record)
    return bool(shards) and not any(is_copied(shard.url) for shard in shards)


def _shards_named(record: Record) -> list[PublishedShard] | None:
    """The shards of an entry record; None where it cannot be read."""
    try:
        return shards_of(record)
    except RefusedError:
        return None


def _read(record: Record, publication: Publication, own_urls: Sequence[str], defaults: Values) -> PublishedName:
    own = record.uri.rpartition("/")[2] == publication.rkey
    said = Values() if own else overrides_in(record.value, defaults)
    place = place_of(record, own_urls if own else None)
    return PublishedName(record.uri, publication.cid if own else None, said, place, record=record)


def target_of(label: Record | None, did: str) -> str | None:
    """Record key of the entry that a label of ours points at."""
    target = None if label is None else label_target(label.value)
    try:
        at = None if target is None else AtUri.parse(target)
    except RefusedError:
        return None
    return at.rkey if at is not None and at.authority == did and at.collection == ENTRY else None


def versions_of(index: AbstractIndex) -> list[IndexEntry]:
    """Every entry of every name where the index tells them, else the current ones."""
    return list(cast("Iterable[Any]", getattr(index, "entries", None) or index.list_datasets()))


def is_promoted(record: Record, did: str) -> bool:
    """Whether an entry record was promoted from an index entry; ``AtmosphereIndex`` makes some without one."""
    rkey, value, shards = record.uri.rpartition("/")[2], record.value, _shards_named(record)
    if shards is None or not is_identity_tid(rkey):
        return False
    urls = [shard.url for shard in shards]
    own = Publication(did, str(value.get("name")), entry_cid(str(value.get("schemaRef")), urls))
    return rkey != own.rkey


class Versions:
    """The entries of an index, found by the records that an account made from them."""

    def __init__(self, entries: Iterable[IndexEntry], did: str) -> None:
        self._did = did
        self._by_name: dict[str, dict[str, IndexEntry]] = {}
        for entry in entries:
            self._by_name.setdefault(entry.name, {})[cid_of(entry)] = entry
        self._by_key: dict[str, dict[str, IndexEntry]] = {}

    def of(self, record: Record, dataset: str | None) -> IndexEntry | None:
        """The entry that an entry record was made from; None where none of them was.

        Args:
            record: As the PDS gives it.
            dataset: The dataset that was published under the record's name, as far as the ledger knows. Two
                datasets may hold the same data; that one, or the one of the record's own name, is meant.
        """
        name, rkey = record.value.get("name"), record.uri.rpartition("/")[2]
        if not isinstance(name, str) or not is_identity_tid(rkey):
            return None
        for likely in (dataset, name):
            for cid, entry in self._by_name.get(likely or "", {}).items():
                if Publication(self._did, name, cid).rkey == rkey:
                    return entry
        if name not in self._by_key:
            self._by_key[name] = {
                Publication(self._did, name, cid).rkey: entry
                for _, entries in sorted(self._by_name.items(), reverse=True)
                for cid, entry in entries.items()
            }
        return self._by_key[name].get(rkey)

    def find(self, dataset: str, cid: str) -> IndexEntry | None:
        """The entry of a dataset by its CID."""
        return self._by_name.get(dataset, {}).get(cid)

    @property
    def names(self) -> set[str]:
        """The names of all datasets."""
        return set(self._by_name)
