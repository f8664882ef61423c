"""The ledger for a bulk: the facts of many datasets are read in one go, and written in one go.

In between it answers from memory, so that the code of one promotion works for many without a round trip for each
of its questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from .ledger import Ledger, stamped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .ledger import Change, Facts, Swap


@runtime_checkable
class ScopeLedger(Ledger, Protocol):
    """A ledger that can read and change many scopes at once; what it reads is opaque until it is decoded."""

    def read_scopes(self, scopes: Sequence[str]) -> list[dict[str, bytes]]:
        """All facts of some scopes, not decoded yet."""
        ...

    def decode(self, scope: str, fact: str, raw: bytes | None) -> Facts | None:
        """A fact as it was read."""
        ...

    def encode(self, *values: Facts) -> list[bytes]:
        """Facts as they are written."""
        ...

    def swap_scopes(self, swaps: Sequence[Swap], blind: Mapping[str, Mapping[str, bytes | None]]) -> list[bool]:
        """Change facts: swaps where they are as they were read (whether each was made), ``blind`` in any case."""
        ...


@dataclass(slots=True)
class _Scope:
    """A scope as it was read, and what has been done to it since."""

    raw: dict[str, bytes]
    facts: dict[str, Facts | None] = field(default_factory=dict[str, "Facts | None"])
    changes: list[tuple[str, Change]] = field(default_factory=list[tuple[str, "Change"]])
    firsts: dict[str, Facts] = field(default_factory=dict[str, "Facts"])
    """What ``put_first`` has said to stand."""

    @property
    def touched(self) -> dict[str, Facts | None]:
        """The facts that were changed, as they shall stand."""
        return {fact: self.facts[fact] for fact, _ in self.changes}


class CachedLedger:
    """A ledger that answers from memory for the scopes that were gathered.

    ``flush`` writes what was changed; a scope that somebody else has changed meanwhile is read again, and the
    changes are made to what stands there now. Not for several threads.
    """

    def __init__(self, ledger: ScopeLedger) -> None:
        self._ledger = ledger
        self._scopes: dict[str, _Scope] = {}
        self._blind: dict[str, dict[str, Facts | None]] = {}
        """What is to be written in scopes that were not gathered."""

    def gather(self, scopes: Iterable[str]) -> None:
        """Read scopes, also those that were read before; what was changed in them and not written stays."""
        wanted = list(dict.fromkeys(scopes))
        if not wanted:
            return
        for name, raw in zip(wanted, self._ledger.read_scopes(wanted), strict=True):
            known = self._scopes.get(name)
            scope = self._scopes[name] = _Scope(raw)
            if known is not None:
                for fact, change in known.changes:
                    self._change(name, scope, fact, change)
                firsts = known.firsts.items()
                scope.firsts = {fact: first for fact, first in firsts if scope.facts.get(fact) == first}

    def flush(self) -> set[str]:
        """Write what was changed.

        Returns:
            Scopes in which another one came first with a fact that ``put_first`` had said to stand.
        """
        overtaken: set[str] = set()
        while (changed := [(name, scope) for name, scope in self._scopes.items() if scope.changes]) or self._blind:
            texts = self._texts({name: scope.touched for name, scope in changed})
            swaps: list[Swap] = [
                (name, {fact: (scope.raw.get(fact), text) for fact, text in texts[name].items()})
                for name, scope in changed
            ]
            made = self._ledger.swap_scopes(swaps, self._texts(self._blind))
            self._blind = {}
            again: dict[str, dict[str, Facts]] = {}
            for (name, scope), (_, swap), done in zip(changed, swaps, made, strict=True):
                if not done:
                    again[name] = scope.firsts
                    continue
                scope.raw |= {fact: text for fact, (_, text) in swap.items() if text is not None}
                for fact in [fact for fact, (_, text) in swap.items() if text is None]:
                    scope.raw.pop(fact, None)
                scope.changes.clear()
                scope.firsts = {}
            self.gather(again)
            overtaken |= {name for name, firsts in again.items() if self._scopes[name].firsts != firsts}
        return overtaken

    # -- as any ledger ----------------------------------------------------------------------------

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        known = self._scopes.get(scope)
        if known is not None:
            return self._standing(scope, known, fact)
        blind = self._blind.get(scope, {})
        return blind[fact] if fact in blind else self._ledger.get(scope, fact)

    def get_many(self, wanted: Sequence[tuple[str, str]]) -> list[Facts | None]:
        """Several facts by scope and name; None for one that is not there."""
        return [self.get(scope, fact) for scope, fact in wanted]

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        self.flush()
        return self._ledger.get_all(scope)

    def put(self, scope: str, fact: str, value: Facts) -> None:
        """Keep a fact; the last one stands."""
        known, stamp = self._scopes.get(scope), stamped(value)
        if known is None:
            self._blind.setdefault(scope, {})[fact] = stamp
        else:
            self._change(scope, known, fact, lambda _: stamp)

    def exchange(self, scope: str, fact: str, value: Facts) -> Facts | None:
        """Keep a fact; the one that stood before."""
        before = self.get(scope, fact)
        self.put(scope, fact, value)
        return before

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands, if nobody comes first until ``flush``."""
        known = self._scopes.get(scope)
        if known is None:
            return self._ledger.put_first(scope, fact, value)
        standing = self._standing(scope, known, fact)
        if standing is not None:
            return standing
        first = stamped(value)
        self._change(scope, known, fact, lambda standing: standing or first)
        known.firsts[fact] = first
        return first

    def update(self, scope: str, fact: str, change: Change) -> Facts | None:
        """Change a fact; the fact that stands, if nobody else changes it until ``flush``."""
        known = self._scopes.get(scope)
        if known is None:
            return self._ledger.update(scope, fact, change)

        def stamping(standing: Facts | None) -> Facts | None:
            wanted = change(standing)
            return None if wanted is None else stamped(wanted)

        return self._change(scope, known, fact, stamping)

    def remove(self, scope: str, fact: str) -> None:
        """Forget a fact; one that is not there is no error."""
        known = self._scopes.get(scope)
        if known is None:
            self._blind.setdefault(scope, {})[fact] = None
        elif self._standing(scope, known, fact) is not None:
            self._change(scope, known, fact, lambda _: None)

    def scopes(self, kind: str) -> list[str]:
        """The scopes of a kind that hold facts, sorted."""
        self.flush()
        return self._ledger.scopes(kind)

    def _texts(self, scopes: Mapping[str, Mapping[str, Facts | None]]) -> dict[str, dict[str, bytes | None]]:
        """What is to be written, encoded."""
        values = [value for facts in scopes.values() for value in facts.values() if value is not None]
        encoded = iter(self._ledger.encode(*values))
        return {
            name: {fact: None if value is None else next(encoded) for fact, value in facts.items()}
            for name, facts in scopes.items()
        }

    def _standing(self, scope: str, known: _Scope, fact: str) -> Facts | None:
        if fact not in known.facts:
            known.facts[fact] = self._ledger.decode(scope, fact, known.raw.get(fact))
        return known.facts[fact]

    def _change(self, scope: str, known: _Scope, fact: str, change: Change) -> Facts | None:
        known.facts[fact] = after = change(self._standing(scope, known, fact))
        known.changes.append((fact, change))
        return after
