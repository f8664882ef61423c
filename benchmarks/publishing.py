"""Records on a PDS: found, written one dataset at a time, and many at once."""

from __future__ import annotations

import hashlib
import io
import itertools
import time
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

from atdata_core import Dataset
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.common.cid import entry_cid
from atdata_core.local import LocalIndex
from atdata_core.local.entry import LocalDatasetEntry
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.options import PromotionOptions
from atdata_core.promotion.stages.copy_stage import CopiedShards
from atdata_core.promotion.stages.resolved_values import Resolved, resolve
from atdata_core.promotion.stages.schema_stage import publish_schema
from atdata_core.promotion.stages.visibility import Visibility
from atdata_core.protocols import ShardFacts
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import Ledger, MemoryLedger
from benchmarks.counting import CountingTransport
from benchmarks.frame import Bench, Count, Measured, Reach, expect, row
from benchmarks.samples import Vector
from benchmarks.services import Account, Pds

WRITES = 200
"""Writes that a PDS takes at most in one applyWrites."""


class _ByHand:
    """Requests in an account's name, without anything of ours."""

    def __init__(self, pds: Pds, account: Account) -> None:
        headers = {"authorization": f"Bearer {account.token}"}
        self.http = httpx.Client(base_url=f"{pds.url}/xrpc/", timeout=60, headers=headers)
        self.did = account.did

    def create(self, collection: str, rkey: str, record: dict[str, Any]) -> str:
        """createRecord; the at-uri."""
        where = {"repo": self.did, "collection": collection, "rkey": rkey}
        reply = self.http.post("com.atproto.repo.createRecord", json={**where, "record": record})
        return reply.raise_for_status().json()["uri"]

    def apply(self, writes: Sequence[dict[str, Any]]) -> None:
        """applyWrites, 200 at a time."""
        for start in range(0, len(writes), WRITES):
            body = {"repo": self.did, "writes": writes[start : start + WRITES]}
            self.http.post("com.atproto.repo.applyWrites", json=body).raise_for_status()

    def page(self, collection: str, cursor: str | None = None) -> dict[str, Any]:
        """listRecords."""
        params = {"repo": self.did, "collection": collection, "limit": "100"}
        if cursor:
            params["cursor"] = cursor
        return self.http.get("com.atproto.repo.listRecords", params=params).raise_for_status().json()

    def all(self, collection: str) -> list[dict[str, Any]]:
        """All records of a collection, a page at a time."""
        found, cursor = [], None
        while True:
            page = self.page(collection, cursor)
            found += page["records"]
            cursor = page.get("cursor")
            if not page["records"] or cursor is None:
                return found


def _write(collection: str, rkey: str, value: dict[str, Any]) -> dict[str, Any]:
    kind = "com.atproto.repo.applyWrites#create"
    return {"$type": kind, "collection": collection, "rkey": rkey, "value": value}


def _schema_of(bench: Bench) -> dict[str, Any]:
    """The local schema of the samples."""
    index = bench.services.new_index(0)
    return index.get_schema(index.publish_schema(Vector))


@row(
    "find a schema",
    peer="listing of all schemas by hand",
    reach=Reach(most=1, unit="requests to the PDS", same=True),
)
def schema_among_many(bench: Bench) -> Measured:
    """The schema record of a type is on the PDS, among none and among many others."""
    pds, schema, counts = bench.services.pds, _schema_of(bench), []
    for others in bench.size((0, 5_000), (0, 100)):
        account, transport = pds.account(), CountingTransport()
        client, hand = pds.login(account, transport), _ByHand(pds, account)
        written = publish_schema(schema, client, MemoryLedger())
        value = client.get_record(written.uri).value
        hand.apply([_write(SCHEMA, f"other.Type{n}:1.0.0", {**value, "name": f"Type{n}"}) for n in range(others)])
        before = transport.total
        expect(publish_schema(schema, client, MemoryLedger()).uri, written.uri, "the schema")
        counts.append(Count(f"{others:,} others", transport.total - before))

    def ours() -> None:
        expect(publish_schema(schema, client, MemoryLedger()).created, False, "the schema is new")

    def peer() -> None:
        expect(any(each["uri"] == written.uri for each in hand.all(SCHEMA)), True, "the schema is found")

    race = bench.race(ours, peer)
    return Measured(race, tuple(counts), f"on {pds.title}; times are those among {others:,}")


@row(
    "promote one dataset without copying, its schema known",
    peer="by hand: schemas listed, `createRecord` of entry and label",
    # The name's label is looked for first: a promotion that would move shards out of reach is refused.
    reach=Reach(most=4, unit="requests to the PDS"),
)
def one_promotion(bench: Bench) -> Measured:
    """A new dataset with one shard, and the same once more; then several new ones in a row."""
    pds, number = bench.services.pds, itertools.count()
    account, transport = pds.account(), CountingTransport()
    client, index, bucket = pds.login(account, transport), bench.services.new_index(0), _bucket(bench)
    index.publish_schema(Vector)

    def inserted() -> Any:
        return _insert(bench, index, bucket, next(number))

    promote_to_atmosphere(inserted(), index, client)
    counts, entry = [], inserted()
    for title in ("new", "unchanged"):
        before = transport.total
        promote_to_atmosphere(entry, index, client)
        counts.append(Count(title, transport.total - before))

    hand, records = _ByHand(pds, pds.account()), {name: client.list_records(name)[0] for name in (ENTRY, LABEL)}
    several = bench.size(10, 3)

    def ours() -> float:
        entries = [inserted() for _ in range(several)]
        start = time.perf_counter()
        for each in entries:
            promote_to_atmosphere(each, index, client)
        return (time.perf_counter() - start) / several

    def peer() -> float:
        start = time.perf_counter()
        for _ in range(several):
            hand.page(SCHEMA)
            uri = hand.create(ENTRY, f"e{next(number)}", records[ENTRY][0].value)
            hand.create(LABEL, f"l{next(number)}", {**records[LABEL][0].value, "datasetUri": uri})
        return (time.perf_counter() - start) / several

    note = f"on {pds.title}; ours also reads the shard, checks every sample and keeps its ledger"
    return Measured(bench.race(ours, peer), tuple(counts), note)


def _bucket(bench: Bench) -> str:
    return bench.services.new_bucket(bench.services.box)


def _insert(bench: Bench, index: LocalIndex, bucket: str, number: int) -> Any:
    """A dataset of one small shard that anybody can read."""
    file, key = io.BytesIO(), f"data-{number:06d}.tar"
    with ShardWriter(file) as sink:
        sink.write({"__key__": "0", "msgpack": Vector(vec=np.full(128, number, np.float32), label=number).packed})
    bench.services.s3(bench.services.box).put_object(Bucket=bucket, Key=key, Body=file.getvalue())
    url = f"{bench.services.box.public_url}/{bucket}/{key}"
    return index.insert_dataset(Dataset[Vector](url), name=f"dataset-{number}")


@row(
    "publish 1,000 datasets in bulk, the stage of entries and labels",
    peer="bare `applyWrites(200)` of the same records",
    reach=Reach(ratio=0.6),
)
def in_bulk(bench: Bench) -> Measured:
    """New accounts for each run; the peer looks at nothing and keeps nothing."""
    from atdata_core.promotion.bulk.batch_executor import Draft, publish_many

    pds, size = bench.services.pds, bench.size(1_000, 100)
    schema, written = _schema_of(bench), {}

    def ours() -> float:
        client, index = pds.login(pds.account()), bench.services.new_index(0)
        uri = publish_schema(schema, client, MemoryLedger()).uri
        entries = [index.register(_entry(number)) for number in range(size)]
        drafts = [
            Draft(entry, _copies(entry), uri, _resolved(entry, client.did, state_of(index).ledger), Visibility(1))
            for entry in entries
        ]
        start = time.perf_counter()
        published = publish_many(drafts, index, client, state_of(index).ledger)
        taken = time.perf_counter() - start
        expect([each for each in published if isinstance(each, Exception)], [], "refused")
        if not written:
            written.update({name: _own(client, name) for name in (ENTRY, LABEL)})
            expect([len(found) for found in written.values()], [size, size], "entries and labels")
        return taken

    def peer() -> float:
        hand = _ByHand(pds, pds.account())
        writes = [write for collection in (ENTRY, LABEL) for write in written[collection]]
        start = time.perf_counter()
        hand.apply(writes)
        return time.perf_counter() - start

    if bench.quick:
        ours()
    race = bench.race(ours, peer, amount=2 * size, unit="records/s", repeats=3)
    return Measured(race, note=f"on {pds.title}")


def _own(client: AtmosphereClient, collection: str) -> list[dict[str, Any]]:
    """All records of the account, as writes for another one."""
    return [
        _write(collection, record.uri.rpartition("/")[2], record.value)
        for record in client.iter_records(collection)
    ]


def _entry(number: int) -> LocalDatasetEntry:
    ref, urls = "local://schemas/benchmarks.samples.Vector@1.0.0", [f"https://example.org/{number}.tar"]
    return LocalDatasetEntry(f"dataset-{number}", ref, urls, cid=entry_cid(ref, urls))


def _resolved(entry: Any, did: str, ledger: Ledger) -> Resolved:
    """What a promotion publishes of which nothing is said."""
    return resolve(
        entry, did, ledger, data_store=None, options=PromotionOptions(), find=lambda collection, rkey: None
    )


def _copies(entry: LocalDatasetEntry) -> CopiedShards:
    digests = {url: hashlib.sha256(url.encode()).hexdigest() for url in entry.data_urls}
    shards = tuple(ShardFacts(url, 10_240, digest, samples=10) for url, digest in digests.items())
    return CopiedShards(entry.cid, "claim", None, shards, ("read",) * len(shards))


ROWS = (schema_among_many, one_promotion, in_bulk)
