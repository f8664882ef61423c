"""Claims: what the shards of an entry were found to hold when it was inserted, by the index's Redis."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import RefusedError
from ..protocols import ShardFacts
from ..state.redis_state import decoded, read

# Writes a field only where it still holds what was read: two writers at a time cannot undo each other. All that
# stands then is the answer.
_RECORD = """
for i = 1, #ARGV, 3 do
  local standing = redis.call('HGET', KEYS[1], ARGV[i]) or ''
  if standing == ARGV[i + 1] then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
end
return redis.call('HGETALL', KEYS[1])
"""


# Takes the place of everything, where everything is still as it was read.
_REPLACE = """
local count = tonumber(ARGV[1])
if redis.call('HLEN', KEYS[1]) ~= count then return 0 end
for i = 2, 1 + 2 * count, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 0 end
end
redis.call('DEL', KEYS[1])
for i = 2 + 2 * count, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""


def claims_key(cid: str) -> str:
    """The hash of an entry's claims."""
    return f"atdata:shards:{cid}"


def encoded(facts: ShardFacts) -> str:
    """Facts as the hash holds them."""
    return json.dumps(facts.to_json(), separators=(",", ":"), sort_keys=True)


class ShardClaims:
    """What the shards of an entry held when they were first seen: one Redis hash per entry CID.

    The first recorded digest of a shard stands until a new insert; what else is known of the same bytes (ETag,
    MD5, number of samples, where they lie) is brought up to date.
    """

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    def read(self, cid: str) -> dict[str, ShardFacts]:
        """The claims of an entry, by shard URL; raises ``RefusedError`` where one is damaged."""
        return _claims(cid, self._raw(cid))

    def record(self, cid: str, facts: Iterable[ShardFacts]) -> dict[str, ShardFacts]:
        """Keeps facts where a shard has none of another digest; all claims that stand afterwards."""
        given = list(facts)
        # Most often nothing is known of them.
        claims = self._recorded(cid, [part for shard in given for part in (shard.url, b"", encoded(shard))])
        changes: list[Any] = []
        for shard in given:
            known = claims[shard.url.encode()]
            wanted = _updated(cid, known, shard)
            if wanted is not None:
                changes += [shard.url, known, encoded(wanted)]
        if changes:
            claims = self._recorded(cid, changes)
        return _claims(cid, claims)

    def replace(self, cid: str, facts: Iterable[ShardFacts], standing: Mapping[str, ShardFacts]) -> bool:
        """Makes facts the claims of an entry; False where other digests are claimed than ``standing`` says."""
        new = [part for shard in facts for part in (shard.url, encoded(shard))]
        while True:
            raw = self._raw(cid)
            known = {decoded(url): _claim(cid, value).sha256 for url, value in raw.items()}
            if known != {url: shard.sha256 for url, shard in standing.items()}:
                return False
            seen = [part for pair in raw.items() for part in pair]
            if self._redis.eval(_REPLACE, 1, claims_key(cid), len(raw), *seen, *new):
                return True

    def _raw(self, cid: str) -> dict[bytes, bytes]:
        return self._answer(cid, ("hgetall", claims_key(cid)))

    def _recorded(self, cid: str, changes: Sequence[Any]) -> dict[bytes, bytes]:
        parts = iter(self._answer(cid, ("eval", _RECORD, 1, claims_key(cid), *changes)))
        return dict(zip(parts, parts, strict=True))

    def _answer(self, cid: str, command: tuple[Any, ...]) -> Any:
        [answer] = read(self._redis, [command])
        if answer is None:
            raise _damaged(cid, "it is no hash")
        return answer


def _claims(cid: str, raw: Mapping[bytes, bytes]) -> dict[str, ShardFacts]:
    return {decoded(url): _claim(cid, value) for url, value in raw.items()}


def _updated(cid: str, known: bytes, seen: ShardFacts) -> ShardFacts | None:
    """The facts to write; None where nothing is to be written."""
    standing = _claim(cid, known)
    if standing.sha256 != seen.sha256:
        return None
    news = {name: value for name, value in seen.to_json().items() if name not in ("url", "size", "sha256")}
    updated = replace(standing, **news)
    return None if updated == standing else updated


def _claim(cid: str, value: bytes) -> ShardFacts:
    try:
        return ShardFacts.from_json(json.loads(value))
    except (ValueError, AttributeError, RecursionError) as error:
        raise _damaged(cid, str(error)) from None


def _damaged(cid: str, problem: str) -> RefusedError:
    # What a shard once held cannot be worked out again, and to guess it would vouch for any bytes.
    return RefusedError(
        f"{claims_key(cid)} in Redis is damaged ({problem}). Insert the dataset again: that makes a new claim on "
        "what its shards hold.",
        ref=cid,
    )
