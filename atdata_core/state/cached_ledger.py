"""The ledger for a bulk: the facts of many datasets are read in one go, and written in one go.

In between it answers from memory, so that the code of one promotion works for many without a round trip for each
of its questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .ledger import Fact, Key, Ledger, Place, Swap, decode, encode, scope_of, stamped

F = TypeVar("F", bound=Fact)
_Change = Callable[[bytes | None], bytes | None]


@dataclass(slots=True)
class _Scope:
    """A scope as it was read, and what has been done to it since."""

    read: dict[str, bytes]
    changes: list[tuple[str, _Change]] = field(default_factory=list[tuple[str, _Change]])
    changed: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    """How what was changed shall stand."""
    swapped: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """What a swap has said to stand."""

    def text(self, name: str) -> bytes | None:
        return self.changed[name] if name in self.changed else self.read.get(name)

    def change(self, name: str, change: _Change) -> None:
        self.changed[name] = change(self.text(name))
        self.changes.append((name, change))


class CachedLedger(Ledger):
    """A ledger that answers from memory for the datasets that were prefetched.

    ``flush`` writes what was changed; a dataset of which somebody else has changed a fact meanwhile is read again,
    and the changes are made to what stands there now. Not for several threads.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._scopes: dict[str, _Scope] = {}
        self._blind: dict[str, dict[str, bytes | None]] = {}
        """What is to be written in scopes that were not prefetched."""

    def prefetch(self, datasets: Iterable[str]) -> None:
        """Read datasets, also those that were read before; what was changed in them and not written stays."""
        self._read([scope_of("dataset", name) for name in dict.fromkeys(datasets)])

    def _read(self, wanted: Sequence[str]) -> None:
        for name, texts in zip(wanted, self._ledger.fetch_scopes(wanted), strict=True):
            known = self._scopes.get(name)
            scope = self._scopes[name] = _Scope(texts)
            if known is not None:
                for fact, change in known.changes:
                    scope.change(fact, change)
                scope.swapped = {fact: text for fact, text in known.swapped.items() if scope.text(fact) == text}

    def flush(self) -> set[str]:
        """Write what was changed.

        Returns:
            Datasets in which another one came first with a fact that ``put_first`` had said to stand.
        """
        overtaken: set[str] = set()
        while (changed := {name: scope for name, scope in self._scopes.items() if scope.changes}) or self._blind:
            swaps: list[Swap] = [
                (name, {fact: (scope.read.get(fact), text) for fact, text in scope.changed.items()})
                for name, scope in changed.items()
            ]
            made = self._ledger.commit(swaps, self._blind)
            self._blind = {}
            for (name, scope), done in zip(changed.items(), made, strict=True):
                if done:
                    texts = {**scope.read, **scope.changed}
                    self._scopes[name] = _Scope({fact: text for fact, text in texts.items() if text is not None})
            lost = [name for name, done in zip(changed, made, strict=True) if not done]
            self._read(lost)
            behind = (name for name in lost if self._scopes[name].swapped != changed[name].swapped)
            overtaken |= {name.partition(":")[2] for name in behind}
        return overtaken

    def update(self, key: Key[F], change: Callable[[F | None], F | None]) -> F | None:
        """Change a fact; the fact that stands, if nobody else changes it until ``flush``."""
        known = self._scopes.get(key.scope)
        if known is None:
            return self._ledger.update(key, change)

        after: F | None = None

        def changing(before: bytes | None) -> bytes | None:
            nonlocal after
            wanted = change(decode(key, before))
            after = None if wanted is None else stamped(wanted)
            return None if after is None else encode(after)

        known.change(key.name, changing)
        return after

    # -- where the texts of facts lie -----------------------------------------------------------------

    def fetch(self, places: Sequence[Place]) -> list[bytes | None]:
        """The texts at some places; None where there is none."""
        asked = [(scope, name) for scope, name in places if not self._has(scope, name)]
        found = dict(zip(asked, self._ledger.fetch(asked), strict=True)) if asked else {}
        return [found[place] if place in found else self._text(*place) for place in places]

    def fetch_scopes(self, scopes: Sequence[str]) -> list[dict[str, bytes]]:
        """All texts of some scopes, by the names of the facts."""
        self.flush()
        return self._ledger.fetch_scopes(scopes)

    def commit(self, swaps: Sequence[Swap], blind: Mapping[str, Mapping[str, bytes | None]]) -> list[bool]:
        """Change texts of many scopes; what is swapped stands if nobody comes first until ``flush``."""
        made = [self._swap(scope, facts) for scope, facts in swaps]
        for scope, texts in blind.items():
            known = self._scopes.get(scope)
            if known is None:
                self._blind.setdefault(scope, {}).update(texts)
                continue
            for name, text in texts.items():
                known.change(name, _always(text))
        return made

    def swap_in(self, place: Place, text: bytes, others: Mapping[Place, bytes]) -> bytes | None:
        """Keep a text, and others with it; the one that stood before."""
        [before] = self.fetch([place])
        for (scope, name), each in {place: text, **others}.items():
            self.commit([], {scope: {name: each}})
        return before

    def scopes(self, start: str) -> list[str]:
        """The scopes that begin so."""
        self.flush()
        return self._ledger.scopes(start)

    def _has(self, scope: str, name: str) -> bool:
        return scope in self._scopes or name in self._blind.get(scope, ())

    def _text(self, scope: str, name: str) -> bytes | None:
        known = self._scopes.get(scope)
        return self._blind[scope][name] if known is None else known.text(name)

    def _swap(self, scope: str, facts: Mapping[str, tuple[bytes | None, bytes | None]]) -> bool:
        known = self._scopes.get(scope)
        if known is None:
            return self._ledger.commit([(scope, dict(facts))], {})[0]
        if any(known.text(name) != read for name, (read, _) in facts.items()):
            return False
        for name, (read, text) in facts.items():
            known.change(name, _where(read, text))
            if text is not None:
                known.swapped[name] = text
        return True


def _always(text: bytes | None) -> _Change:
    return lambda _: text


def _where(read: bytes | None, text: bytes | None) -> _Change:
    return lambda standing: text if standing == read else standing
