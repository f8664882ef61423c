"""What has been promised and done: results of stages, explicit values, creation times.

The ledger saves requests and lets a stage run alone; that a dataset is published once never depends on
it, because record keys come from identity. It lies in Redis, beside the index; an index of another kind
brings its own as an attribute ``ledger``.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from ..atmosphere.records import timestamp
from ..local.connection import ask, reaching
from ..masking import holds_secret, masked_data

_logger = logging.getLogger("atdata_core")

Facts = dict[str, Any]
Change = Callable[[Facts | None], Facts | None]
"""From a fact as it stands to the one that shall stand; None stands for no fact."""


@runtime_checkable
class Ledger(Protocol):
    """Facts (JSON objects) by scope and name. Scopes: ``dataset:NAME``, ``entry:CID``, ``account:DID``.

    A fact that is kept without ``at`` is given the time (ISO 8601, UTC).
    """

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        ...

    def get_many(self, wanted: Sequence[tuple[str, str]]) -> list[Facts | None]:
        """Several facts at once, by scope and name; None for one that is not there."""
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

    def update(self, scope: str, fact: str, change: Change) -> Facts | None:
        """Change a fact in one step, whoever else does at the same time; the fact that stands.

        ``change`` may be called more than once.
        """
        ...

    def remove(self, scope: str, fact: str) -> None:
        """Forget a fact; one that is not there is no error."""
        ...

    def scopes(self, kind: str) -> list[str]:
        """The scopes of a kind that hold facts, sorted: ``dataset`` gives ``dataset:a``, ``dataset:b``."""
        ...


def stamped(value: Facts) -> Facts:
    """A fact with the time at which it was kept."""
    return {"at": timestamp(), **value}


class MemoryLedger:
    """A ledger for one process, where an index has none."""

    def __init__(self) -> None:
        self._facts: dict[str, dict[str, Facts]] = {}
        self._lock = threading.RLock()

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        return self._facts.get(scope, {}).get(fact)

    def get_many(self, wanted: Sequence[tuple[str, str]]) -> list[Facts | None]:
        """Several facts by scope and name, None for one that is not there."""
        return [self.get(scope, fact) for scope, fact in wanted]

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        return dict(self._facts.get(scope, {}))

    def put(self, scope: str, fact: str, value: Facts) -> None:
        """Keep a fact; the last one stands."""
        self._facts.setdefault(scope, {})[fact] = stamped(value)

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands."""
        return self._facts.setdefault(scope, {}).setdefault(fact, stamped(value))

    def update(self, scope: str, fact: str, change: Change) -> Facts | None:
        """Change a fact in one step; the fact that stands."""
        with self._lock:
            wanted = change(self.get(scope, fact))
            if wanted is None:
                self.remove(scope, fact)
            else:
                self.put(scope, fact, wanted)
            return self.get(scope, fact)

    def remove(self, scope: str, fact: str) -> None:
        """Forget a fact."""
        self._facts.get(scope, {}).pop(fact, None)

    def scopes(self, kind: str) -> list[str]:
        """The scopes of a kind, sorted."""
        return sorted(scope for scope, facts in self._facts.items() if facts and scope.startswith(f"{kind}:"))


# Writes a field only where it still holds what was read: two writers at a time cannot undo each other.
_SWAP = """
local standing = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if standing ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""
_PREFIX = "atdata:ledger:"


class RedisLedger:
    """The ledger in Redis: a hash ``atdata:ledger:{scope}``, a field per fact, JSON inside."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    @staticmethod
    def _key(scope: str) -> str:
        return _PREFIX + scope

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        with reaching(self._redis):
            raw = self._redis.hget(self._key(scope), fact)
        return _decoded(self._key(scope), fact, raw)

    def get_many(self, wanted: Sequence[tuple[str, str]]) -> list[Facts | None]:
        """Several facts by scope and name, in one round trip; None for one that is not there."""
        with reaching(self._redis):
            found = ask(self._redis, [("hget", self._key(scope), fact) for scope, fact in wanted])
        return [_decoded(self._key(scope), fact, raw) for (scope, fact), raw in zip(wanted, found, strict=True)]

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        with reaching(self._redis):
            raw = cast(dict[bytes, bytes], self._redis.hgetall(self._key(scope)))
        facts = {name: _decoded(self._key(scope), name, raw[field]) for field in raw if (name := field.decode())}
        return {name: value for name, value in facts.items() if value is not None}

    def put(self, scope: str, fact: str, value: Facts) -> None:
        """Keep a fact; the last one stands."""
        with reaching(self._redis):
            self._redis.hset(self._key(scope), fact, _encoded(stamped(value)))

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands."""
        first = stamped(value)
        with reaching(self._redis):
            kept = self._redis.hsetnx(self._key(scope), fact, _encoded(first))
        return first if kept else self.get(scope, fact) or first

    def update(self, scope: str, fact: str, change: Change) -> Facts | None:
        """Change a fact in one step; the fact that stands."""
        while True:
            with reaching(self._redis):
                raw = self._redis.hget(self._key(scope), fact)
            wanted = change(_decoded(self._key(scope), fact, raw))
            written = None if wanted is None else stamped(wanted)
            text = "" if written is None else _encoded(written)
            with reaching(self._redis):
                if self._redis.eval(_SWAP, 1, self._key(scope), fact, raw or b"", text):
                    return written

    def remove(self, scope: str, fact: str) -> None:
        """Forget a fact."""
        with reaching(self._redis):
            self._redis.hdel(self._key(scope), fact)

    def scopes(self, kind: str) -> list[str]:
        """The scopes of a kind, sorted."""
        with reaching(self._redis):
            keys = list(self._redis.scan_iter(match=f"{_PREFIX}{kind}:*", count=1000))
        return sorted({key.decode().removeprefix(_PREFIX) for key in keys})


def _decoded(key: str, fact: str, raw: bytes | None) -> Facts | None:
    """A fact of Redis; a damaged one is as good as lost."""
    try:
        value: Any = None if raw is None else json.loads(raw)
    except (ValueError, RecursionError):
        value = "damaged"
    if value is None or isinstance(value, dict):
        return cast("Facts | None", value)
    _logger.warning("%s in Redis is damaged: the fact %r counts as lost.", key, fact)
    return None


def _encoded(value: Facts) -> str:
    """A fact as JSON; what an error may have brought into it that is secret is masked."""
    text = json.dumps(value)
    return json.dumps(masked_data(value, sure=True)) if holds_secret(text) else text


class DryLedger(MemoryLedger):
    """Reads from another ledger and keeps what is written to itself: for looking ahead."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def get(self, scope: str, fact: str) -> Facts | None:
        """One fact, or None."""
        own = super().get(scope, fact)
        return self._ledger.get(scope, fact) if own is None else own

    def get_many(self, wanted: Sequence[tuple[str, str]]) -> list[Facts | None]:
        """Several facts by scope and name, None for one that is not there."""
        pairs = zip(super().get_many(wanted), self._ledger.get_many(wanted), strict=True)
        return [theirs if own is None else own for own, theirs in pairs]

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        return {**self._ledger.get_all(scope), **super().get_all(scope)}

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands."""
        return self.get(scope, fact) or super().put_first(scope, fact, value)

    def scopes(self, kind: str) -> list[str]:
        """The scopes of a kind, sorted."""
        return sorted({*self._ledger.scopes(kind), *super().scopes(kind)})


def ledger_of(index: Any) -> Ledger:
    """The ledger that belongs to an index: its own, else one in its Redis, else one in memory."""
    own = getattr(index, "ledger", None)
    if isinstance(own, Ledger):
        return own
    redis = getattr(index, "redis", None)
    return MemoryLedger() if redis is None else RedisLedger(redis)
