"""Removing a dataset from the index, as its owner asks for it: its entries, labels, claims and its name.

Two names may have the same data. Upstream's hash of it then stays, and tells the name that is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..state.redis_state import ask
from .entry import DATASETS, ENTRY_KEY, FIELDS, REMOVED, StoredEntry, dataset_key, removed_member
from .foreign_entries import labels_of
from .shard_claims import claims_key

_PAGE = 5000
"""Names that one script looks at, some 5 ms of Redis's time."""
_ENTRY = b"entry:"


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


# Of a page of names, those that have one of some entries, with their records of it.
_OTHERS = """
local found = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[3], ARGV[4])) do
  if name ~= ARGV[2] then
    for i = 5, #ARGV do
      local record = redis.call('HGET', ARGV[1] .. name, 'entry:' .. ARGV[i])
      if record then found[#found + 1] = {ARGV[i], name, record} end
    end
  end
end
return {found, redis.call('ZCARD', KEYS[1])}
"""

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


def was_deleted(redis: Any, name: str, cid: str) -> bool:
    """Whether the index has had an entry under this name, and has it no more. One round trip."""
    known, values, removed = ask(
        redis,
        [
            ("hexists", dataset_key(name), f"entry:{cid}"),
            ("hmget", ENTRY_KEY + cid, FIELDS),
            ("sismember", REMOVED, removed_member(name, cid)),
        ],
    )
    there = any(value is not None for value in values)
    return not there if known else bool(removed) and values[0] != name.encode()


def entries_of(redis: Any, name: str) -> tuple[str, ...]:
    """The CIDs of all entries of a name that are there."""
    return tuple(cid for cid, owner in _owners(redis, _cids(redis.hkeys(dataset_key(name)))).items() if owner)


def remove(redis: Any, name: str) -> tuple[str, ...]:
    """Removes all entries of a name, in one step; the CIDs of those that were there, none where nothing is."""
    while True:
        fields: dict[bytes, bytes] = redis.hgetall(dataset_key(name))
        owners = _owners(redis, _cids(fields))
        there = tuple(cid for cid, owner in owners.items() if owner)
        if not there:
            return ()
        successors = _successors(redis, name, list(owners))
        labels = labels_of(redis, name, owners)
        keys = [dataset_key(name), DATASETS, REMOVED, *labels]
        parts: list[Any] = [part for pair in fields.items() for part in pair]
        for cid, owner in owners.items():
            parts += [cid, owner, *successors.get(cid, ("", b"")), removed_member(name, cid)]
        arguments = [name, ENTRY_KEY, claims_key(""), len(fields), *parts]
        # Somebody else wrote the dataset meanwhile, or one with the same data, and all is looked at again.
        if redis.eval(_REMOVE, len(keys), *keys, *arguments):
            return there


def _cids(fields: Mapping[bytes, bytes] | Sequence[bytes]) -> list[str]:
    return [field.removeprefix(_ENTRY).decode() for field in fields if field.startswith(_ENTRY)]


def _owners(redis: Any, cids: Sequence[str]) -> dict[str, bytes]:
    """The name that upstream's hash of each entry tells; empty where the entry was deleted."""
    names = ask(redis, [("hget", ENTRY_KEY + cid, "name") for cid in cids])
    return {cid: name or b"" for cid, name in zip(cids, names, strict=True)}


def _successors(redis: Any, name: str, cids: Sequence[str]) -> dict[str, tuple[bytes, bytes]]:
    """By entry the name that has it, too, and was inserted last, with the metadata that upstream's hash gets."""
    found: dict[str, tuple[int, bytes, bytes]] = {}
    start, count = 0, 1
    while start < count:
        page, count = redis.eval(_OTHERS, 1, DATASETS, dataset_key(""), name, start, start + _PAGE - 1, *cids)
        start += _PAGE
        for cid, other, record in page:
            stored = StoredEntry.from_record(record)
            each = stored.registered_at or 0, other, stored.upstream_metadata or b""
            found[cid.decode()] = max(each, found.get(cid.decode(), each))
    return {cid: (other, metadata) for cid, (_, other, metadata) in found.items()}
