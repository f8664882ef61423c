"""What has been promised and done: results of stages, explicit values, creation times.

The ledger saves requests and lets a stage run alone; that a dataset is published once never depends on
it, because record keys come from identity. It lies in Redis, beside the index; an index of another kind
brings its own as an attribute ``ledger``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..common.timestamps import timestamp
from .facts import RECORDS, RESULTS, Fact, Found, Key, Scope

F = TypeVar("F", bound=Fact)


class Ledger(ABC):
    """Facts by their keys, which ``facts`` has. A fact that is kept without ``at`` is given the time."""

    @abstractmethod
    def get(self, key: Key[F]) -> F | None:
        """One fact, or None."""

    @abstractmethod
    def get_many(self, keys: Sequence[Key[Any]]) -> Found:
        """Several facts at once."""

    @abstractmethod
    def get_all(self, scope: Scope, owner: str) -> Found:
        """Every fact of a dataset, an entry or an account."""

    @abstractmethod
    def put(self, key: Key[F], fact: F) -> None:
        """Keep a fact; the last one stands."""

    @abstractmethod
    def exchange(self, key: Key[F], fact: F) -> F | None:
        """Keep a fact as ``put`` does; the one that stood before."""

    @abstractmethod
    def put_first(self, key: Key[F], fact: F) -> F:
        """Keep a fact unless there is one; the fact that stands."""

    @abstractmethod
    def update(self, key: Key[F], change: Callable[[F | None], F | None]) -> F | None:
        """Change a fact in one step, whoever else does at the same time; the fact that stands.

        ``change`` may be called more than once. None stands for no fact.
        """

    @abstractmethod
    def remove(self, key: Key[Any]) -> None:
        """Forget a fact; one that is not there is no error."""

    @abstractmethod
    def owners(self, scope: Scope) -> list[str]:
        """The datasets, entries or accounts of which there are facts, sorted."""


def stamped(fact: F) -> F:
    """A fact with the time at which it was kept."""
    return fact if fact.at is not None else replace(fact, at=timestamp())


class MemoryLedger(Ledger):
    """A ledger for one process, where an index has none."""

    def __init__(self) -> None:
        self._facts: dict[Key[Any], Any] = {}
        self._lock = threading.RLock()

    def get(self, key: Key[F]) -> F | None:
        """One fact, or None."""
        return self._facts.get(key)

    def get_many(self, keys: Sequence[Key[Any]]) -> Found:
        """Several facts at once."""
        return Found({key: self.get(key) for key in keys})

    def get_all(self, scope: Scope, owner: str) -> Found:
        """Every fact of a dataset, an entry or an account."""
        kept = list(self._facts.items())
        return Found({key: fact for key, fact in kept if (key.pattern.scope, key.owner) == (scope, owner)})

    def put(self, key: Key[F], fact: F) -> None:
        """Keep a fact; the last one stands."""
        self._facts[key] = stamped(fact)

    def exchange(self, key: Key[F], fact: F) -> F | None:
        """Keep a fact; the one that stood before."""
        before = self.get(key)
        self.put(key, fact)
        return before

    def put_first(self, key: Key[F], fact: F) -> F:
        """Keep a fact unless there is one; the fact that stands."""
        return self._facts.setdefault(key, stamped(fact))

    def update(self, key: Key[F], change: Callable[[F | None], F | None]) -> F | None:
        """Change a fact in one step; the fact that stands."""
        with self._lock:
            wanted = change(self.get(key))
            if wanted is None:
                self.remove(key)
            else:
                self.put(key, wanted)
            return self.get(key)

    def remove(self, key: Key[Any]) -> None:
        """Forget a fact."""
        self._facts.pop(key, None)

    def owners(self, scope: Scope) -> list[str]:
        """The datasets, entries or accounts of which there are facts, sorted."""
        return sorted({key.owner for key in list(self._facts) if key.pattern.scope == scope})


def published_uris(ledger: Ledger, dataset: str) -> list[str]:
    """At-uris of the records and labels that are known to be published of a dataset, by whatever account."""
    found = ledger.get_all("dataset", dataset)
    return sorted({fact.uri for _, fact in [*found.of(*RECORDS), *found.of(*RESULTS)]})


def published_names(ledger: Ledger, dataset: str) -> list[str]:
    """The names under which a dataset is known to be published, by whatever account."""
    found = ledger.get_all("dataset", dataset)
    return sorted({result.publication.name for _, result in found.of(*RESULTS)})
