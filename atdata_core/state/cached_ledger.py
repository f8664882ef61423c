"""The ledger for a bulk: the facts of many datasets are read in one go, and written in one go.

In between it answers from memory, so that the code of one promotion works for many without a round trip for each
of its questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .facts import Fact, Found, Key, Scope, scope_of
from .ledger import Ledger, stamped
from .redis_ledger import RedisLedger, Swap

F = TypeVar("F", bound=Fact)
_Change = Callable[[Any], Any]


@dataclass(slots=True)
class _Scope:
    """A scope as it was read, and what has been done to it since."""

    raw: dict[str, bytes]
    facts: dict[Key[Any], Any] = field(default_factory=dict[Key[Any], Any])
    changes: list[tuple[Key[Any], _Change]] = field(default_factory=list[tuple[Key[Any], _Change]])
    firsts: dict[Key[Any], Any] = field(default_factory=dict[Key[Any], Any])
    """What ``put_first`` has said to stand."""

    @property
    def touched(self) -> dict[Key[Any], Any]:
        """The facts that were changed, as they shall stand."""
        return {key: self.facts[key] for key, _ in self.changes}


def cached(ledger: Ledger) -> CachedLedger | None:
    """A ledger that answers from memory in front of another one; None where that is as quick itself."""
    return CachedLedger(ledger) if isinstance(ledger, RedisLedger) else None


class CachedLedger(Ledger):
    """A ledger that answers from memory for the datasets that were prefetched.

    ``flush`` writes what was changed; a dataset of which somebody else has changed a fact meanwhile is read again,
    and the changes are made to what stands there now. Not for several threads.
    """

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        self._scopes: dict[str, _Scope] = {}
        self._blind: dict[str, dict[Key[Any], Any]] = {}
        """What is to be written in scopes that were not prefetched."""

    def prefetch(self, datasets: Iterable[str]) -> None:
        """Read datasets, also those that were read before; what was changed in them and not written stays."""
        self._read([scope_of("dataset", name) for name in dict.fromkeys(datasets)])

    def _read(self, wanted: Sequence[str]) -> None:
        if not wanted:
            return
        for name, raw in zip(wanted, self._ledger.read_scopes(wanted), strict=True):
            known = self._scopes.get(name)
            scope = self._scopes[name] = _Scope(raw)
            if known is not None:
                for key, change in known.changes:
                    self._change(scope, key, change)
                firsts = known.firsts.items()
                scope.firsts = {key: first for key, first in firsts if scope.facts.get(key) == first}

    def flush(self) -> set[str]:
        """Write what was changed.

        Returns:
            Datasets in which another one came first with a fact that ``put_first`` had said to stand.
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
            again: dict[str, dict[Key[Any], Any]] = {}
            for (name, scope), (_, swap), done in zip(changed, swaps, made, strict=True):
                if not done:
                    again[name] = scope.firsts
                    continue
                scope.raw |= {fact: text for fact, (_, text) in swap.items() if text is not None}
                for fact in [fact for fact, (_, text) in swap.items() if text is None]:
                    scope.raw.pop(fact, None)
                scope.changes.clear()
                scope.firsts = {}
            self._read([*again])
            for name, firsts in again.items():
                if self._scopes[name].firsts != firsts:
                    overtaken |= {key.owner for key in firsts}
        return overtaken

    # -- as any ledger ----------------------------------------------------------------------------

    def get(self, key: Key[F]) -> F | None:
        """One fact, or None."""
        known = self._scopes.get(key.scope)
        if known is not None:
            return self._standing(known, key)
        blind = self._blind.get(key.scope, {})
        return blind[key] if key in blind else self._ledger.get(key)

    def get_many(self, keys: Sequence[Key[Any]]) -> Found:
        """Several facts at once."""
        return Found({key: self.get(key) for key in keys})

    def get_all(self, scope: Scope, owner: str) -> Found:
        """Every fact of a dataset, an entry or an account."""
        self.flush()
        return self._ledger.get_all(scope, owner)

    def put(self, key: Key[F], fact: F) -> None:
        """Keep a fact; the last one stands."""
        known, stamp = self._scopes.get(key.scope), stamped(fact)
        if known is None:
            self._blind.setdefault(key.scope, {})[key] = stamp
        else:
            self._change(known, key, lambda _: stamp)

    def exchange(self, key: Key[F], fact: F) -> F | None:
        """Keep a fact; the one that stood before."""
        before = self.get(key)
        self.put(key, fact)
        return before

    def put_first(self, key: Key[F], fact: F) -> F:
        """Keep a fact unless there is one; the fact that stands, if nobody comes first until ``flush``."""
        known = self._scopes.get(key.scope)
        if known is None:
            return self._ledger.put_first(key, fact)
        standing = self._standing(known, key)
        if standing is not None:
            return standing
        first = stamped(fact)
        self._change(known, key, lambda standing: standing or first)
        known.firsts[key] = first
        return first

    def update(self, key: Key[F], change: Callable[[F | None], F | None]) -> F | None:
        """Change a fact; the fact that stands, if nobody else changes it until ``flush``."""
        known = self._scopes.get(key.scope)
        if known is None:
            return self._ledger.update(key, change)

        def stamping(standing: F | None) -> F | None:
            wanted = change(standing)
            return None if wanted is None else stamped(wanted)

        return self._change(known, key, stamping)

    def remove(self, key: Key[Any]) -> None:
        """Forget a fact; one that is not there is no error."""
        known = self._scopes.get(key.scope)
        if known is None:
            self._blind.setdefault(key.scope, {})[key] = None
        elif self._standing(known, key) is not None:
            self._change(known, key, lambda _: None)

    def owners(self, scope: Scope) -> list[str]:
        """The datasets, entries or accounts of which there are facts, sorted."""
        self.flush()
        return self._ledger.owners(scope)

    def _texts(self, scopes: Mapping[str, Mapping[Key[Any], Any]]) -> dict[str, dict[str, bytes | None]]:
        """What is to be written, encoded, by the names of the facts."""
        encoded = iter(
            self._ledger.encode(*(fact for facts in scopes.values() for fact in facts.values() if fact is not None))
        )
        return {
            scope: {key.name: None if fact is None else next(encoded) for key, fact in facts.items()}
            for scope, facts in scopes.items()
        }

    def _standing(self, known: _Scope, key: Key[F]) -> F | None:
        if key not in known.facts:
            known.facts[key] = self._ledger.decode(key, known.raw.get(key.name))
        return known.facts[key]

    def _change(self, known: _Scope, key: Key[F], change: Callable[[F | None], F | None]) -> F | None:
        known.facts[key] = after = change(self._standing(known, key))
        known.changes.append((key, change))
        return after
