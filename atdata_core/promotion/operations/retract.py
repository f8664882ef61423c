"""Taking back what was published under a name: label, entry records and, on request, unused copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...atmosphere.record_format.parse import blob_at, label_target
from ...atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA, AtUri, label_rkey
from ...common.names import near
from ...errors import RecordNotFoundError, RefusedError, ShardConflictError
from ...state.facts import (
    BLOCK,
    COPIES,
    COPIES_AT,
    COPIES_LEFT,
    LAST_RESULT,
    NAME_OWNER,
    RECORDS,
    RESULTS,
    RETRACTED,
    Block,
    CopiedShards,
    CopiesLeft,
    RecordNote,
    RecordResult,
    RetractedEntry,
    entries_of,
)
from ...state.index_state import state_of
from ...state.ledger import Key, Ledger, MemoryLedger
from ..copies.layout import is_copy
from ..copies.usage import StoredCopy, blobs_in, copies_in, existing, removing, uses
from ..scheduling.retry_policy import retracted

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex
    from ...stores.data_store import DataStore

DELETE_POINTS = 1
"""Write points of one deleteRecord (https://docs.bsky.app/docs/advanced-guides/rate-limits)."""

Say = Callable[[str], None]
"""Told of each step when it is done, in words for people."""


@dataclass(frozen=True, slots=True)
class RecordsToRemove:
    """A record that goes, as it was when the plan was made. ``about`` tells it from others."""

    uri: str
    cid: str
    about: str


@dataclass(frozen=True, slots=True)
class Retraction:
    """What ``retract`` would remove.

    Attributes:
        name: The published name.
        dataset: The dataset of the local index that it was published from, as far as the ledger knows.
        blocks: Whether sensor and schedules shall leave that dataset alone from then on. They publish datasets
            under their own names, so one that stays published as such is not blocked.
        labels: Labels that go: that of the name, and those that point at an entry that goes.
        entries: Entry records that go, the current one first.
        copies: Copies that go; nothing else names them.
        left: Shards of those entries that may be copies and are not removed, for a later retraction.
        stays: What stays, and why, in words for people.
        blobs: CIDs of the shards that are blobs, and that the PDS drops with these records: no other names them.
    """

    name: str
    dataset: str
    blocks: bool
    labels: tuple[RecordsToRemove, ...]
    entries: tuple[RecordsToRemove, ...]
    copies: tuple[StoredCopy, ...]
    left: tuple[StoredCopy, ...]
    stays: tuple[str, ...]
    blobs: tuple[str, ...] = ()

    @property
    def records(self) -> tuple[RecordsToRemove, ...]:
        """The records that go, in this order."""
        return *self.labels, *self.entries

    @property
    def bytes_to_remove(self) -> int:
        """Bytes of the copies that go."""
        return sum(copy.size or 0 for copy in self.copies)

    @property
    def write_points(self) -> int:
        """Of the account's write points, how many that costs."""
        return len(self.records) * DELETE_POINTS


@dataclass(frozen=True, slots=True)
class Retracted:
    """What a retraction removed: at-uris of records, and copies. ``kept`` tells what stayed after all."""

    records: tuple[str, ...]
    copies: tuple[StoredCopy, ...]
    kept: tuple[str, ...] = ()

    @property
    def bytes_removed(self) -> int:
        """Bytes of the copies that were removed."""
        return sum(copy.size or 0 for copy in self.copies)


def plan_retraction(
    name: str,
    client: AtmosphereClient,
    *,
    ledger: Ledger | None = None,
    store: DataStore | None = None,
    index: AbstractIndex | None = None,
    all_versions: bool = False,
    shards: bool = False,
) -> Retraction:
    """Say what retracting a name would remove; writes nothing.

    The account's records tell what is published, so that a lost ledger does no harm.

    Args:
        name: The published name.
        client: A client that is logged in.
        ledger: Knows which dataset was published under the name.
        store: Where copies lie.
        index: Datasets of it may read copies, which then stay.
        all_versions: The entries that the name had before, too.
        shards: The copies, too, as far as nothing else names them.

    Raises:
        RecordNotFoundError: The account publishes nothing under that name, or it is retracted already.
        StorageError: With ``shards``: a record cannot be read, so nobody knows which copies it names.
        NotLoggedInError: The client is not logged in.
    """
    did = client.did
    ledger = MemoryLedger() if ledger is None else ledger
    labels = list(client.iter_records(LABEL))
    entries = list(client.iter_records(ENTRY))
    named = [record for record in entries if record.value.get("name") == name]
    named = _current_first(named, [_target(label, client) for label in _labels_of(name, labels, did)])
    own = f"at://{did}/{LABEL}/{label_rkey(did, name)}"
    taken = retracted(ledger, did, name)
    if taken is not None and all(label.uri != own for label in labels):
        # That retraction was interrupted, or is done: what else the name had is not asked for.
        going = [record for record in named if all_versions or record.uri == taken]
    else:
        going = named if all_versions else named[:1]
    uris = {record.uri for record in going}
    labels_going = [label for label in labels if label.uri == own or _target(label, client) in uris]

    before = ledger.get(COPIES_LEFT(did, name))
    candidates = {copy.url: copy for copy in map(StoredCopy.from_json, before.copies if before else ())}
    candidates |= {copy.url: copy for copy in copies_in(going)}
    if not going and not labels_going and not (shards and candidates):
        if named:
            raise RecordNotFoundError(
                f"{name!r} is retracted already. {_count(len(named), 'older entry', 'older entries')} of the name "
                "stay; --all-versions (all_versions=True) removes them.",
                uri=taken or own,
            )
        published = {str(record.value.get("name")) for record in entries}
        raise RecordNotFoundError(
            f"{client.handle} has published nothing as {name!r}.{near(name, published)}",
            uri=f"at://{did}/{ENTRY}",
        )
    owner = ledger.get(NAME_OWNER(did, name))
    dataset = name if owner is None else owner.dataset

    copies: list[StoredCopy] = []
    stays = _records_that_stay(going, named)
    blobs = blobs_in(going)
    dropped = blobs - blobs_in([record for record in entries if record.uri not in uris])
    if blobs - dropped:
        stays.append(f"{_count(len(blobs - dropped), 'blob', 'blobs')}: other records name them.")
    if shards and (candidates or not blobs):
        copies, notes = _copies_to_go(list(candidates.values()), client, ledger, index, store, dataset, uris)
        stays += notes
    elif candidates:
        stays.append(
            f"{_count(len(candidates), 'copy', 'copies')} of shards: they are removed only where that is asked for "
            "(--shards)."
        )
    urls = {copy.url for copy in copies}
    return Retraction(
        name,
        dataset,
        name == dataset or ledger.get(NAME_OWNER(did, dataset)) is None,
        tuple(RecordsToRemove(label.uri, label.cid, _about_label(label)) for label in labels_going),
        tuple(RecordsToRemove(record.uri, record.cid, _about_entry(record)) for record in going),
        tuple(copies),
        tuple(copy for copy in candidates.values() if copy.url not in urls),
        tuple(stays),
        tuple(sorted(dropped)),
    )


def retract(
    plan: Retraction,
    client: AtmosphereClient,
    ledger: Ledger,
    store: DataStore | None = None,
    *,
    index: AbstractIndex | None = None,
    say: Say = lambda _: None,
) -> Retracted:
    """Remove what a plan lists: the label first, then the current entry, older ones, copies.

    Before anything goes the dataset is blocked: neither sensor nor schedule publishes it again until a
    person does. What is gone already is no error, so a retraction that was interrupted is run again; one that
    was done takes nothing else.

    Raises:
        RecordChangedError: A record is not what the plan showed. It stays, and what comes after it.
        ServiceError: Run again to go on.
    """
    did = client.did
    reason = f"{plan.name!r} was retracted; it stays so until somebody promotes it"
    if plan.blocks:
        ledger.put(BLOCK(plan.dataset), Block("retracted", reason, did, plan.name))
    if plan.entries:
        ledger.put(RETRACTED(did, plan.name), RetractedEntry(plan.entries[0].uri))
    # Once their entry is gone, nothing else tells where its copies lie.
    _note_left((*plan.copies, *plan.left), COPIES_LEFT(did, plan.name), ledger)
    known = ledger.get_all("dataset", plan.dataset)
    facts = {**dict(known.of(*RECORDS)), **dict(known.of(*RESULTS))}
    for record in plan.records:
        at = AtUri.parse(record.uri)
        client.delete(at.collection, at.rkey, swap=record.cid)
        _forget(record.uri, facts, plan.dataset, ledger)
        say(f"removed {record.uri}")

    removed, kept = _remove_copies(plan, client, ledger, index, store, say)
    gone = {copy.url for copy in removed}
    _forget_copies(plan.dataset, ledger, did, {*gone, *plan.blobs})
    remaining = [copy for copy in (*plan.copies, *plan.left) if copy.url not in gone]
    _note_left(remaining, COPIES_LEFT(did, plan.name), ledger)
    return Retracted(tuple(record.uri for record in plan.records), tuple(removed), tuple(kept))


def _note_left(copies: Sequence[StoredCopy], key: Key[CopiesLeft], ledger: Ledger) -> None:
    """Note which copies are left of a name, for a later retraction."""
    if copies:
        ledger.put(key, CopiesLeft(tuple(copy.to_json() for copy in copies)))
    else:
        ledger.remove(key)


def _remove_copies(
    plan: Retraction,
    client: AtmosphereClient,
    ledger: Ledger,
    index: AbstractIndex | None,
    store: DataStore | None,
    say: Say,
) -> tuple[list[StoredCopy], list[str]]:
    removed: list[StoredCopy] = []
    kept: list[str] = []
    if store is None or not plan.copies:
        return removed, kept
    # Looked at again: an entry that names a copy may have been published since the plan was made,
    # and while copies are removed.
    with removing(ledger, state_of(index).leases, [copy.url for copy in plan.copies]) as run_using:
        commit = client.latest_commit(client.did)
        using = uses(client, ledger, index)
        for copy in plan.copies:
            coming = run_using(copy.url)
            now = client.latest_commit(client.did)
            if now != commit:
                commit, using = now, uses(client, ledger, index)
            user = using.user_of(copy) or coming
            if user is not None:
                kept.append(f"{copy.url}: {user} names it.")
                continue
            try:
                if store.remove_shard(copy.url, size=copy.size or 0, sha256=copy.sha256, md5=copy.md5):
                    say(f"removed {copy.url}")
                removed.append(copy)
            except ShardConflictError as error:
                kept.append(error.message)
    return removed, kept


def _labels_of(name: str, labels: Sequence[Record], did: str) -> list[Record]:
    """The labels of a name without a version: our own first, then the newest."""
    key = label_rkey(did, name)
    found = [label for label in labels if label.value.get("name") == name and not label.value.get("version")]
    found.sort(key=lambda label: label.created, reverse=True)
    found.sort(key=lambda label: not label.uri.endswith(f"/{key}"))
    return found


def _current_first(named: Sequence[Record], targets: Sequence[str | None]) -> list[Record]:
    """Entries of a name, newest first, that of its label before all others."""
    found = sorted(named, key=lambda record: record.created, reverse=True)
    uris = {record.uri for record in found}
    current = next((target for target in targets if target in uris), None)
    return sorted(found, key=lambda record: record.uri != current)


def _target(label: Record, client: AtmosphereClient) -> str | None:
    """At-uri that a label points at, with the DID of the account; None where it is none."""
    try:
        at = AtUri.parse(str(label_target(label.value)))
    except RefusedError:
        return None
    authority = client.did if at.authority == client.handle else at.authority
    return str(AtUri(authority, at.collection, at.rkey))


def _records_that_stay(going: Sequence[Record], named: Sequence[Record]) -> list[str]:
    stays: list[str] = []
    older = len(named) - len(going)
    if older:
        stays.append(f"{_count(older, 'older entry', 'older entries')} of the name (--all-versions removes them).")
    schemas = sorted({str(record.value.get("schemaRef")) for record in going})
    stays += [f"{schema}: others may use it." for schema in schemas if f"/{SCHEMA}/" in schema]
    return stays


def _copies_to_go(
    candidates: list[StoredCopy],
    client: AtmosphereClient,
    ledger: Ledger,
    index: AbstractIndex | None,
    store: DataStore | None,
    dataset: str,
    going: set[str],
) -> tuple[list[StoredCopy], list[str]]:
    if store is None or not store.removes_copies:
        if not candidates:
            return [], ["The shards: they are no copies, but lie where the lab keeps them."]
        what = "no data store is configured" if store is None else f"{store.kind} cannot remove shards"
        return [], [f"{_count(len(candidates), 'copy', 'copies')}: {what}."]
    notes: list[str] = []
    ours = [copy for copy in candidates if is_copy(store, copy.url, copy.endpoint)]
    if len(ours) < len(candidates) or not candidates:
        notes.append("Shards that do not lie where this data store keeps copies.")
    using = uses(client, ledger, index, without=going)
    free = [copy for copy in ours if using.user_of(copy) is None]
    users = Counter(user for copy in ours if (user := using.user_of(copy)) is not None)
    notes += [f"{_count(count, 'copy', 'copies')}: {user} names them." for user, count in users.items()]
    known = {shard.url: shard for _, copies in _copies_of_entries(dataset, ledger) for shard in copies.shards}
    return existing(free, store, known), notes


def _copies_of_entries(dataset: str, ledger: Ledger) -> Iterator[tuple[Key[CopiedShards], CopiedShards]]:
    """What the ledger knows of copies of a dataset's entries: their MD5 saves reading them back."""
    for cid in entries_of(ledger.get_all("dataset", dataset)):
        yield from ledger.get_all("entry", cid).of(COPIES_AT)


def _forget_copies(dataset: str, ledger: Ledger, did: str, gone: set[str]) -> None:
    """Take out of the ledger what it says of copies of a dataset of which some (URLs, CIDs of blobs) are gone."""
    if not gone:
        return
    of_stage = ledger.get_all("dataset", dataset).of(COPIES)
    for key, copies in [*of_stage, *_copies_of_entries(dataset, ledger)]:
        if any((blob_at(shard.url, did) or shard.url) in gone for shard in copies.shards):
            ledger.remove(key)


def _forget(uri: str, facts: dict[Key[Any], RecordNote | RecordResult], dataset: str, ledger: Ledger) -> None:
    """Take out of the ledger, and out of ``facts``, what it says of a record that is no more.

    When it was first made is kept. What the dataset is published as under another name is its result then.
    """
    gone = {key: fact for key, fact in facts.items() if fact.uri == uri}
    for key in gone:
        ledger.remove(key)
        del facts[key]
    last = gone.get(LAST_RESULT(dataset))
    if isinstance(last, RecordResult):
        results = [fact for fact in facts.values() if isinstance(fact, RecordResult)]
        others = [result for result in results if result.publication.did == last.publication.did]
        if others:
            newest = facts[LAST_RESULT(dataset)] = max(others, key=lambda result: result.at or "")
            ledger.put(LAST_RESULT(dataset), newest)


def _about_entry(record: Record) -> str:
    return f"created {record.value.get('createdAt', 'at an unknown time')}"


def _about_label(label: Record) -> str:
    version = label.value.get("version")
    return f"{label.value.get('name')} {version}" if version else str(label.value.get("name"))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
