"""Parts of a large dataset, each copied by a worker of its own, and what they leave for the stage that sees all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from ...state.facts import CHUNK, ChunkResult
from ...state.ledger import Key, Ledger
from .copier import CopyResult
from .layout import claim_of

if TYPE_CHECKING:
    from ...state.facts import Inventory

SHARDS = 64
BYTES = 8 << 30
"""What one worker copies in minutes: more shards, or bytes, than this are shared out."""

MOST = 200
"""Chunks of one dataset: each is a step that people see."""


class Chunk(NamedTuple):
    """The shards of an entry from ``start`` until before ``stop``, counted from 0."""

    start: int
    stop: int


def chunks_of(inventory: Inventory) -> list[Chunk]:
    """The shards of an inventory shared out, about as many bytes to each; none where one worker copies all."""
    shards, size = inventory.shards, inventory.size
    number = min(max(-(-len(shards) // SHARDS), -(-size // BYTES)), MOST, len(shards))
    if number < 2:
        return []
    before = accumulate((shard.size for shard in shards), initial=0)
    # Where the middle of a shard lies says whose it is; shards of no size are shared out by their number.
    whose = [
        (2 * done + shard.size) * number // (2 * size) if size else place * number // len(shards)
        for place, (done, shard) in enumerate(zip(before, shards, strict=False))
    ]
    cuts = [0, *(place for place in range(1, len(shards)) if whose[place] != whose[place - 1]), len(shards)]
    return [Chunk(start, stop) for start, stop in pairwise(cuts)] if len(cuts) > 2 else []


def note(
    inventory: Inventory,
    chunk: Chunk,
    destination: str,
    copies: Sequence[CopyResult],
    ledger: Ledger,
    run: str | None,
) -> None:
    """Keep where the copies of a chunk lie, and how that is known."""
    result = ChunkResult(
        tuple(copy.shard for copy in copies),
        tuple(copy.proof for copy in copies),
        tuple(copy.written for copy in copies),
        run,
        claim_of(inventory.shards),
    )
    ledger.put(_key(inventory, chunk, destination), result)


def noted(inventory: Inventory, destination: str, ledger: Ledger, run: str | None) -> list[CopyResult | None]:
    """For each shard its copy as a chunk has left it, with the bytes that this run has written; else None."""
    found: list[CopyResult | None] = [None] * len(inventory.shards)
    chunks = chunks_of(inventory)
    if not chunks:
        return found
    claim, keys = claim_of(inventory.shards), [_key(inventory, chunk, destination) for chunk in chunks]
    kept = ledger.get_many(keys)
    for chunk, key in zip(chunks, keys, strict=True):
        result = kept[key]
        if result is None or result.claim != claim:
            continue
        rows = list(zip(result.shards, result.proofs, result.written, strict=False))
        if len(rows) == chunk.stop - chunk.start:
            ours = result.run == run
            copies = [CopyResult(shard, proof, written if ours else 0) for shard, proof, written in rows]
            found[chunk.start : chunk.stop] = copies
    return found


def forget(inventory: Inventory, destination: str, ledger: Ledger) -> None:
    """Remove what chunks have left: the copies of all stand in the result of the stage."""
    for chunk in chunks_of(inventory):
        ledger.remove(_key(inventory, chunk, destination))


def _key(inventory: Inventory, chunk: Chunk, destination: str) -> Key[ChunkResult]:
    return CHUNK(inventory.cid, str(chunk.start), str(chunk.stop), destination)
