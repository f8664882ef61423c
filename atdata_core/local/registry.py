"""Names and entries in Redis: upstream's layout, and an index by name beside it (``entry.py``).

Upstream keeps one hash per entry CID and finds a name by scanning; two names for the same data overwrite
each other there.
"""

from __future__ import annotations

import re
import secrets
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

from ..common.names import quoted
from ..errors import MetadataError
from ..protocols import ShardFacts
from ..state.redis_errors import reads_still
from ..state.redis_state import ask, decoded, read
from .entry import (
    BORN,
    BORN_OF,
    CID,
    DATASETS,
    ENTRY_KEY,
    EVENTS,
    FIELDS,
    REMOVED,
    SCANNED,
    TELL,
    LocalDatasetEntry,
    StoredEntry,
    dataset_key,
    is_there,
    removed_member,
)
from .foreign_entries import LABEL_KEY, LOOKUP, ROUND, Foreign, Pace, label_key, labels_of
from .shard_claims import claims_key, encoded

_PAGE = 500
_REMOVAL_PAGE = 5000
"""Names that one script of a removal looks at, some 5 ms of Redis's time."""
_ENTRY = b"entry:"
_NO_EVENT = "0-0"
_NO_VALUES = (None,) * len(FIELDS)
_EVENT_ID = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)

_INSERT = (
    TELL
    + BORN_OF
    + """
local name, cid = ARGV[1], ARGV[2]
local anew = #ARGV > 7 or redis.call('HEXISTS', KEYS[3], 'entry:' .. cid) == 1 or redis.call('EXISTS', KEYS[1]) == 0
-- The first write: where memory is used up, Redis stops a script at the first that needs some, and at no later one.
redis.call('HSET', KEYS[1], 'name', name, 'schema_ref', ARGV[4], 'data_urls', ARGV[5], 'cid', cid)
if anew then redis.call('DEL', KEYS[5]) end
if ARGV[6] == '' then
  redis.call('HDEL', KEYS[1], 'metadata')
else
  redis.call('HSET', KEYS[1], 'metadata', ARGV[6])
end
redis.call('HSET', KEYS[2], 'cid', cid, 'name', name, 'version', '')
redis.call('HSET', KEYS[3], 'current', cid, 'entry:' .. cid, ARGV[3], 'born:' .. cid, born_of(KEYS[1], ARGV[7]))
redis.call('HDEL', KEYS[3], 'adopted')
redis.call('ZADD', KEYS[4], 0, name)
for i = 8, #ARGV, 2 do redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
tell(KEYS[6], name, cid)
"""
)

# The entries of a name that are there: upstream's hash is what an owner deletes, whatever we kept of the entry.
# Each is its CID, our record of it and what that hash says. It is the newest one alone, unless that was deleted:
# then all others.
_THERE = """
local function values_of(name, cid)
  local values = redis.pcall('HMGET', ARGV[2] .. cid, {fields})
  if values.err then return end
  local born = redis.call('HGET', ARGV[1] .. name, 'born:' .. cid)
  if born and born ~= values[{count}] and name ~= values[1] then return end
  for i = 1, {count} do
    if values[i] then return values end
  end
end
local function entries_there(name)
  local key = ARGV[1] .. name
  local cid = redis.pcall('HGET', key, 'current')
  if type(cid) == 'table' then return false end
  local values = cid and values_of(name, cid)
  if values then return {{cid, redis.call('HGET', key, 'entry:' .. cid), values}} end
  local found = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    cid = string.match(field, '^entry:(.+)$')
    values = cid and values_of(name, cid)
    if values then found[#found + 1] = {cid, redis.call('HGET', key, field), values} end
  end
  return found
end
local answers = {}
""".replace("{fields}", ", ".join(f"'{field}'" for field in FIELDS)).replace("{count}", str(len(FIELDS)))

# For each name its entries; and the CID that upstream's label names, where it is an entry of this name that is not
# indexed.
_CURRENT = (
    _THERE
    + """
for i = 4, #ARGV do
  local name = ARGV[i]
  local key = ARGV[1] .. name
  local there, unknown = entries_there(name), false
  local labelled = redis.pcall('HGET', ARGV[3] .. name .. '@', 'cid')
  if there and type(labelled) == 'string' and not (there[1] and there[1][1] == labelled)
      and redis.call('HEXISTS', key, 'entry:' .. labelled) == 0
      and redis.pcall('HGET', ARGV[2] .. labelled, 'name') == name then
    unknown = labelled
  end
  answers[#answers + 1] = {there, unknown}
end
return answers
"""
)

_HAVING = (
    _THERE
    + """
for i = 3, #ARGV do answers[#answers + 1] = #(entries_there(ARGV[i]) or {0}) end
return answers
"""
)


# Of a page of names, those that have one of some entries, with their records of it.
_OTHERS = """
local found, now = {}, {}
for i = 6, #ARGV do now[i] = redis.call('HGET', ARGV[5] .. ARGV[i], '{born}') end
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[3], ARGV[4])) do
  if name ~= ARGV[2] then
    for i = 6, #ARGV do
      local known = redis.call('HMGET', ARGV[1] .. name, 'entry:' .. ARGV[i], 'born:' .. ARGV[i])
      if known[1] and (not known[2] or known[2] == now[i]) then found[#found + 1] = {ARGV[i], name, known[1]} end
    end
  end
end
return {found, redis.call('ZCARD', KEYS[1])}
""".replace("{born}", BORN)

# KEYS: the dataset's hash, the names, what was removed, then the labels. All that was read before must still stand:
# the dataset's fields, and the name that upstream's hash of each entry tells.
_REMOVE = """
local name, prefix, claims, last = ARGV[1], ARGV[2], ARGV[3], 4 + 2 * tonumber(ARGV[4])
if redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[4]) then return 0 end
for i = 5, last, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
for i = last + 1, #ARGV, 5 do
  if (redis.call('HGET', prefix .. ARGV[i], 'name') or '') ~= ARGV[i + 1] then return 0 end
end
for i = last + 1, #ARGV, 5 do
  local cid, owner, successor, metadata, removed = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  redis.call('SADD', KEYS[3], removed)
  if successor ~= '' and owner == name then
    redis.call('HSET', prefix .. cid, 'name', successor)
    redis.call('HDEL', prefix .. cid, 'metadata')
    if metadata ~= '' then redis.call('HSET', prefix .. cid, 'metadata', metadata) end
  elseif successor == '' and (owner == name or owner == '') then
    redis.call('DEL', prefix .. cid, claims .. cid)
  end
end
for i = 4, #KEYS do redis.call('DEL', KEYS[i]) end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], name)
return 1
"""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal takes, or took, from the index.

    Attributes:
        name: The dataset.
        entries: The CIDs of its entries.
        published: At-uris of the records and labels of it that stay on the network, as far as is known in this
            Redis. The shards stay, too.
    """

    name: str
    entries: tuple[str, ...]
    published: tuple[str, ...] = ()


class Position(NamedTuple):
    """How far somebody who watches an index has come: the last event, and the last name of the walk."""

    event: str = ""
    name: str = ""


Found = LocalDatasetEntry | MetadataError
"""An entry, or why it cannot be read."""


class Registry:
    """Reads and writes entries by name. Errors of Redis pass through as they are."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.foreign = Foreign(redis)

    def insert(self, name: str, cid: str, stored: StoredEntry, claims: Iterable[ShardFacts] | None = None) -> None:
        """Makes the entry the current one of its name, in one step.

        The same name and data once more is a new claim: what was recorded of the shards goes. ``claims``
        take its place, where the writer knows them.
        """
        if not self.redis.exists(SCANNED):
            # Else a version that another program wrote before would pass for a later one.
            self.foreign.scan_all()
        facts = [part for shard in claims or () for part in (shard.url, encoded(shard))]
        keys = [ENTRY_KEY + cid, label_key(name), dataset_key(name), DATASETS, claims_key(cid), EVENTS]
        arguments = [
            name,
            cid,
            stored.to_record(registered_at=time.time_ns() // 1_000_000),
            stored.schema_ref,
            stored.packed_urls,
            stored.upstream_metadata or b"",
            secrets.token_hex(6),
        ]
        self.redis.eval(_INSERT, len(keys), *keys, *arguments, *facts)

    def current(self, name: str) -> LocalDatasetEntry | None:
        """As ``LocalIndex.get_entry_by_name``; None where there is none.

        With it goes a step of the scan for what other programs wrote. Where that or the name's label finds
        something new, it is indexed and the name is looked up again.
        """
        found = self._current([name], LOOKUP).get(name)
        if found is None:
            self.foreign.scan_all()
            found = self._current([name], None).get(name)
        if isinstance(found, MetadataError):
            raise found
        return found

    def news(self, since: Position, *, events: int, names: int) -> tuple[dict[str, Found], Position]:
        """As ``LocalIndex.news``.

        Each of the two round trips takes a long step of the scan with it; what a step finds comes with this look
        or the next. Events that are there no more are made up for by the names: within a round all are looked at.
        An event that names no dataset is passed over, and told once, by its key.
        """
        if not since.event:
            # What came before the first look is found by the walk.
            newest: list[Any] = self.redis.xrevrange(EVENTS, count=1)
            since = since._replace(event=newest[0][0].decode() if newest else _NO_EVENT)
        look: list[tuple[Any, ...]] = [
            ("xrange", EVENTS, f"({since.event}", "+", events),
            ("zrangebylex", DATASETS, _after(since.name) if since.name else "-", "+", 0, names),
            ("xrevrange", EVENTS, "+", "-", 1),
        ]
        came, walked, last, step = ask(self.redis, [*look, self.foreign.step(ROUND)])
        if self.foreign.settle(step):
            came, walked, last = ask(self.redis, look)
        if came:
            following = Position(came[-1][0].decode(), _place(walked[-1]) if len(walked) == names else "")
        elif _number(last[0][0].decode() if last else _NO_EVENT) < _number(since.event):
            # Another stream: the old one was lost with its Redis, whose clock may have been ahead. All begins anew.
            following = Position(_NO_EVENT)
        else:
            following = Position(since.event, _place(walked[-1]) if len(walked) == names else "")
        told, nameless = _names_in(came)
        wanted = told + [text for name in walked if (text := decoded(name))]
        found = self._current([*dict.fromkeys(wanted)], ROUND)
        unreadable, self.foreign.unreadable = self.foreign.unreadable, {}
        return {**found, **unreadable, **nameless}, following

    def current_cids(self, names: Sequence[str]) -> list[str | None]:
        """The CID of the newest entry of each name, as ``current`` finds it; None where it has to be asked."""
        found = self._current(names, LOOKUP)
        return [entry.cid if isinstance(entry := found.get(name), LocalDatasetEntry) else None for name in names]

    def by_cid(self, cid: str) -> LocalDatasetEntry | None:
        """An entry by its CID, current or not, under the name it was last written with."""
        name = self.redis.hget(ENTRY_KEY + cid, "name")
        if name is None:
            return None
        if not (text := decoded(name)):
            raise _unreadable("", cid, "it has no readable name")
        [stored] = self._stored([(text, cid)])
        if isinstance(stored, MetadataError):
            raise stored
        return None if stored is None else stored.entry(text, cid)

    def names(self) -> Iterator[list[str]]:
        """All names in order, a page at a time: those that are indexed, and those that could not be."""
        if self.foreign.left:
            every = sorted({*chain.from_iterable(self._indexed()), *self.foreign.left})
            yield from (every[start : start + _PAGE] for start in range(0, len(every), _PAGE))
        else:
            yield from self._indexed()

    def _indexed(self) -> Iterator[list[str]]:
        start = 0
        while page := self.redis.zrange(DATASETS, start, start + _PAGE - 1):
            # Whoever put a member there that is no text has no dataset under it.
            yield [text for name in page if (text := decoded(name))]
            start += _PAGE

    def having_entries(self, names: Sequence[str]) -> list[str]:
        """Those of the names that an entry is there of; others were deleted. One round trip."""
        try:
            there = self.redis.eval(_HAVING, 0, dataset_key(""), ENTRY_KEY, *names)
            has = {name for name, entries in zip(names, there, strict=True) if entries} | {*self.foreign.left}
        except Exception as error:
            if not reads_still(error):
                raise
            has = self._only_read(names)
        return [name for name in names if name in has]

    def currents(self) -> Iterator[LocalDatasetEntry]:
        """The newest entry of every name; a damaged one is left out with a warning."""
        for page in self.names():
            for name, found in self._current(page, None).items():
                if isinstance(found, MetadataError):
                    _left_out(name, found)
                else:
                    yield found

    def versions(self) -> Iterator[LocalDatasetEntry]:
        """Every entry of every name, those left out that were deleted."""
        for page in self.names():
            fields = read(self.redis, [("hkeys", dataset_key(name)) for name in page])
            pairs = [(name, cid) for name, known in zip(page, fields, strict=True) for cid in _cids(known or [])]
            for start in range(0, len(pairs), _PAGE):
                yield from self._readable(pairs[start : start + _PAGE])
            yield from (entry for name in page for entry in self.foreign.left.get(name, {}).values())

    def was_deleted(self, name: str, cid: str) -> bool:
        """Whether the index has had an entry under this name, and has it no more. One round trip."""
        (known, born), values, removed = ask(
            self.redis,
            [
                ("hmget", dataset_key(name), f"entry:{cid}", f"born:{cid}"),
                ("hmget", ENTRY_KEY + cid, FIELDS),
                ("sismember", REMOVED, removed_member(name, cid)),
            ],
        )
        if known is None:
            return bool(removed) and values[0] != name.encode()
        return not is_there(name, born, values)

    def entries_of(self, name: str) -> tuple[str, ...]:
        """The CIDs of all entries of a name that are there."""
        return self._owners(name, self.redis.hgetall(dataset_key(name)))[1]

    def remove(self, name: str) -> tuple[str, ...]:
        """Removes all entries of a name, in one step; the CIDs of those that were there, none where nothing is."""
        while True:
            fields: dict[bytes, bytes] = self.redis.hgetall(dataset_key(name))
            owners, there = self._owners(name, fields)
            if not there:
                return ()
            successors = self._successors(name, list(owners))
            labels = labels_of(self.redis, name, owners)
            keys = [dataset_key(name), DATASETS, REMOVED, *labels]
            parts: list[Any] = [part for pair in fields.items() for part in pair]
            for cid, owner in owners.items():
                parts += [cid, owner, *successors.get(cid, ("", b"")), removed_member(name, cid)]
            arguments = [name, ENTRY_KEY, claims_key(""), len(fields), *parts]
            # Somebody else wrote the dataset meanwhile, or one with the same data, and all is looked at again.
            if self.redis.eval(_REMOVE, len(keys), *keys, *arguments):
                return there

    def _current(self, names: Sequence[str], pace: Pace | None) -> dict[str, Found]:
        """The newest entries of the names that are known; with a pace, labels and a step may find newer ones."""
        if not names:
            return {}
        try:
            if not self.foreign.left:
                return self._by_script(names, pace)
        except Exception as error:
            if not reads_still(error):
                raise
        return self._only_read(names)

    def _only_read(self, names: Sequence[str]) -> dict[str, Found]:
        """As ``_current``, for users and servers that only read: what is new counts, and is not indexed."""
        self.foreign.look_only()
        labels = [decoded(cid) for cid in read(self.redis, [("hget", label_key(name), "cid") for name in names])]
        known: list[Any] = read(self.redis, [("hgetall", dataset_key(name)) for name in names])
        cids = [_cids(fields or {}) for fields in known]
        values = iter(read(self.redis, [("hmget", ENTRY_KEY + cid, FIELDS) for each in cids for cid in each]))
        found: dict[str, Found | None] = {}
        for name, labelled, fields, each in zip(names, labels, known, cids, strict=True):
            if fields is None:
                found[name] = _found(name, None)
                continue
            rows = [(cid.encode(), fields[_ENTRY + cid.encode()], next(values) or _NO_VALUES) for cid in each]
            there = [row for row in rows if is_there(name, fields.get(b"born:" + row[0]), row[2])]
            current = decoded(fields.get(b"current"))
            newest = [row for row in there if row[0] == current.encode()]
            found[name] = _found(name, newest or there)
            left = self.foreign.left.get(name)
            # As a script would have indexed them: the last one counts, or the one that a label names.
            if left and not (labelled and labelled == current and decoded(fields.get(b"adopted")) == current):
                found[name] = left.get(labelled) or [*left.values()][-1]
        return {name: entry for name, entry in found.items() if entry is not None}

    def _by_script(self, names: Sequence[str], pace: Pace | None) -> dict[str, Found]:
        command = ("eval", _CURRENT, 0, dataset_key(""), ENTRY_KEY, LABEL_KEY, *names)
        if pace is None:
            [answers] = ask(self.redis, [command])
        else:
            answers, step = ask(self.redis, [command, self.foreign.step(pace)])
            labelled = [
                (name, labelled.decode())
                for name, (_, labelled) in zip(names, answers, strict=True)
                if labelled and CID.fullmatch(labelled)
            ]
            if self.foreign.settle(step, labelled):
                [answers] = ask(self.redis, [command])
        found = {name: _found(name, there) for name, (there, _) in zip(names, answers, strict=True)}
        return {name: entry for name, entry in found.items() if entry is not None}

    def _readable(self, pairs: Sequence[tuple[str, str]]) -> Iterator[LocalDatasetEntry]:
        """Entries by name and CID, those that are there; a damaged one is left out with a warning."""
        for (name, cid), stored in zip(pairs, self._stored(pairs), strict=True):
            try:
                if isinstance(stored, MetadataError):
                    raise stored
                if stored is not None:
                    yield stored.entry(name, cid)
            except MetadataError as error:
                _left_out(name, error)

    def _stored(self, pairs: Sequence[tuple[str, str]]) -> list[StoredEntry | MetadataError | None]:
        commands: list[tuple[Any, ...]] = []
        for name, cid in pairs:
            commands.append(("hmget", dataset_key(name), "entry:" + cid, "born:" + cid))
            commands.append(("hmget", ENTRY_KEY + cid, FIELDS))
        answers = iter(read(self.redis, commands))
        rows = [(*pair, *(next(answers) or (None, None)), next(answers) or _NO_VALUES) for pair in pairs]
        return [
            _merged(name, cid, record, values) if is_there(name, born, values) else None
            for name, cid, record, born, values in rows
        ]

    def _owners(self, name: str, fields: Mapping[bytes, bytes]) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """What upstream's hash of each entry of a name calls it, empty for none; and the entries that are there."""
        cids = _cids(fields)
        rows = read(self.redis, [("hmget", ENTRY_KEY + cid, FIELDS) for cid in cids])
        values = {cid: row or _NO_VALUES for cid, row in zip(cids, rows, strict=True)}
        owners = {cid: row[0] or b"" for cid, row in values.items()}
        there = (cid for cid in cids if is_there(name, fields.get(f"born:{cid}".encode()), values[cid]))
        return owners, tuple(cid for cid in there if owners[cid])

    def _successors(self, name: str, cids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
        """By entry the other name that had it last, with the metadata that upstream's hash gets."""
        found: dict[str, tuple[int, bytes, bytes]] = {}
        start, count = 0, 1
        while start < count:
            page, count = self.redis.eval(
                _OTHERS, 1, DATASETS, dataset_key(""), name, start, start + _REMOVAL_PAGE - 1, ENTRY_KEY, *cids
            )
            start += _REMOVAL_PAGE
            for cid, other, record in page:
                try:
                    stored = StoredEntry.from_record(record)
                except ValueError:
                    continue
                each = stored.registered_at or 0, other, stored.upstream_metadata or b""
                found[cid.decode()] = max(each, found.get(cid.decode(), each))
        return {cid: (other, metadata) for cid, (_, other, metadata) in found.items()}


def _merged(
    name: str, cid: str, record: bytes | None, values: Sequence[bytes | None]
) -> StoredEntry | MetadataError:
    """Our record of an entry that is there, with the metadata that another program gave it since.

    One of which our record is damaged is as upstream's hash says; an error where that is damaged, too.
    """
    upstream: dict[str, bytes | None] = dict(zip(FIELDS, values, strict=True))
    try:
        stored = None if record is None else StoredEntry.from_record(record)
    except ValueError:
        stored = None
    if stored is None:
        try:
            return StoredEntry.from_hash(upstream)
        except ValueError as error:
            return _unreadable(name, cid, str(error))
    if upstream["name"] == name.encode() and upstream["metadata"] != stored.upstream_metadata:
        return replace(stored, metadata=upstream["metadata"])
    return stored


def _found(name: str, there: Sequence[tuple[bytes, bytes | None, Sequence[bytes | None]]] | None) -> Found | None:
    """The newest of the entries of a name that are there."""
    if there is None:
        return _damaged(name, dataset_key(name), "it is no hash")
    stored = [
        (cid.decode(), _merged(name, cid.decode(), record, values))
        for cid, record, values in there
        if CID.fullmatch(cid)
    ]
    known = [(each.registered_at or 0, cid, each) for cid, each in stored if not isinstance(each, MetadataError)]
    if not known:
        return next((each for _, each in stored if isinstance(each, MetadataError)), None)
    _, cid, newest = max(known, key=lambda each: each[:2])
    try:
        return newest.entry(name, cid)
    except MetadataError as error:
        return error


def _unreadable(name: str, cid: str, problem: str) -> MetadataError:
    return _damaged(name, ENTRY_KEY + cid, problem)


def _damaged(name: str, key: str, problem: str) -> MetadataError:
    return MetadataError(
        f"{quoted(key)[1:-1]} in Redis cannot be read: {problem}. Insert the dataset again, or delete the key.",
        name=name or key,
    )


def _place(name: bytes) -> str:
    """A member of the names as a position tells it, whatever its bytes."""
    return name.decode(errors="surrogateescape")


def _after(name: str) -> bytes:
    return b"(" + name.encode(errors="surrogateescape")


def is_event_id(text: str) -> bool:
    """Whether Redis takes ``text`` as the id of an event."""
    return _EVENT_ID.fullmatch(text) is not None and all(part < 2**64 for part in _number(text))


def _cids(fields: Mapping[bytes, bytes] | Sequence[bytes]) -> list[str]:
    # Sorted: Redis gives the fields of a hash in any order.
    cids = (field.removeprefix(_ENTRY) for field in fields if field.startswith(_ENTRY))
    return sorted(cid.decode() for cid in cids if CID.fullmatch(cid))


def _names_in(events: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> tuple[list[str], dict[str, MetadataError]]:
    """The names that events tell; and by their keys those that anybody may have added, and that tell none."""
    names: list[str] = []
    nameless: dict[str, MetadataError] = {}
    for event, fields in events:
        if name := decoded(fields.get(b"name")):
            names.append(name)
            continue
        number = event.decode()
        key = f"{EVENTS} {number}"
        why = (
            f"Event {number} of the stream {EVENTS} in Redis has no readable name and is passed over. Whatever "
            "else is in the index is found without it. Let the program that writes such events name the "
            f"dataset, or leave them out; XDEL {key} removes this one."
        )
        nameless[key] = MetadataError(why, name=key)
    return names, nameless


def _number(event: str) -> tuple[int, ...]:
    """The id of an event, to be compared; less than all of them where it is none."""
    parts = event.split("-")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def _left_out(name: str, error: MetadataError) -> None:
    warnings.warn(f"Dataset {quoted(name)} cannot be read and is left out: {error}", stacklevel=3)
