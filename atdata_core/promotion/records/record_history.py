"""Which contents of a record were written from here: how an edit made elsewhere is told from our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...common.cid import record_cid

if TYPE_CHECKING:
    from ...atmosphere.client import Record
    from ...state.ledger import Facts, Ledger

KEPT = 20
"""CIDs that are remembered of a record."""


@dataclass(frozen=True, slots=True)
class RecordHistory:
    """What the ledger knows of one record.

    The fact ``{fact}`` holds ``uri``, ``cid`` and the CIDs ``earlier`` written or adopted; ``created:{fact}`` its
    ``createdAt``. ``intent:{fact}`` holds the CIDs that were about to be written: a process that is killed
    between the commit and its note leaves a record that is known all the same.
    """

    ledger: Ledger
    scope: str
    fact: str

    def last(self) -> Facts | None:
        """The record as it was last noted; None where it is not known to be published."""
        return self.ledger.get(self.scope, self.fact)

    def created_at(self, now: str) -> str:
        """The time at which the record was first made; ``now`` where it is made now."""
        return self.ledger.put_first(self.scope, f"created:{self.fact}", {"at": now})["at"]

    def intend(self, record: dict[str, Any]) -> None:
        """Note what is about to be written."""
        cid = record_cid(record)

        def change(fact: Facts | None) -> Facts:
            return {"cids": _first(cid, (fact or {}).get("cids", []))}

        self.ledger.update(self.scope, f"intent:{self.fact}", change)

    def note(self, record: Record) -> None:
        """Note what was written, or found and taken over."""
        created = record.value.get("createdAt")
        if isinstance(created, str) and self.last() is None:
            self.ledger.put(self.scope, f"created:{self.fact}", {"at": created})

        def change(fact: Facts | None) -> Facts:
            return {"uri": record.uri, "cid": record.cid, "earlier": _first(record.cid, _cids(fact))[1:]}

        self.ledger.update(self.scope, self.fact, change)

    def leads_to(self, cid: str) -> bool:
        """Whether this content comes from here; so it does where the ledger knows nothing of the record."""
        known = _cids(self.last())
        if not known or cid in known:
            return True
        intent = self.ledger.get(self.scope, f"intent:{self.fact}")
        return intent is not None and cid in intent["cids"]


def _cids(fact: Facts | None) -> list[str]:
    """The CIDs that a fact names, the last one first."""
    return [fact["cid"], *fact.get("earlier", [])] if fact and "cid" in fact else []


def _first(cid: str, others: list[str]) -> list[str]:
    return [cid, *(other for other in others if other != cid)][:KEPT]
