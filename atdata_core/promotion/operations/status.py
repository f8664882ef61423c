"""How far each dataset is, as the ledger knows it: nothing is asked of S3 or the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ...common.names import near
from ...errors import AtdataError, EntryNotFoundError, ServiceError
from ..inventory import cid_of
from ..overrides import overrides_of
from ..publication import Publication
from ..scheduling.due import ACCEPTED, due, failure_concerns

if TYPE_CHECKING:
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.ledger import Facts, Ledger
    from ...stores.data_store import DataStore

STAGES = {
    "local_dataset": "inventory",
    "published_schema": "schema",
    "copied_shards": "copy",
    "atmosphere_record": "record",
}
"""The stages in order, each with the fact in the ledger that holds its last result."""


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
        state: ``published``; ``promote`` (it is to be promoted), ``waiting`` (its schema is missing), ``held``
            (only a person may promote it), ``left alone`` (its metadata say so), ``failed`` (the last attempt did),
            ``given up`` (so often that only a person tries it), ``paused`` (nothing of the account can be
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
        readers: Who could read the shards when they were last published: ``all``, or how many strangers cannot.
        records: At-uris of all its entry records, by published name and entry CID.
        labels: At-uris of its labels, by published name; "" for one that stands for a version.
        hold: Why only a person may promote it: ``kind``, ``reason``, ``name``, ``at``.
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
    hold: Mapping[str, Any] | None = None
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
        if f"dataset:{entry}" in ledger.scopes("dataset"):
            return _status(entry, None, index, ledger, did, store)
        names = {known.name for known in index.list_datasets()} | _known(ledger)
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
    for name in sorted(entries.keys() | _known(ledger)):
        yield _status(name, entries.get(name), index, ledger, did, store_of(name))


def _known(ledger: Ledger) -> set[str]:
    return {scope.removeprefix("dataset:") for scope in ledger.scopes("dataset")}


def _status(
    name: str,
    entry: IndexEntry | None,
    index: AbstractIndex,
    ledger: Ledger,
    did: str | None,
    store: DataStore | None,
) -> Status:
    facts = ledger.get_all(f"dataset:{name}")
    last = facts.get("record")
    publication = Publication(**last["publication"]) if last else None
    did = did or (publication.did if publication else None)
    if publication is not None and publication.did != did:
        last, publication = None, None
    hold = facts.get("hold")
    hold = hold if hold is not None and hold.get("did") == did else None
    failure = facts.get("failure")
    state, reason, again = _state(entry, index, ledger, did, store, hold, failure, last)
    cid = cid_of(entry) if entry is not None else publication.cid if publication else None
    steps = tuple(_steps(facts, last, cid))
    done = {step.stage for step in steps if step.current}
    sizes: list[Facts] = facts.get("inventory", {}).get("shards", [])
    counts = [shard.get("samples") for shard in sizes]
    return Status(
        name,
        state,
        reason,
        uri=last["uri"] if last else None,
        steps=steps,
        missing=() if "atmosphere_record" in done else tuple(stage for stage in STAGES if stage not in done),
        attempts=(failure or {}).get("attempts", 0),
        shards=len(sizes) or None,
        size=sum(shard["size"] for shard in sizes) if sizes else None,
        samples=sum(count or 0 for count in counts) if counts and None not in counts else None,
        values=overrides_of(facts.get(publication.overrides_fact)).to_json() if publication else None,
        place=_place(last),
        readers=last.get("readers") if last else None,
        records=tuple(_records(facts, did)),
        labels=tuple(_labels(facts, did)),
        hold=hold,
        failure=failure,
        again=again,
    )


def _state(
    entry: IndexEntry | None,
    index: AbstractIndex,
    ledger: Ledger,
    did: str | None,
    store: DataStore | None,
    hold: Facts | None,
    failure: Facts | None,
    last: Facts | None,
) -> tuple[str, str, str | None]:
    if entry is None:
        return "removed", "is not in the index any more; what was published of it stays", None
    if hold is not None:
        return "held", hold["reason"], None
    if did is None:
        return "unknown", "the account is not known", None
    try:
        found = due(entry, index, ledger, did, store)
    except ServiceError:
        raise
    except AtdataError as error:
        return "refused", error.message, None
    # What failed before the last promotion is over, and so is what failed of other data.
    lately = failure_concerns(failure, entry, last)
    if failure is not None and lately and found.state in ("promote", "published"):
        return "failed", f"{failure['stage']}: {failure['reason']}", None
    return found.state, found.reason, found.again


def _place(last: Facts | None) -> str | None:
    shard: Facts = (last or {}).get("shard") or {}
    return shard.get("url")


def _steps(facts: Mapping[str, Facts], last: Facts | None, cid: str | None) -> Iterator[Step]:
    for stage, name in STAGES.items():
        fact = last if name == "record" else facts.get(name)
        if fact is None:
            continue
        behind = "of an earlier entry" if _entry_cid(name, fact) != cid else ""
        if not behind and ACCEPTED in fact:
            behind = "of earlier bytes"
        yield Step(stage, fact.get("at"), _result(name, fact), not behind, behind)


def _entry_cid(name: str, fact: Facts) -> str:
    """The entry that a stage's result was made for."""
    if name == "record":
        return fact["publication"]["cid"]
    return fact["entry_cid" if name == "schema" else "cid"]


def _result(name: str, fact: Facts) -> str:
    if name == "inventory":
        return f"{len(fact['shards'])} shards, {sum(shard['size'] for shard in fact['shards']):,} bytes"
    if name == "schema":
        return str(fact["uri"])
    if name == "copy":
        if fact["destination"] is None:
            return "shards stay where they are"
        return f"{len(fact['shards'])} shards at {fact['destination']}"
    return f"{fact['change']} {fact['uri']}"


def _records(facts: Mapping[str, Facts], did: str | None) -> Iterator[tuple[str, str, str]]:
    """Published name, entry CID and at-uri of each record of the account."""
    start = f"record:{did}:"
    for key in sorted(facts):
        if did is not None and key.startswith(start):
            name, _, cid = key.removeprefix(start).rpartition(":")
            yield name, cid, facts[key]["uri"]


def _labels(facts: Mapping[str, Facts], did: str | None) -> Iterator[tuple[str, str]]:
    """Published name and at-uri of each label of the account; no name for those of versions."""
    for key in sorted(facts):
        uri = facts[key].get("uri", "")
        if did is not None and key.startswith(("label:", "version label:")) and uri.startswith(f"at://{did}/"):
            yield key.removeprefix(f"label:{did}:") if key.startswith("label:") else "", uri
