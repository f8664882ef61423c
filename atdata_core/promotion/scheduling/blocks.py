"""Datasets that only a person may promote again: their records were retracted, or deleted by hand.

What a retraction of a name took is noted, too, so that one that is run again takes nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import BlockedError
from ...state.facts import BLOCK, RETRACTED, Block

if TYPE_CHECKING:
    from ...state.ledger import Ledger
    from ..inventory import Publication
    from ..options import PromotionOptions


def block_of(ledger: Ledger, dataset: str, did: str) -> Block | None:
    """Why a dataset is blocked for an account, or None."""
    block = ledger.get(BLOCK(dataset))
    return block if block is not None and block.did == did else None


def refuse_blocked(ledger: Ledger, dataset: str, did: str, options: PromotionOptions) -> None:
    """Raises ``BlockedError`` where a dataset is blocked, and no person asked."""
    block = None if options.restore else block_of(ledger, dataset, did)
    if block is not None:
        raise BlockedError(
            f"Dataset {dataset!r} is blocked: {block.reason}. Promote it yourself to publish it again.",
            name=dataset,
            reason=block.reason,
        )


def end_block(ledger: Ledger, dataset: str, did: str, options: PromotionOptions) -> None:
    """A promotion that a person asked for begins, so the dataset is blocked no more.

    Sensor and schedules publish a dataset under its own name, so a promotion under a name that is neither that
    one nor the one that is blocked leaves the block as it is.
    """
    block = block_of(ledger, dataset, did) if options.restore else None
    if block is not None and (options.name or dataset) in (dataset, block.name):
        ledger.remove(BLOCK(dataset))


def block_deleted(ledger: Ledger, dataset: str, publication: Publication, uri: str) -> None:
    """Note that a record was deleted elsewhere, so that sensor and schedules leave it."""
    block = Block("gone", f"{uri} was deleted elsewhere", publication.did, publication.name)
    ledger.put(BLOCK(dataset), block)


def retracted(ledger: Ledger, did: str, name: str) -> str | None:
    """At-uri of the entry that the last retraction of a name takes or took; None once it is published again."""
    fact = ledger.get(RETRACTED(did, name))
    return fact.entry if fact is not None else None


def forget_retraction(ledger: Ledger, did: str, name: str) -> None:
    """Note that a name is published again."""
    ledger.remove(RETRACTED(did, name))
