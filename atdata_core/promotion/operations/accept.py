"""Changed bytes on purpose: what changed in a dataset's shards, and making that the new claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from ...common.byte_progress import Progress
from ...common.concurrency import concurrently
from ...errors import RefusedError, SampleError, ShardError
from ...protocols import ClaimKeeper, ShardFacts
from ...samples.schema import decode, fields_digest
from ...shards.shard_facts import sealed
from ...state.facts import (
    COPIES,
    FIRST_CLAIM,
    INVENTORY,
    RESULTS,
    CopiedShards,
    FirstClaim,
    Inventory,
    RecordResult,
)
from ..copies.layout import claim_of
from ..copies.sources import Sources
from ..inventory import accept_command, cid_of, read_schema, shard_urls
from ..scheduling.retry_policy import reset_attempts
from ..stages.inventory_stage import read_shard

if TYPE_CHECKING:
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.ledger import Key, Ledger

R = TypeVar("R", Inventory, CopiedShards, RecordResult)


@dataclass(frozen=True, slots=True)
class ShardChange:
    """One shard then and now.

    ``claimed`` is None where nothing was recorded; ``found`` where the shard is missing, damaged, unreadable or
    not of the schema, and ``problem`` says which.
    """

    url: str
    claimed: ShardFacts | None
    found: ShardFacts | None
    problem: ShardError | SampleError | None = None

    @property
    def changed(self) -> bool:
        """Whether the shard holds other bytes than were recorded, as far as both are known."""
        return bool(self.claimed and self.found and self.claimed.sha256 != self.found.sha256)


@dataclass(frozen=True, slots=True)
class Changes:
    """All shards of an entry, in order, and the claims that stood when they were read."""

    name: str
    cid: str
    shards: tuple[ShardChange, ...]
    claims: Mapping[str, ShardFacts]

    @property
    def changed(self) -> tuple[ShardChange, ...]:
        """Those that hold other bytes."""
        return tuple(shard for shard in self.shards if shard.changed)

    @property
    def problems(self) -> tuple[ShardChange, ...]:
        """Those that cannot be accepted as they are."""
        return tuple(shard for shard in self.shards if shard.problem is not None)


def changes_of(entry: IndexEntry, index: AbstractIndex, *, progress: Progress | None = None) -> Changes:
    """Read every byte and sample of an entry's shards and hold them to what was recorded; writes nothing.

    Raises:
        NoDataUrlsError, SchemaNotFoundError, SchemaError, StorageError: The entry cannot be promoted at all.
        RefusedError: The index keeps no claims, so none can change.
        ServiceError: A service failed.
    """
    urls, schema, cid = shard_urls(entry), read_schema(entry, index), cid_of(entry)
    sample_type, checked_by = decode(schema), fields_digest(schema)
    claims = _keeper(index).shard_claims(cid)
    sources = Sources(entry, index, None, claims)
    sources.permit(urls)

    def read(url: str) -> ShardChange:
        try:
            found = read_shard(url, sources, sample_type, checked_by, progress)
        except (ShardError, SampleError) as problem:
            return ShardChange(url, claims.get(url), None, problem)
        return ShardChange(url, claims.get(url), found)

    shards: list[ShardChange] = []
    for shard in concurrently(read, urls):
        shards.append(shard)
        if progress:
            progress(len(shards), len(urls))
    return Changes(entry.name, cid, tuple(shards), claims)


def accept(changes: Changes, index: AbstractIndex, ledger: Ledger) -> list[str]:
    """Make what the shards held when they were read the new claim, in one step.

    The entry keeps its CID. What is published stays as it is until the next promotion, and copies that were
    published stay for good.

    Returns:
        The names under which the ledger knows the entry: each has its own record to bring up to date.

    Raises:
        ShardError, SampleError: A shard is missing, damaged, unreadable or not of the schema.
        RefusedError: What is claimed was changed since the changes were looked at.
    """
    for shard in changes.problems:
        assert shard.problem is not None
        raise shard.problem
    new = [sealed(shard.found) for shard in changes.shards if shard.found is not None]
    old = [changes.claims.get(shard.url) for shard in changes.shards]
    if all(old):
        # Copies of what was claimed until now may be published: those of the new claim go elsewhere.
        first = claim_of(shard for shard in old if shard is not None)
        ledger.put_first(FIRST_CLAIM(changes.cid), FirstClaim(first))
    if not _keeper(index).replace_claims(changes.cid, new, standing=changes.claims):
        raise RefusedError(
            f"What is recorded of {changes.name!r} was changed since it was looked at. Look again: "
            f"{accept_command(changes.name)}."
        )
    names = sorted({changes.name, *_forget(changes.cid, ledger, claim_of(new))})
    for name in names:
        # What failed did so with the old bytes.
        reset_attempts(ledger, name)
    return names


def _keeper(index: AbstractIndex) -> ClaimKeeper:
    if not isinstance(index, ClaimKeeper):
        raise RefusedError(
            f"{type(index).__name__} records no digests of shards, so there are none to change. Promote the "
            "dataset as it is."
        )
    return index


def _forget(cid: str, ledger: Ledger, claim: str) -> list[str]:
    """Mark what stages have found of an entry's old bytes; the names they found it under.

    The next time they take the mark for no result, and write over it.
    """
    names: list[str] = []
    for name in ledger.owners("dataset"):
        found = ledger.get_all("dataset", name)
        marked = [_mark(key, result, cid, claim, ledger) for key, result in found.of(INVENTORY)]
        marked += [_mark(key, result, cid, claim, ledger) for key, result in found.of(COPIES)]
        marked += [_mark(key, result, cid, claim, ledger) for key, result in found.of(*RESULTS)]
        if any(marked):
            names.append(name)
    return names


def _mark(key: Key[R], result: R, cid: str, claim: str, ledger: Ledger) -> bool:
    """Mark the result of a stage where it is of the entry; whether it is."""
    if _entry_of(result) != cid:
        return False

    def change(stands: R | None) -> R | None:
        return replace(stands, accepted=claim) if stands is not None and _entry_of(stands) == cid else stands

    ledger.update(key, change)
    return True


def _entry_of(result: Inventory | CopiedShards | RecordResult) -> str:
    """The CID of the entry that the result of a stage is of."""
    return result.publication.cid if isinstance(result, RecordResult) else result.cid
