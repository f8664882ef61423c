"""How far each dataset is, as the ledger knows it: nothing is asked of S3 or the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...common.names import near
from ...common.plurals import number_of
from ...errors import AtdataError, EntryNotFoundError, ServiceError
from ...state.facts import (
    BLOCK,
    COPIES,
    ENTRY_NOTE,
    FAILURE,
    INVENTORY,
    LABEL_NOTE,
    LAST_RESULT,
    OVERRIDES,
    SCHEMA_RESULT,
    VERSION_LABEL_NOTE,
)
from ...state.stage_names import STAGES
from ..inventory import cid_of
from ..overrides import overrides_of
from ..scheduling.due import due
from ..scheduling.retry_policy import failure_concerns

if TYPE_CHECKING:
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.facts import Block, Failure, RecordResult
    from ...state.ledger import Fact, FactMap, Ledger
    from ...stores.data_store import DataStore


@dataclass(frozen=True, slots=True)
class Step:
    """The last result of a stage. ``current``: it is that of the entry that the index has now, and its bytes.

    ``behind``: what it is of where it is not current.
    """

    stage: str
    at: str | None
    result: str
    current: bool
    behind: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """One dataset.

    Attributes:
        name: Its name in the local index.
        state: ``published``; ``due`` (it is to be promoted), ``waiting`` (its schema is missing), ``blocked``
            (only a person may promote it), ``skipped`` (its metadata say so), ``failed`` (the last attempt did),
            ``retries exhausted`` (so often that only a person tries it), ``paused`` (nothing of the account can be
            published), ``refused`` (it cannot be promoted), ``removed`` (the ledger knows it, the index no
            longer), ``unknown`` (no account was given).
        reason: Why, in words for people.
        uri: At-uri of the entry record that was last written or found for it.
        steps: The last result of each stage, in order.
        missing: The stages that its current entry has not been through.
        attempts: Failed attempts since it was last published.
        shards: Number of shards.
        size: Bytes of all shards.
        samples: Samples of all shards, where they are known.
        values: What people said, by field; of the name, where an earlier entry was published under it.
        place: URL of the first shard, as it is published.
        readers: Who could read the shards when they were last published: ``all``, or how many cannot be read.
        records: At-uris of all its entry records, by published name and entry CID.
        labels: At-uris of its labels, by published name; "" for one that stands for a version.
        block: Why only a person may promote it: ``kind``, ``reason``, ``name``, ``at``.
        failure: What went wrong last: ``stage``, ``reason``, ``transient``, ``attempts``, ``at``.
        again: When sensor and schedules may try it again; None where nothing keeps them, or where they never do.
    """

    name: str
    state: str
    reason: str
    uri: str | None = None
    steps: tuple[Step, ...] = ()
    missing: tuple[str, ...] = ()
    attempts: int = 0
    shards: int | None = None
    size: int | None = None
    samples: int | None = None
    values: Mapping[str, Any] | None = None
    place: str | None = None
    readers: str | None = None
    records: tuple[tuple[str, str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    block: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    again: str | None = None

    @property
    def stage(self) -> str | None:
        """The last stage that its current entry has been through."""
        return next((stage for stage in reversed(STAGES) if self._done(stage)), None)

    @property
    def at(self) -> str | None:
        """When anything was last noted of a stage."""
        return max((step.at for step in self.steps if step.at), default=None)

    def to_json(self) -> dict[str, Any]:
        """The status as a JSON object."""
        return {**asdict(self), "stage": self.stage, "at": self.at}

    def _done(self, stage: str) -> bool:
        return any(step.stage == stage and step.current for step in self.steps)


def status_of(
    entry: IndexEntry | str, index: AbstractIndex, ledger: Ledger, did: str | None, store: DataStore | None = None
) -> Status:
    """Say how far a dataset is.

    Args:
        entry: An entry, or the name of a dataset, which may be one that the index no longer has.
        index: The local index.
        ledger: The ledger beside it.
        did: The account; None where it is not known.
        store: Where the pipeline copies shards to; None where it copies none.

    Raises:
        EntryNotFoundError: Neither index nor ledger knows the name.
        ServiceError: Index or ledger does not answer.
    """
    if not isinstance(entry, str):
        return _status(entry.name, entry, index, ledger, did, store)
    try:
        return _status(entry, index.get_dataset(entry), index, ledger, did, store)
    except KeyError:
        known = ledger.owners("dataset")
        if entry in known:
            return _status(entry, None, index, ledger, did, store)
        names = {each.name for each in index.list_datasets()} | {*known}
        raise EntryNotFoundError(
            f"Neither the index nor the ledger knows a dataset {entry!r}.{near(entry, sorted(names))}", ref=entry
        ) from None


def all_statuses(
    index: AbstractIndex, ledger: Ledger, did: str | None, store_of: Callable[[str], Any] = lambda _: None
) -> Iterator[Status]:
    """Every dataset of the index, and every one that the ledger knows, by name; raises ``ServiceError``.

    ``store_of`` gives where the shards of a dataset are copied to, by its name.
    """
    entries = {entry.name: entry for entry in index.list_datasets()}
    for name in sorted({*entries, *ledger.owners("dataset")}):
        yield _status(name, entries.get(name), index, ledger, did, store_of(name))


def _status(
    name: str,
    entry: IndexEntry | None,
    index: AbstractIndex,
    ledger: Ledger,
    did: str | None,
    store: DataStore | None,
) -> Status:
    facts = ledger.get_all("dataset", name)
    last = facts[LAST_RESULT(name)]
    did = did or (last.publication.did if last else None)
    if last is not None and last.publication.did != did:
        last = None
    block, failure, inventory = facts[BLOCK(name)], facts[FAILURE(name)], facts[INVENTORY(name)]
    block = block if block is not None and block.did == did else None
    state, reason, retry_at = _state(entry, index, ledger, did, store, block, failure, last)
    cid = cid_of(entry) if entry is not None else last.publication.cid if last else None
    steps = tuple(_steps(name, facts, last, cid))
    done = {step.stage for step in steps if step.current}
    inventory = inventory if inventory is not None and inventory.shards else None
    return Status(
        name,
        state,
        reason,
        uri=last.uri if last else None,
        steps=steps,
        missing=() if "atmosphere_record" in done else tuple(stage for stage in STAGES if stage not in done),
        attempts=failure.attempts if failure else 0,
        shards=len(inventory.shards) if inventory else None,
        size=inventory.size if inventory else None,
        samples=inventory.samples if inventory else None,
        values=overrides_of(facts[OVERRIDES(name, *last.publication)]).to_json() if last else None,
        place=last.shard["url"] if last else None,
        readers=last.readers if last else None,
        records=tuple(_records(facts, did)),
        labels=tuple(_labels(facts, did)),
        block=block.to_json() if block else None,
        failure=failure.to_json() if failure else None,
        again=retry_at,
    )


def _state(
    entry: IndexEntry | None,
    index: AbstractIndex,
    ledger: Ledger,
    did: str | None,
    store: DataStore | None,
    block: Block | None,
    failure: Failure | None,
    last: RecordResult | None,
) -> tuple[str, str, str | None]:
    if entry is None:
        stays = "nor is it published" if block is not None else "what was published of it stays"
        return "removed", f"the dataset is not in the index any more; {stays}", None
    if block is not None:
        return "blocked", block.reason, None
    if did is None:
        return "unknown", "the account is not known", None
    try:
        decided = due(entry, index, ledger, did, store)
    except ServiceError:
        raise
    except AtdataError as error:
        return "refused", error.message, None
    # What failed before the last promotion is over, and so is what failed of other data.
    if failure is not None and failure_concerns(failure, entry, last) and decided.state in ("due", "published"):
        return "failed", f"{failure.stage}: {failure.reason}", None
    return decided.state, decided.reason, decided.retry_at


def _steps(name: str, facts: FactMap, last: RecordResult | None, cid: str | None) -> Iterator[Step]:
    inventory, schema, copies = facts[INVENTORY(name)], facts[SCHEMA_RESULT(name)], facts[COPIES(name)]

    def step(stage: str, fact: Fact, result: str, of: str, accepted: str | None = None) -> Step:
        behind = "of an earlier entry" if of != cid else "of earlier bytes" if accepted else ""
        return Step(stage, fact.at, result, not behind, behind)

    if inventory is not None:
        size = f"{number_of(len(inventory.shards), 'shard')}, {number_of(inventory.size, 'byte')}"
        yield step("local_dataset", inventory, size, inventory.cid, inventory.accepted)
    if schema is not None:
        yield step("published_schema", schema, schema.uri, schema.entry_cid)
    if copies is not None:
        there = f"{number_of(len(copies.shards), 'shard')} at {copies.destination}"
        there = "shards stay where they are" if copies.destination is None else there
        yield step("copied_shards", copies, there, copies.cid, copies.accepted)
    if last is not None:
        yield step("atmosphere_record", last, f"{last.change} {last.uri}", last.publication.cid, last.accepted)


def _records(facts: FactMap, did: str | None) -> Iterator[tuple[str, str, str]]:
    """Published name, entry CID and at-uri of each record of the account."""
    for key, note in sorted(facts.of(ENTRY_NOTE), key=lambda row: row[0].name):
        account, name, cid = key.parts
        if account == did:
            yield name, cid, note.uri


def _labels(facts: FactMap, did: str | None) -> Iterator[tuple[str, str]]:
    """Published name and at-uri of each label of the account; no name for those of versions."""
    for key, note in sorted(facts.of(LABEL_NOTE, VERSION_LABEL_NOTE), key=lambda row: row[0].name):
        if did is not None and note.uri.startswith(f"at://{did}/"):
            yield key.parts[1] if key.pattern is LABEL_NOTE else "", note.uri
