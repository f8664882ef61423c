"""What people said of a publication, in the order in which they said it.

Each run that says something is given the next number. A run that finds a higher number than its own was
followed by somebody who knew better, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..atmosphere.metadata import unpack_metadata
from ..errors import MetadataError
from .values import Values, from_metadata, typed

if TYPE_CHECKING:
    from ..protocols import IndexEntry
    from .draft import Publication
    from .ledger import Facts, Ledger

KEPT = 20
"""Sayings that are kept one by one, so that one that is refused can be taken back."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands after everything that was said; ``order`` is the number of the last saying, 0 for none."""

    values: Values
    order: int


class Sayings:
    """What was said of one publication.

    The fact in the ledger holds what stands (``description``, ``tags``, ``license``), the number of the last
    saying (``order``), and what it is made of: ``base``, and ``said`` one after the other.

    Args:
        entry: The entry that is published.
        publication: Of the entry.
        ledger: Of its index.
        defaults: What holds where neither a person nor the metadata say anything.
    """

    def __init__(
        self,
        entry: IndexEntry,
        publication: Publication,
        ledger: Ledger,
        defaults: Values = Values(),  # noqa: B008 - frozen
    ) -> None:
        self._metadata = from_metadata(entry.metadata)
        self._defaults = defaults
        self._scope = f"dataset:{entry.name}"
        self._fact = publication.said_fact
        self._ledger = ledger

    def standing(self) -> Standing:
        """What stands now."""
        return _standing(self._ledger.get(self._scope, self._fact))

    def say(self, values: Values, run: str | None) -> int | None:
        """Put what a run says behind everything said before; its number, or None where it says nothing.

        ``run`` names the run: one that is tried again keeps its number.
        """
        if values == Values():
            return None
        run = run or uuid4().hex

        def change(fact: Facts | None) -> Facts | None:
            base, said = _parts(fact)
            if any(one["run"] == run for one in said):
                return fact
            said.append({"order": _order(base, said) + 1, "run": run, **values.to_json()})
            while len(said) > KEPT:
                base = {**_over(said[0], base).to_json(), "order": said.pop(0)["order"]}
            return _joined(base, said)

        fact = self._ledger.update(self._scope, self._fact, change)
        return next(one["order"] for one in _parts(fact)[1] if one["run"] == run)

    def take_back(self, order: int) -> None:
        """Forget a saying: what was refused was not said."""

        def change(fact: Facts | None) -> Facts | None:
            base, said = _parts(fact)
            return _joined(base, [one for one in said if one["order"] != order])

        self._ledger.update(self._scope, self._fact, change)

    def recover(self, published: Mapping[str, Any]) -> None:
        """Learn what was said before the ledger was lost, from the record: it is the best witness.

        What the metadata in the record gives was not said; the entry may have other metadata by now.
        """
        before = typed(Values.from_json(published), self._given(published).over(self._defaults))
        if before == Values():
            return

        def change(fact: Facts | None) -> Facts | None:
            base, said = _parts(fact)
            return fact if Values.from_json(base) != Values() else _joined({**base, **before.to_json()}, said)

        self._ledger.update(self._scope, self._fact, change)

    def _given(self, published: Mapping[str, Any]) -> Values:
        try:
            return from_metadata(unpack_metadata(published.get("metadata")))
        except MetadataError:
            return self._metadata


def _standing(fact: Facts | None) -> Standing:
    fact = fact or {}
    return Standing(Values.from_json(fact), order_of(fact))


def order_of(fact: Facts | None) -> int:
    """The number of the last saying that a fact holds, 0 for none."""
    return (fact or {}).get("order", 0)


def _parts(fact: Facts | None) -> tuple[Facts, list[Facts]]:
    """What was said long ago as one, and the sayings since."""
    fact = fact or {}
    base = fact.get("base")
    if base is None:
        base = {**Values.from_json(fact).to_json(), "order": fact.get("order", 0)}
    return base, list(fact.get("said", ()))


def _order(base: Facts, said: list[Facts]) -> int:
    return (said[-1] if said else base)["order"]


def _over(later: Facts, earlier: Facts) -> Values:
    return Values.from_json(later).over(Values.from_json(earlier))


def _joined(base: Facts, said: list[Facts]) -> Facts:
    values = Values.from_json(base)
    for one in said:
        values = Values.from_json(one).over(values)
    return {**values.to_json(), "order": _order(base, said), "base": base, "said": said}
