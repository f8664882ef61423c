"""The ledger in Redis: a hash for each dataset, entry and account."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ..secrets import holds_secret, masked_data
from .facts import Fact, Found, Json, Key, Scope, read_key, scope_of
from .ledger import Ledger, stamped
from .redis_connection import ask, reaching

F = TypeVar("F", bound=Fact)

_logger = logging.getLogger("atdata_core")

Swap = tuple[str, dict[str, tuple[bytes | None, bytes | None]]]
"""A scope, and for some of its facts what was read and what shall stand, encoded; None stands for no fact."""

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


class RedisLedger(Ledger):
    """The ledger in Redis: a hash ``atdata:ledger:{scope}``, a field per fact, JSON inside."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    def get(self, key: Key[F]) -> F | None:
        """One fact, or None."""
        at = _place(key)
        with reaching(self._redis):
            raw = self._redis.hget(*at)
        return self.decode(key, raw)

    def get_many(self, keys: Sequence[Key[Any]]) -> Found:
        """Several facts at once, in one round trip."""
        # A command for each scope, not for each fact: most of what a hundred thousand datasets cost is commands.
        scopes: dict[str, list[Key[Any]]] = {}
        for key in keys:
            scopes.setdefault(key.scope, []).append(key)
        commands = [("hmget", _PREFIX + scope, [key.name for key in some]) for scope, some in scopes.items()]
        with reaching(self._redis):
            found = ask(self._redis, commands)
        rows = zip(scopes.values(), found, strict=True)
        return Found({key: self.decode(key, raw) for some, row in rows for key, raw in zip(some, row, strict=True)})

    def get_all(self, scope: Scope, owner: str) -> Found:
        """Every fact of a dataset, an entry or an account."""
        with reaching(self._redis):
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(_PREFIX + scope_of(scope, owner)))
        keys = {name: key for name in raw if (key := read_key(scope, owner, name.decode())) is not None}
        return Found({key: self.decode(key, raw[name]) for name, key in keys.items()})

    def put(self, key: Key[F], fact: F) -> None:
        """Keep a fact; the last one stands."""
        at, [text] = _place(key), self.encode(stamped(fact))
        with reaching(self._redis):
            self._redis.hset(*at, text)

    def exchange(self, key: Key[F], fact: F) -> F | None:
        """Keep a fact; the one that stood before. One round trip, as for ``put``."""
        at, [text] = _place(key), self.encode(stamped(fact))
        with reaching(self._redis):
            raw, _ = ask(self._redis, [("hget", *at), ("hset", *at, text)])
        return self.decode(key, raw)

    def put_first(self, key: Key[F], fact: F) -> F:
        """Keep a fact unless there is one; the fact that stands."""
        at, first = _place(key), stamped(fact)
        [text] = self.encode(first)
        with reaching(self._redis):
            kept = self._redis.hsetnx(*at, text)
        return first if kept else self.get(key) or first

    def update(self, key: Key[F], change: Callable[[F | None], F | None]) -> F | None:
        """Change a fact in one step; the fact that stands."""
        at = _place(key)
        while True:
            with reaching(self._redis):
                raw = self._redis.hget(*at)
            wanted = change(self.decode(key, raw))
            written = None if wanted is None else stamped(wanted)
            text = b"" if written is None else self.encode(written)[0]
            with reaching(self._redis):
                if self._redis.eval(_SWAP, 1, *at, raw or b"", text):
                    return written

    def remove(self, key: Key[Any]) -> None:
        """Forget a fact."""
        at = _place(key)
        with reaching(self._redis):
            self._redis.hdel(*at)

    def owners(self, scope: Scope) -> list[str]:
        """The datasets, entries or accounts of which there are facts, sorted."""
        start = _PREFIX + scope_of(scope, "")
        with reaching(self._redis):
            keys = list(self._redis.scan_iter(match=f"{start}*", count=1000))
        return sorted({key.decode().removeprefix(start) for key in keys})

    # -- many at once -----------------------------------------------------------------------------

    def read_scopes(self, scopes: Sequence[str]) -> list[dict[str, bytes]]:
        """All facts of some scopes, not decoded yet, in one round trip."""
        with reaching(self._redis):
            answers = ask(self._redis, [("hgetall", _PREFIX + scope) for scope in scopes])
        found = cast("list[dict[bytes, bytes]]", answers)
        return [{name.decode(): raw for name, raw in answer.items()} for answer in found]

    def decode(self, key: Key[F], raw: bytes | None) -> F | None:
        """A fact as Redis has it; a damaged one is as good as lost."""
        if raw is None:
            return None
        try:
            value: Any = json.loads(raw)
            if isinstance(value, dict):
                return key.pattern.kind.from_json(cast("Json", value))
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            pass
        _logger.warning("%s in Redis is damaged: the fact %r counts as lost.", _PREFIX + key.scope, key.name)
        return None

    def encode(self, *facts: Fact) -> list[bytes]:
        """Facts as Redis has them; what an error may have brought into them that is secret is masked."""
        values = [fact.to_json() for fact in facts]
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
                pipe.eval(_SWAP, 1, _PREFIX + scope, *parts)
            for scope, facts in blind.items():
                kept = {fact: text for fact, text in facts.items() if text is not None}
                removed = [fact for fact, text in facts.items() if text is None]
                if kept:
                    pipe.hset(_PREFIX + scope, mapping=kept)
                if removed:
                    pipe.hdel(_PREFIX + scope, *removed)
            answers: list[Any] = pipe.execute()
        return [bool(answer) for answer in answers[: len(swaps)]]


def _place(key: Key[Any]) -> tuple[str, str]:
    """Key and field in Redis of a fact."""
    return _PREFIX + key.scope, key.name
