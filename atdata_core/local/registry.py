"""Names and entries in Redis: upstream's layout, and an index by name beside it.

Upstream keeps one hash per entry CID and finds a name by scanning; two names for the same data overwrite
each other there. Beside it stand

``atdata:dataset:{name}``  hash: ``current`` (CID) and per version ``entry:{cid}`` (msgpack);
                           ``adopted``: the current one, where another program wrote it
``atdata:datasets``        sorted set of all names
``atdata:events``          stream of (name, cid), one for each entry that came in, the newest 100,000
``atdata:scanned``         there for ten seconds after upstream's keys were all looked at
``atdata:shards:{cid}``    hash: claims by shard URL (``claims.py``)
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import MetadataError
from ..protocols import ShardFacts
from .claims import claims_key, encoded
from .entry import ENTRY_KEY, FIELDS, LocalDatasetEntry, StoredEntry
from .labels import label_key

DATASETS = "atdata:datasets"
EVENTS = "atdata:events"
EVENTS_KEPT = 100_000
SCAN_COUNT = 1000
"""Keys that one step of a scan looks at."""

_SCANNED = "atdata:scanned"
_SCANNED_SECONDS = 10
_PAGE = 500

_INSERT = """
local name, cid = ARGV[1], ARGV[2]
if #ARGV > 6 or redis.call('HEXISTS', KEYS[3], 'entry:' .. cid) == 1 then
  redis.call('DEL', KEYS[5])
end
redis.call('HSET', KEYS[1], 'name', name, 'schema_ref', ARGV[4], 'data_urls', ARGV[5], 'cid', cid)
if ARGV[6] == '' then
  redis.call('HDEL', KEYS[1], 'metadata')
else
  redis.call('HSET', KEYS[1], 'metadata', ARGV[6])
end
redis.call('HSET', KEYS[2], 'cid', cid, 'name', name, 'version', '')
redis.call('HSET', KEYS[3], 'current', cid, 'entry:' .. cid, ARGV[3])
redis.call('HDEL', KEYS[3], 'adopted')
redis.call('ZADD', KEYS[4], 0, name)
for i = 7, #ARGV, 2 do redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
redis.call('XADD', KEYS[6], 'MAXLEN', '~', {kept}, '*', 'name', name, 'cid', cid)
""".replace("{kept}", str(EVENTS_KEPT))

# An entry not seen before was written later, so it becomes the current one; among several that another
# program wrote, that program's own label knows better.
_ADOPT = """
local name, cid = ARGV[1], ARGV[2]
if redis.call('HSETNX', KEYS[1], 'entry:' .. cid, ARGV[3]) == 0 then return 0 end
local current = redis.call('HGET', KEYS[1], 'current')
local labelled = redis.call('HGET', KEYS[2], 'cid')
if not (current and labelled == current and redis.call('HGET', KEYS[1], 'adopted') == current) then
  redis.call('HSET', KEYS[1], 'current', cid, 'adopted', cid)
end
redis.call('ZADD', KEYS[3], 0, name)
redis.call('XADD', KEYS[4], 'MAXLEN', '~', {kept}, '*', 'name', name, 'cid', cid)
return 1
""".replace("{kept}", str(EVENTS_KEPT))


# Done by the server, so that a look at 100,000 keys is 100 short answers and not 200,000 questions.
_UNKNOWN = """
local step = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[3] .. '*', 'COUNT', ARGV[2], 'TYPE', 'hash')
local unknown = {}
for _, key in ipairs(step[2]) do
  local cid = string.sub(key, #ARGV[3] + 1)
  local name = redis.call('HGET', key, 'name') or ''
  if redis.call('HEXISTS', ARGV[4] .. name, 'entry:' .. cid) == 0 then
    unknown[#unknown + 1] = {name, cid}
  end
end
return {step[1], unknown}
"""


def dataset_key(name: str) -> str:
    """The hash of a name and all its versions."""
    return f"atdata:dataset:{name}"


class Registry:
    """Reads and writes entries by name. Errors of Redis pass through as they are."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis

    def insert(self, name: str, cid: str, stored: StoredEntry, claims: Iterable[ShardFacts] | None = None) -> None:
        """Makes the entry the current one of its name, in one step.

        The same name and data once more is a new claim: what was recorded of the shards goes. ``claims``
        take its place, where the writer knows them.
        """
        if not self.redis.exists(_SCANNED):
            # Else a version that another program wrote before would pass for a later one.
            self.adopt_all()
        facts = [part for shard in claims or () for part in (shard.url, encoded(shard))]
        keys = [ENTRY_KEY + cid, label_key(name), dataset_key(name), DATASETS, claims_key(cid), EVENTS]
        arguments = [
            name,
            cid,
            stored.to_record(registered_at=time.time_ns() // 1_000_000),
            stored.schema_ref,
            stored.packed_urls,
            stored.upstream_metadata or b"",
        ]
        self.redis.eval(_INSERT, len(keys), *keys, *arguments, *facts)

    def current(self, name: str) -> LocalDatasetEntry | None:
        """The newest entry of a name.

        Two round trips where the name is known and upstream's keys were looked at within ten seconds;
        else they are looked at first, for another program may have written a newer entry.
        """
        cid, scanned = self._ask([("hget", dataset_key(name), "current"), ("exists", _SCANNED)])
        if cid is None or not scanned:
            self.adopt_all()
            cid = self.redis.hget(dataset_key(name), "current")
        return None if cid is None else self.load([(name, cid.decode())])[0]

    def by_cid(self, cid: str) -> LocalDatasetEntry | None:
        """An entry by its CID, current or not, under the name it was last written with."""
        name = self.redis.hget(ENTRY_KEY + cid, "name")
        return None if name is None else self.load([(name.decode(), cid)])[0]

    def names(self) -> Iterator[list[str]]:
        """All indexed names in order, a page at a time."""
        start = 0
        while page := self.redis.zrange(DATASETS, start, start + _PAGE - 1):
            yield [name.decode() for name in page]
            start += _PAGE

    def currents(self) -> Iterator[LocalDatasetEntry]:
        """The newest entry of every name."""
        for page in self.names():
            cids = self._ask([("hget", dataset_key(name), "current") for name in page])
            yield from self._readable([(name, cid.decode()) for name, cid in zip(page, cids, strict=True) if cid])

    def versions(self) -> Iterator[LocalDatasetEntry]:
        """Every entry of every name."""
        for page in self.names():
            fields = self._ask([("hkeys", dataset_key(name)) for name in page])
            pairs = [
                (name, field[6:].decode())
                for name, known in zip(page, fields, strict=True)
                for field in known
                if field.startswith(b"entry:")
            ]
            for start in range(0, len(pairs), _PAGE):
                yield from self._readable(pairs[start : start + _PAGE])

    def load(self, pairs: Sequence[tuple[str, str]]) -> list[LocalDatasetEntry | None]:
        """Entries by name and CID, in one round trip; None where there is none.

        Raises:
            MetadataError: an entry's metadata is damaged.
        """
        return [
            None if stored is None else stored.entry(name, cid)
            for (name, cid), stored in zip(pairs, self._stored(pairs), strict=True)
        ]

    def scan_foreign(self, cursor: int = 0, count: int = SCAN_COUNT) -> tuple[int, list[LocalDatasetEntry]]:
        """One step over upstream's keys; entries not seen before are indexed.

        Returns:
            The cursor of the next step, 0 after the last one, and the entries that are new.
        """
        answer = self.redis.eval(_UNKNOWN, 0, cursor, count, ENTRY_KEY, dataset_key(""))
        following, fresh = int(answer[0]), [(_decoded(name), cid.decode()) for name, cid in answer[1]]
        if following == 0:
            self.redis.set(_SCANNED, 1, ex=_SCANNED_SECONDS)
        return following, self._adopt(fresh)

    def adopt_all(self) -> list[LocalDatasetEntry]:
        """Looks at all of upstream's keys once and indexes what is new; the new entries."""
        cursor, fresh = self.scan_foreign()
        while cursor:
            cursor, more = self.scan_foreign(cursor)
            fresh += more
        return fresh

    def _adopt(self, pairs: Sequence[tuple[str, str]]) -> list[LocalDatasetEntry]:
        found: list[LocalDatasetEntry] = []
        commands: list[tuple[Any, ...]] = []
        now = time.time_ns() // 1_000_000
        for (name, cid), values in zip(pairs, self._hashes([cid for _, cid in pairs]), strict=True):
            try:
                stored = StoredEntry.from_hash(values)
                entry = stored.entry(name, cid)
                if not name:
                    raise ValueError("it has no readable name")
            except (ValueError, MetadataError) as error:
                warnings.warn(
                    f"{ENTRY_KEY}{cid} in Redis cannot be read and is left out: {error}. "
                    "Insert the dataset again, or delete the key.",
                    stacklevel=2,
                )
                continue
            keys = [dataset_key(name), label_key(name), DATASETS, EVENTS]
            commands.append(("eval", _ADOPT, len(keys), *keys, name, cid, stored.to_record(registered_at=now)))
            found.append(entry)
        # Another process may have been quicker with some of them.
        adopted = self._ask(commands)
        return [entry for entry, new in zip(found, adopted, strict=True) if new]

    def _readable(self, pairs: Sequence[tuple[str, str]]) -> Iterator[LocalDatasetEntry]:
        """As ``load``, leaving out what is damaged."""
        for (name, cid), stored in zip(pairs, self._stored(pairs), strict=True):
            try:
                if stored is not None:
                    yield stored.entry(name, cid)
            except MetadataError as error:
                warnings.warn(f"Dataset {name!r} cannot be read and is left out: {error}", stacklevel=2)

    def _stored(self, pairs: Sequence[tuple[str, str]]) -> list[StoredEntry | None]:
        commands: list[tuple[Any, ...]] = []
        for name, cid in pairs:
            commands.append(("hget", dataset_key(name), "entry:" + cid))
            commands.append(("hmget", ENTRY_KEY + cid, FIELDS))
        answers = iter(self._ask(commands))
        return [_merged(name, next(answers), next(answers)) for name, _ in pairs]

    def _hashes(self, cids: Sequence[str]) -> list[dict[str, bytes | None]]:
        answers = self._ask([("hmget", ENTRY_KEY + cid, FIELDS) for cid in cids])
        return [dict(zip(FIELDS, values, strict=True)) for values in answers]

    def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Answers to several commands, in one round trip."""
        if not commands:
            return []
        pipe = self.redis.pipeline(transaction=False)
        for command, *arguments in commands:
            getattr(pipe, command)(*arguments)
        return pipe.execute()


def _merged(name: str, record: bytes | None, values: Sequence[bytes | None]) -> StoredEntry | None:
    """Our record of an entry, with the metadata that another program gave it since."""
    upstream: dict[str, bytes | None] = dict(zip(FIELDS, values, strict=True))
    if record is None:
        try:
            return StoredEntry.from_hash(upstream)
        except ValueError:
            return None
    stored = StoredEntry.from_record(record)
    rewritten = upstream["metadata"]
    if upstream["name"] == name.encode() and rewritten not in (None, stored.upstream_metadata):
        return StoredEntry(stored.schema_ref, stored.data_urls, rewritten)
    return stored


def _decoded(name: bytes | None) -> str:
    try:
        return (name or b"").decode()
    except UnicodeDecodeError:
        return ""
