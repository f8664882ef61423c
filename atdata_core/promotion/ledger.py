"""What has been promised and done: results of stages, explicit values, creation times.

The ledger saves requests and lets a stage run alone; that a dataset is published once never depends on
it, because record keys come from identity. It lies in Redis, beside the index; an index of another kind
brings its own as an attribute ``ledger``.
"""

from __future__ import annotations

import json
from typing import Any, Protocol, cast, runtime_checkable

from ..local.connection import reaching

Facts = dict[str, Any]


@runtime_checkable
class Ledger(Protocol):
    """Facts (JSON objects) by scope and name. Scopes: ``dataset:NAME``, ``entry:CID``, ``account:DID``."""

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        ...

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        ...

    def put(self, scope: str, fact: str, value: Facts) -> None:
        """Keep a fact; the last one stands."""
        ...

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands."""
        ...


class MemoryLedger:
    """A ledger for one process, where an index has none."""

    def __init__(self) -> None:
        self._facts: dict[str, dict[str, Facts]] = {}

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        return self._facts.get(scope, {}).get(fact)

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        return dict(self._facts.get(scope, {}))

    def put(self, scope: str, fact: str, value: Facts) -> None:
        """Keep a fact; the last one stands."""
        self._facts.setdefault(scope, {})[fact] = value

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands."""
        return self._facts.setdefault(scope, {}).setdefault(fact, value)


class RedisLedger:
    """The ledger in Redis: a hash ``atdata:ledger:{scope}``, a field per fact, JSON inside."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    @staticmethod
    def _key(scope: str) -> str:
        return f"atdata:ledger:{scope}"

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        with reaching(self._redis):
            raw = self._redis.hget(self._key(scope), fact)
        return None if raw is None else json.loads(raw)

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        with reaching(self._redis):
            raw = cast(dict[bytes, bytes], self._redis.hgetall(self._key(scope)))
        return {field.decode(): json.loads(value) for field, value in raw.items()}

    def put(self, scope: str, fact: str, value: Facts) -> None:
        """Keep a fact; the last one stands."""
        with reaching(self._redis):
            self._redis.hset(self._key(scope), fact, json.dumps(value))

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands."""
        with reaching(self._redis):
            kept = self._redis.hsetnx(self._key(scope), fact, json.dumps(value))
        return value if kept else self.get(scope, fact) or value


class DryLedger(MemoryLedger):
    """Reads from another ledger and keeps what is written to itself: for looking ahead."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        own = super().get(scope, fact)
        return self._ledger.get(scope, fact) if own is None else own

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        return {**self._ledger.get_all(scope), **super().get_all(scope)}

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands."""
        return self.get(scope, fact) or super().put_first(scope, fact, value)


def ledger_of(index: Any) -> Ledger:
    """The ledger that belongs to an index: its own, else one in its Redis, else one in memory."""
    own = getattr(index, "ledger", None)
    if isinstance(own, Ledger):
        return own
    redis = getattr(index, "redis", None)
    return MemoryLedger() if redis is None else RedisLedger(redis)
