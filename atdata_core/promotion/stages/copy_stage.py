"""Stage 3, ``copied_shards``: the shards as they will be published, and how it is known that they lie there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from ...common.byte_progress import Progress
from ...common.concurrency import concurrently
from ...protocols import ClaimKeeper, ShardFacts
from ...samples.schema import fields_digest
from ...state.facts import COPIES, COPIES_AT, FIRST_CLAIM, CopiedShards, FirstClaim, Inventory
from ...state.index_state import state_of
from ...stores.data_store import DataStore
from ..copies import chunks
from ..copies.chunks import Chunk
from ..copies.copier import Copying, CopyResult, copied, find, nothing_at
from ..copies.layout import claim_of, folder_of, names_of
from ..copies.repack import rewrite, still_there
from ..copies.sent import SentCopies
from ..copies.sources import Sources
from ..copies.usage import in_use
from ..inventory import cid_of, shard_urls
from ..records.summary import changed_shards, changed_value, short_cid
from .inventory_stage import recall_inventory

if TYPE_CHECKING:
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.ledger import Ledger

HERE = "where they are"
"""The destination of shards that are not copied, for people."""


def copy_shards(
    entry: IndexEntry,
    inventory: Inventory,
    index: AbstractIndex,
    ledger: Ledger,
    *,
    data_store: DataStore | None = None,
    published: CopiedShards | None = None,
    progress: Progress | None = None,
    run: str | None = None,
) -> CopiedShards:
    """Bring the shards to where they will be published; without a store they stay.

    ``published`` are copies that were made before and stay published; nothing is written then.

    Copies are byte-identical and lie in ``layout.FOLDER`` below the store's prefix.
    What lies there already is not sent again, and what a rival is sending is waited for. A store that only has
    ``write_shards`` gets that, and its shards are read back. No retraction removes them from then on, until
    ``publish_record`` has named them for the same ``run``.

    Raises:
        ShardChangedError: The source's bytes are not those of the inventory.
        ShardConflictError: Something else lies at the destination; it is left alone.
        StorageError, SampleError: What a plain store wrote is not what the entry holds, or cannot be published.
    """
    stay = data_store is None and published is None
    with nullcontext() if stay else in_use(ledger, state_of(index).leases, inventory.cid, run):
        if published is not None:
            result = published
        elif data_store is not None:
            result = _copied(entry, inventory, index, ledger, data_store, progress, run)
        else:
            claim = claim_of(inventory.shards)
            result = CopiedShards(inventory.cid, claim, None, inventory.shards, inventory.looks)
    before = ledger.exchange(COPIES(inventory.name), result)
    return result if before is None else replace(result, changed=_changes(before, result))


def chunks_to_copy(inventory: Inventory, ledger: Ledger, data_store: DataStore | None) -> list[Chunk]:
    """Parts that several workers should copy before ``copy_shards`` sees all; none where it does all by itself.

    That is so for a dataset that is not large, for one whose copies are known, and for shards that stay or are
    written anew.
    """
    if data_store is None or not data_store.takes_copies:
        return []
    if earlier_copies(inventory, data_store, ledger) is not None:
        return []
    return chunks.chunks_of(inventory)


def copy_chunk(
    entry: IndexEntry,
    inventory: Inventory,
    index: AbstractIndex,
    ledger: Ledger,
    chunk: Chunk,
    *,
    data_store: DataStore,
    progress: Progress | None = None,
    run: str | None = None,
) -> int:
    """Bring some of the shards to where ``copy_shards`` will look for them; how many had to be written.

    Raises as ``copy_shards``. Done again, also after it was broken off, it writes what is missing.
    """
    part = slice(chunk.start, chunk.stop)
    with in_use(ledger, state_of(index).leases, inventory.cid, run):
        copying = _copying(entry, inventory, index, ledger, data_store)
        destination = data_store.destination
        known = chunks.noted(inventory, destination, ledger, run)[part]
        names = names_of(inventory, ledger, data_store)[part]
        copies = _with_noted(copying.all(inventory.shards[part], names, known, progress), known)
        chunks.note(inventory, chunk, destination, copies, ledger, run)
    return sum(1 for copy in copies if copy.written)


def _copying(
    entry: IndexEntry, inventory: Inventory, index: AbstractIndex, ledger: Ledger, data_store: DataStore
) -> Copying:
    ledger.put_first(FIRST_CLAIM(inventory.cid), FirstClaim(claim_of(inventory.shards)))
    sources = _sources(entry, inventory, index, data_store)
    return Copying(sources, data_store, state_of(index).leases, SentCopies(inventory.cid, data_store, ledger))


def _sources(entry: IndexEntry, inventory: Inventory, index: AbstractIndex, data_store: DataStore) -> Sources:
    claims = index.shard_claims(inventory.cid) if isinstance(index, ClaimKeeper) else {}
    return Sources(entry, index, data_store, claims or {s.url: s for s in inventory.shards})


def send_again(
    entry: IndexEntry, copies: CopiedShards, number: int, data_store: DataStore, index: AbstractIndex
) -> None:
    """Send a copy anew, which was dropped before a record named it; raises as ``copy_shards``."""
    url, copy = shard_urls(entry)[number], copies.shards[number]
    claims = index.shard_claims(copies.cid) if isinstance(index, ClaimKeeper) else {}
    with Sources(entry, index, data_store, claims).open_shard(url) as stream:
        data_store.send_shard(data_store.copy_name("", copy), stream, copy)


def _with_noted(copies: Sequence[CopyResult], noted: Sequence[CopyResult | None]) -> list[CopyResult]:
    """Copies that were found, with what this run has written of them before."""
    return [
        copy if before is None or copy.written else copy._replace(written=before.written)
        for copy, before in zip(copies, noted, strict=True)
    ]


def _copied(
    entry: IndexEntry,
    inventory: Inventory,
    index: AbstractIndex,
    ledger: Ledger,
    data_store: DataStore,
    progress: Progress | None,
    run: str | None,
) -> CopiedShards:
    claim, destination = claim_of(inventory.shards), data_store.destination
    if data_store.takes_copies:
        copying = _copying(entry, inventory, index, ledger, data_store)
        noted = chunks.noted(inventory, destination, ledger, run)
        earlier = _known(inventory, data_store, ledger)
        known = [mine or before for mine, before in zip(noted, earlier, strict=True)]
        copies = copying.all(inventory.shards, names_of(inventory, ledger, data_store), known, progress)
        copies = _with_noted(copies, noted)
        result = CopiedShards(
            inventory.cid,
            claim,
            destination,
            tuple(copy.shard for copy in copies),
            tuple(copy.proof for copy in copies),
            copied=sum(1 for copy in copies if copy.written),
            bytes_written=sum(copy.written for copy in copies),
        )
    else:
        ledger.put_first(FIRST_CLAIM(inventory.cid), FirstClaim(claim))
        earlier = earlier_copies(inventory, data_store, ledger)
        if earlier is not None and still_there(earlier.shards, data_store, inventory):
            shards = tuple(replace(shard, schema=fields_digest(inventory.schema)) for shard in earlier.shards)
            result = replace(earlier, shards=shards, copied=0, bytes_written=0)
        else:
            sources = _sources(entry, inventory, index, data_store)
            written = tuple(rewrite(inventory, sources, data_store, folder_of(inventory, ledger)))
            proofs, size = ("read back",) * len(written), sum(shard.size for shard in written)
            result = CopiedShards(inventory.cid, claim, destination, written, proofs, len(written), size)
    ledger.put(COPIES_AT(inventory.cid, destination), result)
    chunks.forget(inventory, destination, ledger)
    SentCopies(inventory.cid, data_store, ledger).forget(inventory.shards)
    return result


def recall_copies(
    entry: IndexEntry,
    index: AbstractIndex,
    ledger: Ledger,
    destination: str | None = None,
    *,
    exact: bool = True,
) -> CopiedShards | None:
    """The copies that the ledger has for this entry, destination and code; None where it has none.

    Nor where there is no inventory of the schema that the index has now, or it has found other bytes since.
    ``destination`` is None for shards that stay; ``exact`` copies hold the very bytes of the shards.
    """
    kept = ledger.get(COPIES(entry.name))
    if kept is None or (kept.cid, kept.destination, kept.accepted) != (cid_of(entry), destination, None):
        return None
    inventory = recall_inventory(entry, index, ledger)
    copies = None if inventory is None else _if_current(kept, inventory, exact=exact)
    if inventory is None or copies is None:
        return None
    checked_by = fields_digest(inventory.schema)
    return copies if all(shard.schema == checked_by for shard in copies.shards) else None


def earlier_copies(inventory: Inventory, data_store: DataStore, ledger: Ledger) -> CopiedShards | None:
    """Copies of the same entry at the same place, made under whatever name, as the ledger knows them."""
    return earlier_copies_at(data_store.destination, inventory, ledger, exact=data_store.takes_copies)


def earlier_copies_at(
    destination: str, inventory: Inventory, ledger: Ledger, *, exact: bool
) -> CopiedShards | None:
    """As ``earlier_copies``, for the name of a destination; ``exact`` copies hold the very bytes of the shards."""
    kept = ledger.get(COPIES_AT(inventory.cid, destination))
    return None if kept is None else _if_current(kept, inventory, exact=exact)


def _if_current(kept: CopiedShards, inventory: Inventory, *, exact: bool) -> CopiedShards | None:
    """The copies that were kept, if they are of what the inventory has found; else None."""
    if kept.code_version != CopiedShards.CODE_VERSION or kept.claim != claim_of(inventory.shards):
        return None
    copied, own = ([(shard.size, shard.sha256) for shard in shards] for shards in (kept.shards, inventory.shards))
    return None if exact and copied != own else kept


def _changes(before: CopiedShards, now: CopiedShards) -> tuple[str, ...]:
    return (
        *changed_value("entry", short_cid(before.cid), short_cid(now.cid)),
        *changed_value("destination", before.destination or HERE, now.destination or HERE),
        *changed_shards(before.shards, now.shards),
    )


def find_copies(inventory: Inventory, store: DataStore, ledger: Ledger) -> list[ShardFacts | None]:
    """For each shard of an entry its copy in a store, as it would be published; None where there is none.

    Raises:
        ShardConflictError: Something else lies at a copy's place.
        ShardMissingError: There is no such bucket.
    """
    shards, known = inventory.shards, _known(inventory, store, ledger)
    names = names_of(inventory, ledger, store)
    # Who can say that a folder is empty has found its bucket.
    if not any(known) and nothing_at(store, names):
        return [None] * len(names)
    first = find(store, shards[0], names[0], known[0])
    if first is None:
        store.require_place()
    others = zip(shards[1:], names[1:], known[1:], strict=True)
    found = [first, *concurrently(lambda row: find(store, *row), others)]
    return [None if copy is None else copy.shard for copy in found]


def _known(inventory: Inventory, store: DataStore, ledger: Ledger) -> list[CopyResult | None]:
    """For each shard the copy that the ledger has of it."""
    earlier = earlier_copies(inventory, store, ledger)
    if earlier is None:
        notes = SentCopies(inventory.cid, store, ledger).of(inventory.shards)
        pairs = zip(inventory.shards, notes, strict=True)
        return [None if sent is None else copied(shard, store, sent, written=0) for shard, sent in pairs]
    return [CopyResult(shard, proof, 0) for shard, proof in zip(earlier.shards, earlier.proofs, strict=True)]
