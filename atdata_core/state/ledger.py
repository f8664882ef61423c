"""What has been promised and done: results of stages, explicit values, creation times.

The ledger saves requests and lets a stage run alone; that a dataset is published once never depends on
it, because record keys come from identity. It lies in Redis, beside the index; an index of another kind
brings its own as an attribute ``ledger``.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from ..common.timestamps import timestamp
from ..secrets import holds_secret, masked_data
from .redis_connection import ask, reaching

_logger = logging.getLogger("atdata_core")

Facts = dict[str, Any]
Change = Callable[[Facts | None], Facts | None]
"""From a fact as it stands to the one that shall stand; None stands for no fact."""

Swap = tuple[str, dict[str, tuple[bytes | None, bytes | None]]]
"""A scope, and for some of its facts what was read and what shall stand, encoded; None stands for no fact."""


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

    def exchange(self, scope: str, fact: str, value: Facts) -> Facts | None:
        """Keep a fact as ``put`` does; the one that stood before."""
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

    def exchange(self, scope: str, fact: str, value: Facts) -> Facts | None:
        """Keep a fact; the one that stood before."""
        before = self.get(scope, fact)
        self.put(scope, fact, value)
        return before

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


# Writes fields only where all of them still hold what was read: two writers at a time cannot undo each other.
_SWAP = """
for i = 1, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return 0 end
end
for i = 1, #ARGV, 3 do
  if ARGV[i + 2] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
  else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
end
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
        return self.decode(scope, fact, raw)

    def get_many(self, wanted: Sequence[tuple[str, str]]) -> list[Facts | None]:
        """Several facts by scope and name, in one round trip; None for one that is not there."""
        # A command for each scope, not for each fact: most of what a hundred thousand datasets cost is commands.
        scopes: dict[str, list[str]] = {}
        for scope, fact in wanted:
            scopes.setdefault(scope, []).append(fact)
        with reaching(self._redis):
            found = ask(self._redis, [("hmget", self._key(scope), facts) for scope, facts in scopes.items()])
        raw = {
            (scope, fact): value
            for (scope, facts), values in zip(scopes.items(), found, strict=True)
            for fact, value in zip(facts, values, strict=True)
        }
        return [self.decode(scope, fact, raw[scope, fact]) for scope, fact in wanted]

    def get_all(self, scope: str) -> dict[str, Facts]:
        """Every fact of a scope."""
        with reaching(self._redis):
            raw = cast(dict[bytes, bytes], self._redis.hgetall(self._key(scope)))
        facts = {name: self.decode(scope, name, raw[field]) for field in raw if (name := field.decode())}
        return {name: value for name, value in facts.items() if value is not None}

    def put(self, scope: str, fact: str, value: Facts) -> None:
        """Keep a fact; the last one stands."""
        with reaching(self._redis):
            self._redis.hset(self._key(scope), fact, *self.encode(stamped(value)))

    def exchange(self, scope: str, fact: str, value: Facts) -> Facts | None:
        """Keep a fact; the one that stood before. One round trip, as for ``put``."""
        key, [text] = self._key(scope), self.encode(stamped(value))
        with reaching(self._redis):
            raw, _ = ask(self._redis, [("hget", key, fact), ("hset", key, fact, text)])
        return self.decode(scope, fact, raw)

    def put_first(self, scope: str, fact: str, value: Facts) -> Facts:
        """Keep a fact unless there is one; the fact that stands."""
        first = stamped(value)
        with reaching(self._redis):
            kept = self._redis.hsetnx(self._key(scope), fact, *self.encode(first))
        return first if kept else self.get(scope, fact) or first

    def update(self, scope: str, fact: str, change: Change) -> Facts | None:
        """Change a fact in one step; the fact that stands."""
        while True:
            with reaching(self._redis):
                raw = self._redis.hget(self._key(scope), fact)
            wanted = change(self.decode(scope, fact, raw))
            written = None if wanted is None else stamped(wanted)
            text = b"" if written is None else self.encode(written)[0]
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

    # -- many at once -----------------------------------------------------------------------------

    def read_scopes(self, scopes: Sequence[str]) -> list[dict[str, bytes]]:
        """All facts of some scopes, not decoded yet, in one round trip."""
        with reaching(self._redis):
            pipe = self._redis.pipeline(transaction=False)
            for scope in scopes:
                pipe.hgetall(self._key(scope))
            answers = cast("list[dict[bytes, bytes]]", pipe.execute())
        return [{field.decode(): raw for field, raw in answer.items()} for answer in answers]

    def decode(self, scope: str, fact: str, raw: bytes | None) -> Facts | None:
        """A fact as Redis has it; a damaged one is as good as lost."""
        try:
            value: Any = None if raw is None else json.loads(raw)
        except (ValueError, RecursionError):
            value = "damaged"
        if value is None or isinstance(value, dict):
            return cast("Facts | None", value)
        _logger.warning("%s in Redis is damaged: the fact %r counts as lost.", self._key(scope), fact)
        return None

    def encode(self, *values: Facts) -> list[bytes]:
        """Facts as Redis has them; what an error may have brought into them that is secret is masked."""
        texts = [json.dumps(value) for value in values]
        if holds_secret("\n".join(texts)):
            # Few texts hold any: they are looked through as one.
            texts = [
                json.dumps(masked_data(value, sure=True)) if holds_secret(text) else text
                for value, text in zip(values, texts, strict=True)
            ]
        return [text.encode() for text in texts]

    def swap_scopes(self, swaps: Sequence[Swap], blind: Mapping[str, Mapping[str, bytes | None]]) -> list[bool]:
        """Change facts of many scopes in one round trip; None removes a fact.

        Args:
            swaps: Each is made where all its facts are as they were read, else nothing of it.
            blind: Facts by scope, whatever stands there.

        Returns:
            For each swap whether it was made.
        """
        with reaching(self._redis):
            pipe = self._redis.pipeline(transaction=False)
            for scope, facts in swaps:
                parts = [part for fact, (read, text) in facts.items() for part in (fact, read or b"", text or b"")]
                pipe.eval(_SWAP, 1, self._key(scope), *parts)
            for scope, facts in blind.items():
                kept = {fact: text for fact, text in facts.items() if text is not None}
                removed = [fact for fact, text in facts.items() if text is None]
                if kept:
                    pipe.hset(self._key(scope), mapping=kept)
                if removed:
                    pipe.hdel(self._key(scope), *removed)
            answers: list[Any] = pipe.execute()
        return [bool(answer) for answer in answers[: len(swaps)]]


def ledger_of(index: Any) -> Ledger:
    """The ledger that belongs to an index: its own, else one in its Redis, else one in memory."""
    own = getattr(index, "ledger", None)
    if isinstance(own, Ledger):
        return own
    redis = getattr(index, "redis", None)
    return MemoryLedger() if redis is None else RedisLedger(redis)


def published_uris(ledger: Ledger, dataset: str) -> list[str]:
    """At-uris of the records and labels that are known to be published of a dataset, by whatever account."""
    facts = ledger.get_all(f"dataset:{dataset}")
    return sorted({str(value["uri"]) for fact, value in facts.items() if tells_published(fact) and "uri" in value})


def published_names(ledger: Ledger, dataset: str) -> list[str]:
    """The names under which a dataset is known to be published, by whatever account."""
    facts = ledger.get_all(f"dataset:{dataset}")
    found = [value.get("publication", {}) for fact, value in facts.items() if tells_published(fact)]
    return sorted({str(publication["name"]) for publication in found if publication})


def tells_published(fact: str) -> bool:
    """Whether a fact of a dataset's scope is about a record or a label that is published."""
    return fact == "record" or fact.startswith(("record:", "label:", "version label:", "result:"))
