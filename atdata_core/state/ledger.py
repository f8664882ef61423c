"""The ledger: facts by their keys, which ``facts`` has, and where they are kept.

The ledger saves requests and lets a stage run alone; that a dataset is published once never depends on
it, because record keys come from identity. It lies in Redis, beside the index; an index of another kind
brings its own as an attribute ``ledger``.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar, cast, get_args, get_origin, get_type_hints

from ..protocols import ShardFacts

Json = dict[str, Any]
Scope = Literal["dataset", "entry", "account"]
F = TypeVar("F", bound="Fact")

Place = tuple[str, str]
"""Where the text of one fact lies: all that is kept of a dataset, an entry or an account; and its name therein."""

Swap = tuple[str, dict[str, tuple[bytes | None, bytes | None]]]
"""A scope, and for some of its facts the text that was read and the one that shall stand; None: no fact."""

_logger = logging.getLogger("atdata_core")


@dataclass(frozen=True)
class Fact:
    """A fact. ``at`` is when it was kept (ISO 8601, UTC); a ledger fills it in where it is None."""

    at: str | None = field(default=None, kw_only=True)

    def to_json(self) -> Json:
        """The fact as a JSON object; what is given by keyword alone is left out where it is None."""
        found = ((each, getattr(self, each.name)) for each in _kept(type(self)))
        data: Json = {each.name: value for each, value in found if value is not None or not each.kw_only}
        return data | {name: _plain(data[name]) for name in _nested(type(self)) if name in data}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``; raises ``TypeError``, ``KeyError`` or ``ValueError`` where it is damaged."""
        given: Json = {each.name: data[each.name] for each in _kept(cls) if each.name in data}
        return cls(
            **given | {name: _typed(kind, given[name]) for name, kind in _nested(cls).items() if name in given}
        )


@cache
def _kept(kind: type[Fact]) -> tuple[Field[Any], ...]:
    return tuple(each for each in fields(kind) if each.metadata.get("kept", True))


@cache
def _nested(kind: type[Fact]) -> dict[str, Any]:
    """Name and type of the fields that JSON has in another form."""
    types = get_type_hints(kind)
    names = (each.name for each in _kept(kind))
    return {
        name: types[name] for name in names if get_origin(types[name]) is tuple or hasattr(types[name], "_asdict")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, ShardFacts):
        return value.to_json()
    if hasattr(value, "_asdict"):
        return value._asdict()
    return [_plain(each) for each in cast("tuple[Any, ...]", value)] if isinstance(value, tuple) else value


def _typed(kind: Any, value: Any) -> Any:
    """The inverse of ``_plain`` for a field of this type."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError("not a list")
        return tuple(_typed(get_args(kind)[0], each) for each in cast("list[Any]", value))
    if kind is ShardFacts:
        return ShardFacts.from_json(value)
    return kind(**value) if hasattr(kind, "_asdict") else value


class Key(NamedTuple, Generic[F]):
    """Where one fact is kept. ``owner``: the dataset's name, the entry's CID or the account's DID."""

    pattern: KeyPattern[F]
    owner: str
    parts: tuple[str, ...]

    @property
    def scope(self) -> str:
        """What it belongs to."""
        return scope_of(self.pattern.scope, self.owner)

    @property
    def name(self) -> str:
        """What it is called in its scope."""
        return self.pattern.template.format(*self.parts)

    @property
    def place(self) -> Place:
        """Where its text lies."""
        return self.scope, self.name


class KeyPattern(Generic[F]):
    """The keys of one kind of facts: ``{did}``, ``{cid}`` and the like in ``text`` stand for their parts."""

    every: list[KeyPattern[Any]] = []  # noqa: RUF012 - filled by the table of facts

    def __init__(self, kind: type[F], scope: Scope, text: str) -> None:
        self.kind = kind
        self.scope: Scope = scope
        self.names = re.findall(r"\{(\w+)\}", text)
        self.template = re.sub(r"\{\w+\}", "{}", text)
        self._expression = re.compile(re.sub(r"\\\{(\w+)\\\}", _part, re.escape(text)), re.DOTALL)
        self.every.append(self)

    def __call__(self, owner: str, *parts: str) -> Key[F]:
        """The key of one fact."""
        return Key(self, owner, parts)

    def read(self, owner: str, name: str) -> Key[F] | None:
        """A key from its name; None for one of another kind."""
        found = self._expression.fullmatch(name)
        return None if found is None else Key(self, owner, found.groups())


def _part(found: re.Match[str]) -> str:
    known = {
        "did": r"(did:[^:]+:[^:]+)",
        "cid": r"([^:]+)",
        "start": r"(\d+)",
        "stop": r"(\d+)",
        "sha256": r"(\w+)",
    }
    return known.get(found[1], r"(.*)")


def read_key(scope: Scope, owner: str, name: str) -> Key[Any] | None:
    """A key from its name; None for what is no fact of this library."""
    found = (pattern.read(owner, name) for pattern in KeyPattern.every if pattern.scope == scope)
    return next((key for key in found if key is not None), None)


def scope_of(scope: Scope, owner: str) -> str:
    """The name of all that is kept of a dataset, an entry or an account."""
    return f"{scope}:{owner}"


class FactMap:
    """Facts that were read together."""

    def __init__(self, facts: Mapping[Key[Any], Fact | None]) -> None:
        self.facts = facts

    def __getitem__(self, key: Key[F]) -> F | None:
        """A fact, or None."""
        return cast("F | None", self.facts.get(key))

    def of(self, *patterns: KeyPattern[F]) -> Iterator[tuple[Key[F], F]]:
        """The facts of some kinds, with their keys."""
        for key, fact in self.facts.items():
            if fact is not None and key.pattern in patterns:
                yield key, cast("F", fact)


def timestamp(moment: datetime | None = None) -> str:
    """A time as facts and records carry it: UTC, milliseconds, ``Z``; now by default."""
    moment = (moment or datetime.now(UTC)).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamped(fact: F) -> F:
    """A fact with the time at which it was kept."""
    return fact if fact.at is not None else replace(fact, at=timestamp())


def encode(fact: Fact) -> bytes:
    """A fact as it is kept."""
    return json.dumps(fact.to_json()).encode()


def decode(key: Key[F], text: bytes | None) -> F | None:
    """A fact from what is kept; a damaged one is as good as lost."""
    if text is None:
        return None
    try:
        value: Any = json.loads(text)
        if isinstance(value, dict):
            return key.pattern.kind.from_json(cast("Json", value))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        pass
    _logger.warning("In the ledger of %s the fact %r is damaged: it counts as lost.", key.scope, key.name)
    return None


class Ledger(ABC):
    """Facts by their keys. A fact that is kept without ``at`` is given the time.

    A subclass says where their texts lie: ``fetch``, ``fetch_scopes``, ``commit``, ``swap_in`` and ``scopes``.
    """

    @abstractmethod
    def fetch(self, places: Sequence[Place]) -> list[bytes | None]:
        """The texts at some places; None where there is none."""

    @abstractmethod
    def fetch_scopes(self, scopes: Sequence[str]) -> list[dict[str, bytes]]:
        """All texts of some scopes, by the names of the facts."""

    @abstractmethod
    def commit(self, swaps: Sequence[Swap], blind: Mapping[str, Mapping[str, bytes | None]]) -> list[bool]:
        """Change texts of many scopes; None removes one. Where others can read them, secrets in them are masked.

        Args:
            swaps: Each is made where all its texts are as they were read, else nothing of it.
            blind: Texts by scope and name, whatever stands there.

        Returns:
            For each swap whether it was made.
        """

    @abstractmethod
    def swap_in(self, place: Place, text: bytes, others: Mapping[Place, bytes]) -> bytes | None:
        """Keep a text, and others with it; the one that stood before."""

    @abstractmethod
    def scopes(self, start: str) -> list[str]:
        """The scopes that begin so."""

    def get(self, key: Key[F]) -> F | None:
        """One fact, or None."""
        [text] = self.fetch([key.place])
        return None if text is None else decode(key, text)

    def get_many(self, keys: Sequence[Key[Any]]) -> FactMap:
        """Several facts at once."""
        texts = self.fetch([key.place for key in keys])
        return FactMap({key: decode(key, text) for key, text in zip(keys, texts, strict=True)})

    def get_all(self, scope: Scope, owner: str) -> FactMap:
        """Every fact of a dataset, an entry or an account."""
        [texts] = self.fetch_scopes([scope_of(scope, owner)])
        keys = {name: key for name in texts if (key := read_key(scope, owner, name)) is not None}
        return FactMap({key: decode(key, texts[name]) for name, key in keys.items()})

    def put(self, key: Key[F], fact: F) -> None:
        """Keep a fact; the last one stands."""
        self.put_many({key: fact})

    def put_many(self, facts: Mapping[Key[Any], Fact | None]) -> None:
        """Keep several facts at once, as ``put`` keeps one; None forgets a fact, which need not be there."""
        texts: dict[str, dict[str, bytes | None]] = {}
        for key, fact in facts.items():
            texts.setdefault(key.scope, {})[key.name] = None if fact is None else encode(stamped(fact))
        self.commit([], texts)

    def exchange(self, key: Key[F], fact: F, others: Mapping[Key[Any], Fact] = MappingProxyType({})) -> F | None:
        """Keep a fact as ``put`` does, and ``others`` with it; the one that stood before."""
        texts = {each.place: encode(stamped(other)) for each, other in others.items()}
        before = self.swap_in(key.place, encode(stamped(fact)), texts)
        return None if before is None else decode(key, before)

    def put_first(self, key: Key[F], fact: F) -> F:
        """Keep a fact unless there is one; the fact that stands."""
        (scope, name), first = key.place, stamped(fact)
        [kept] = self.commit([(scope, {name: (None, encode(first))})], {})
        return first if kept else self.get(key) or first

    def update(self, key: Key[F], change: Callable[[F | None], F | None]) -> F | None:
        """Change a fact in one step, whoever else does at the same time; the fact that stands.

        ``change`` may be called more than once. None stands for no fact.
        """
        scope, name = key.place
        while True:
            [before] = self.fetch([(scope, name)])
            wanted = change(None if before is None else decode(key, before))
            after = None if wanted is None else stamped(wanted)
            text = None if after is None else encode(after)
            [made] = self.commit([(scope, {name: (before, text)})], {})
            if made:
                return after

    def remove(self, key: Key[Any]) -> None:
        """Forget a fact; one that is not there is no error."""
        self.put_many({key: None})

    def owners(self, scope: Scope) -> list[str]:
        """The datasets, entries or accounts of which there are facts, sorted."""
        start = scope_of(scope, "")
        return sorted({each.removeprefix(start) for each in self.scopes(start)})


class MemoryLedger(Ledger):
    """A ledger for one process, where an index has none."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, bytes]] = {}
        self._lock = threading.RLock()

    def fetch(self, places: Sequence[Place]) -> list[bytes | None]:
        """The texts at some places; None where there is none."""
        return [self._texts.get(scope, {}).get(name) for scope, name in places]

    def fetch_scopes(self, scopes: Sequence[str]) -> list[dict[str, bytes]]:
        """All texts of some scopes, by the names of the facts."""
        with self._lock:
            return [dict(self._texts.get(scope, {})) for scope in scopes]

    def commit(self, swaps: Sequence[Swap], blind: Mapping[str, Mapping[str, bytes | None]]) -> list[bool]:
        """Change texts of many scopes; None removes one."""
        with self._lock:
            made: list[bool] = []
            for scope, facts in swaps:
                made.append(all(self.fetch([(scope, name)]) == [read] for name, (read, _) in facts.items()))
                if made[-1]:
                    self._write(scope, {name: text for name, (_, text) in facts.items()})
            for scope, texts in blind.items():
                self._write(scope, texts)
            return made

    def swap_in(self, place: Place, text: bytes, others: Mapping[Place, bytes]) -> bytes | None:
        """Keep a text, and others with it; the one that stood before."""
        with self._lock:
            [before] = self.fetch([place])
            for (scope, name), each in {place: text, **others}.items():
                self._write(scope, {name: each})
            return before

    def scopes(self, start: str) -> list[str]:
        """The scopes that begin so."""
        return [scope for scope, texts in list(self._texts.items()) if texts and scope.startswith(start)]

    def _write(self, scope: str, texts: Mapping[str, bytes | None]) -> None:
        kept = {**self._texts.get(scope, {}), **texts}
        self._texts[scope] = {name: text for name, text in kept.items() if text is not None}
