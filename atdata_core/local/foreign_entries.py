"""Entries that other programs write under upstream's keys: found by looking at the keys, by name and by label."""

from __future__ import annotations

import re
import secrets
import time
import warnings
from collections.abc import Container, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from ..common.names import quoted
from ..errors import MetadataError
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
    SCAN,
    SCAN_PAUSE,
    SCANNED,
    SCANNED_SECONDS,
    TELL,
    LocalDatasetEntry,
    StoredEntry,
    dataset_key,
)

SCAN_COUNT = 1000
"""Keys that one step of a scan looks at."""


_ALL_COUNT = 5000
"""The same, where the steps follow each other until all is looked at."""


class Pace(NamedTuple):
    """How far a step of the shared scan goes: it ends after so many entries, or so many keys of any kind.

    An entry costs Redis some 4 us and another key 0.3 us; nobody else is served meanwhile. ``pause`` are
    milliseconds in which no other step of a pace with a pause is taken; 0 for none.
    """

    entries: int
    keys: int
    pause: int


LOOKUP = Pace(1_000, 10_000, 500)
"""Some 5 ms, twice in a second."""


ROUND = Pace(6_500, 50_000, 0)
"""Some 30 ms; 16 such steps go round 100,000 entries with seven keys each."""


# An entry not seen before, or deleted since, was written later, so it becomes the current one; among several that
# another program wrote, that program's own label knows better.
_ADOPT = (
    TELL
    + BORN_OF
    + """
local adopted = {}
for i = 5, #ARGV, 3 do
  local name, cid = ARGV[i], ARGV[i + 1]
  local known, hash, new = ARGV[1] .. name, ARGV[3] .. cid, 0
  local before = redis.pcall('HMGET', known, 'entry:' .. cid, 'born:' .. cid)
  if before.err then
    if string.sub(before.err, 1, 9) ~= 'WRONGTYPE' then return before end
    new = -1
  elseif redis.call('EXISTS', hash) == 1
      and not (before[1] and (not before[2] or before[2] == redis.call('HGET', hash, '{born}'))) then
    new = 1
    redis.call('HSET', known, 'entry:' .. cid, ARGV[i + 2], 'born:' .. cid, born_of(hash, ARGV[4]))
    local current = redis.call('HGET', known, 'current')
    local labelled = redis.pcall('HGET', ARGV[2] .. name .. '@', 'cid')
    if not (current and labelled == current and redis.call('HGET', known, 'adopted') == current) then
      redis.call('HSET', known, 'current', cid, 'adopted', cid)
    end
    redis.call('ZADD', KEYS[1], 0, name)
    tell(KEYS[2], name, cid)
  end
  adopted[#adopted + 1] = new
end
return adopted
""".replace("{born}", BORN)
)


_TOGETHER = 500
"""Entries that one such call indexes, some 10 ms of Redis's time."""


ELSEWHERE = DATASETS, SCANNED
"""Two keys that a cluster keeps in different places: a node of one refuses what names both."""


# Done by the server, so that a look at 100,000 keys is 100 short answers and not 200,000 questions.
_UNKNOWN = """
local function unknown_of(keys, prefix, datasets, unknown)
  for _, key in ipairs(keys) do
    local cid = string.sub(key, #prefix + 1)
    local now = redis.call('HMGET', key, 'name', '{born}')
    local name = now[1] or ''
    local known = redis.pcall('HMGET', datasets .. name, 'entry:' .. cid, 'born:' .. cid)
    if not known[1] or known[2] and known[2] ~= now[2] then unknown[#unknown + 1] = {name, cid} end
  end
end
""".replace("{born}", BORN)


_SCAN = (
    _UNKNOWN
    + """
local unknown = {}
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[3] .. '*', 'COUNT', ARGV[2], 'TYPE', 'hash')
unknown_of(page[2], ARGV[3], ARGV[4], unknown)
return {page[1], unknown}
"""
)


# KEYS: how far the shared scan is, the mark that all was looked at. A round of one step is a look at all.
_MOVE = """
local function move(from, to)
  if (redis.call('GET', KEYS[1]) or '0') ~= from then return end
  if to ~= '0' then return redis.call('SET', KEYS[1], to) end
  redis.call('DEL', KEYS[1])
  if from == '0' then redis.call('SET', KEYS[2], 1, 'EX', {seconds}) end
end
""".replace("{seconds}", str(SCANNED_SECONDS))


# The step is done only when what it found is indexed: else the next one, whoever takes it, begins where it began.
_STEP = (
    _UNKNOWN
    + _MOVE
    + """
local prefix, datasets, pause = ARGV[1], ARGV[2], tonumber(ARGV[5])
if pause > 0 and redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 then return {'', '', {}} end
local from = redis.call('GET', KEYS[1]) or '0'
if #from > 19 or not string.find(from, '^%d+$') then
  redis.call('DEL', KEYS[1])
  from = '0'
end
local cursor, entries, keys, unknown = from, 0, 0, {}
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', prefix .. '*', 'COUNT', {count}, 'TYPE', 'hash')
  cursor, entries, keys = page[1], entries + #page[2], keys + {count}
  unknown_of(page[2], prefix, datasets, unknown)
until cursor == '0' or entries >= tonumber(ARGV[3]) or keys >= tonumber(ARGV[4])
if pause > 0 and from ~= cursor then redis.call('SET', KEYS[3], 1, 'PX', pause) end
if #unknown == 0 then move(from, cursor) end
return {from, cursor, unknown}
""".replace("{count}", str(SCAN_COUNT))
)


_MOVED = _MOVE + "move(ARGV[1], ARGV[2])"


class Foreign:
    """Finds and indexes what other programs wrote. Errors of Redis pass through as they are.

    Upstream keeps one hash per entry CID, and neither an index by name nor word of a new one; only a scan of the
    keyspace finds it. A scan goes from a cursor to the next, and what stood there all the time is found by one
    that began at 0 and came back to 0, in however many steps. A restart of Redis in between changes the order of
    the keys: such a round may pass over some, and the next one finds them.

    ``left`` are, by name and CID, entries that could not be indexed because this user or server only reads.
    ``unreadable`` are entries that were left out and why, by name, else by key, until somebody takes them.
    """

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._looked: float | None = None
        self.left: dict[str, dict[str, LocalDatasetEntry]] = {}
        self.unreadable: dict[str, MetadataError] = {}

    def scan(self, cursor: int, count: int) -> tuple[int, list[LocalDatasetEntry]]:
        """One step over upstream's keys; entries not seen before are indexed.

        Returns:
            The cursor of the next step, 0 after the last one, and the entries that are new.
        """
        answer = self._redis.eval(_SCAN, len(ELSEWHERE), *ELSEWHERE, cursor, count, ENTRY_KEY, dataset_key(""))
        following = int(answer[0])
        if following == 0:
            self._redis.set(SCANNED, 1, ex=SCANNED_SECONDS)
        return following, self.adopt(self._readable(answer[1]))

    def scan_all(self) -> list[LocalDatasetEntry]:
        """Looks at all of upstream's keys once and indexes what is new; the new entries.

        Where this user or server only reads, they are ``left`` as they are, and none is indexed.
        """
        try:
            cursor, fresh = self.scan(0, _ALL_COUNT)
            while cursor:
                cursor, more = self.scan(cursor, _ALL_COUNT)
                fresh += more
        except Exception as error:
            if not reads_still(error):
                raise
            self.look_only(anew=True)
            return []
        self._looked, self.left = None, {}
        return fresh

    def step(self, pace: Pace) -> tuple[Any, ...]:
        """The command, for ``ask``, that takes the next step of the scan which everybody shares.

        With a pause it does nothing where a step was just taken, or all was looked at within ten seconds.
        Its answer goes to ``settle``; until then the step counts as not done.
        """
        return ("eval", _STEP, 3, SCAN, SCANNED, SCAN_PAUSE, ENTRY_KEY, dataset_key(""), *pace)

    def settle(self, answer: Sequence[Any], labelled: Sequence[tuple[str, str]] = ()) -> bool:
        """Indexes what a step found, and entries that labels name; whether anything was new.

        No round trip where nothing was found.
        """
        start, following, unknown = answer
        pairs = self._readable(unknown)
        if not unknown and not labelled:
            return False
        moved = [("eval", _MOVED, 2, SCAN, SCANNED, start, following)] if unknown else []
        return bool(self.adopt([*dict.fromkeys([*pairs, *labelled])], then=moved))

    def adopt(
        self, pairs: Sequence[tuple[str, str]], *, then: Sequence[tuple[Any, ...]] = ()
    ) -> list[LocalDatasetEntry]:
        """Indexes entries by name and CID, in two round trips; those that nobody else indexed meanwhile.

        One that cannot be read is left out with a warning. The commands ``then`` follow in the same round trip.
        """
        found = self._parsed(pairs)
        now = time.time_ns() // 1_000_000
        triples = [(entry.name, entry.cid, stored.to_record(registered_at=now)) for entry, stored in found]
        given = dataset_key(""), LABEL_KEY, ENTRY_KEY, secrets.token_hex(6)
        commands = [
            ("eval", _ADOPT, 2, DATASETS, EVENTS, *given, *chain(*triples[start : start + _TOGETHER]))
            for start in range(0, len(triples), _TOGETHER)
        ]
        answers = ask(self._redis, [*commands, *then])
        adopted: list[int] = list(chain(*answers[: len(commands)]))
        for (entry, _), new in zip(found, adopted, strict=True):
            if new < 0:
                self._leave_out(entry.name, dataset_key(entry.name), "it is no hash")
        return [entry for (entry, _), new in zip(found, adopted, strict=True) if new > 0]

    def look_only(self, *, anew: bool = False) -> None:
        """Finds what nobody has indexed, for users and servers that only read: it is ``left``.

        All of upstream's keys are looked at, at most every ten seconds unless it is to be done ``anew``.
        """
        now = time.monotonic()
        if self._looked is not None and not anew and now - self._looked < SCANNED_SECONDS:
            return
        self._redis.exists(*ELSEWHERE)
        left: dict[str, dict[str, LocalDatasetEntry]] = {}
        cursor = None
        while cursor != 0:
            cursor, keys = self._redis.scan(cursor or 0, ENTRY_KEY + "*", _ALL_COUNT, "hash")
            owners = read(self._redis, [("hget", key, "name") for key in keys])
            cids = [key.removeprefix(ENTRY_KEY.encode()) for key in keys]
            pairs = self._readable(list(zip(owners, cids, strict=True)))
            known = read(self._redis, [("hexists", dataset_key(name), f"entry:{cid}") for name, cid in pairs])
            fresh = [pair for pair, indexed in zip(pairs, known, strict=True) if not indexed]
            for entry, _ in self._parsed(fresh):
                left.setdefault(entry.name, {})[entry.cid] = entry
        self._looked, self.left = now, left

    def _parsed(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[LocalDatasetEntry, StoredEntry]]:
        """Entries of other programs by name and CID; one that cannot be read is left out with a warning."""
        found: list[tuple[LocalDatasetEntry, StoredEntry]] = []
        hashes = read(self._redis, [("hmget", ENTRY_KEY + cid, FIELDS) for _, cid in pairs])
        for (name, cid), values in zip(pairs, hashes, strict=True):
            try:
                if values is None:
                    raise ValueError("it is no hash")
                stored = StoredEntry.from_hash(dict(zip(FIELDS, values, strict=True)))
                entry = stored.entry(name, cid)
                if not name:
                    raise ValueError("it has no readable name")
            except (ValueError, MetadataError) as error:
                self._leave_out(name, ENTRY_KEY + cid, str(error))
                continue
            found.append((entry, stored))
        return found

    def _readable(self, unknown: Sequence[Sequence[bytes]]) -> list[tuple[str, str]]:
        """Entries by name and CID; one without a CID that can be one is left out with a warning."""
        pairs: list[tuple[str, str]] = []
        for name, cid in unknown:
            if CID.fullmatch(cid):
                pairs.append((decoded(name), cid.decode()))
            else:
                key = ENTRY_KEY + cid.decode(errors="backslashreplace")
                self._leave_out(decoded(name), key, "it ends with no CID")
        return pairs

    def _leave_out(self, name: str, key: str, problem: str) -> None:
        why = (
            f"{quoted(key)[1:-1]} in Redis cannot be read and is left out: {problem}. Insert the dataset "
            "again, or delete the key."
        )
        self.unreadable[name or key] = MetadataError(why, name=name or key)
        warnings.warn(why, stacklevel=4)


LABEL_KEY = "Label:"
"""Prefix of upstream's hash of a label."""


def label_key(name: str, version: str = "") -> str:
    """Upstream's hash of a label: cid, name, version."""
    return f"{LABEL_KEY}{name}@{version}"


def resolve(redis: Any, name: str) -> str | None:
    """The CID that a label names: of the label without a version, else of the highest version."""
    if cid := _labelled(redis, name):
        return cid
    found = [(_version_order(key.removeprefix(label_key(name))), cid) for key, cid in _versions(redis, name)]
    return max(found)[1] if found else None


def labels_of(redis: Any, name: str, cids: Container[str]) -> list[str]:
    """The keys of the labels of a name, with a version or without, that name one of these entries."""
    cid = _labelled(redis, name)
    labels = [(label_key(name), cid)] if cid else []
    return [key for key, cid in [*labels, *_versions(redis, name)] if cid in cids]


def _labelled(redis: Any, name: str) -> str:
    """The CID that the label without a version names; empty where there is none that can be read."""
    [cid] = read(redis, [("hget", label_key(name), "cid")])
    return decoded(cid)


def _versions(redis: Any, name: str) -> Iterator[tuple[str, str]]:
    """Key and CID of the labels of a name that have a version."""
    prefix = label_key(name)
    for key in redis.scan_iter(match=_escaped(prefix) + "?*", count=1000, _type="hash"):
        [values] = read(redis, [("hmget", key, ["name", "cid"])])
        owner, cid = values or (None, None)
        if owner == name.encode() and (cid := decoded(cid)) and (key := decoded(key)):
            yield key, cid


def _escaped(text: str) -> str:
    """Text that a Redis pattern takes literally."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)


def _version_order(version: str) -> list[tuple[int, int, str]]:
    """Sorts 10.0 after 9.0, and 1.0.0 after 1.0.0-rc.1."""
    release, _, pre = version.partition("-")
    return [_part(part) for part in release.split(".")] + [(0, 0, pre) if pre else (2, 0, "")]


def _part(part: str) -> tuple[int, int, str]:
    # Python reads no number of thousands of digits.
    number = part.isascii() and part.isdigit() and len(part) <= 1_000
    return (1, int(part), "") if number else (1, -1, part)
