"""Which claims an account has checked: what its promotions have read, they need not read again on any machine.

What stands in the ledger counts as the account's own word, so that machines without a common state folder read a
shard once between them. Who may write the ledger's keys can vouch for a claim: docs/deployment.md tells how Redis
keeps that to those who promote.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...protocols import ShardFacts
from ...state.facts import CHECKED_CLAIMS, CheckedClaims

if TYPE_CHECKING:
    from ...state.ledger import Ledger


def were_checked(cid: str, claims: Sequence[ShardFacts], did: str, ledger: Ledger) -> bool:
    """Whether the account has checked these very claims on all shards of an entry, in order."""
    kept = ledger.get(CHECKED_CLAIMS(cid, did))
    return kept is not None and kept.claims == _digest(claims)


def note_checked(cid: str, claims: Sequence[ShardFacts], did: str, ledger: Ledger) -> None:
    """Keep that the account has checked them."""
    ledger.put(CHECKED_CLAIMS(cid, did), CheckedClaims(_digest(claims)))


def _digest(claims: Sequence[ShardFacts]) -> str:
    rows = [[each.url, each.sha256, each.size, each.etag, each.samples, each.schema] for each in claims]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()
