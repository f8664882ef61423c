"""A large dataset is copied in parts, by whoever has the time, and the stage that follows sees all of it."""

import hashlib
import json
import random
import secrets
from types import SimpleNamespace

import pytest

from atdata_core.errors import ShardConflictError
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.promotion.copies import chunks
from atdata_core.promotion.copies.chunks import Chunk, chunks_of
from atdata_core.promotion.stages.copy_stage import chunks_to_copy, copy_chunk, copy_shards
from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import CHUNK, Inventory
from atdata_core.state.index_state import state_of
from atdata_core.stores.s3.objects import S3Endpoint
from faulty.edge import Edge, Rule, Tally

SHARDS = 10


def inventory_of(sizes):
    shards = tuple(ShardFacts(f"s3://lab/{number}.tar", size, "ab" * 32) for number, size in enumerate(sizes))
    return Inventory("points", "cid", "ref", {}, shards, ("etag",) * len(shards))


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([1], []),
        ([1] * chunks.SHARDS, []),
        ([1] * (chunks.SHARDS + 1), [32, 33]),
        ([0] * 130, [44, 43, 43]),
        ([chunks.BYTES], []),
        ([3 * chunks.BYTES], []),
        ([chunks.BYTES, 1], [1, 1]),
        ([chunks.BYTES] * 3, [1, 1, 1]),
        ([chunks.BYTES // 4] * 8, [4, 4]),
        ([1] * 100_000, [500] * 200),
    ],
)
def test_shards_are_shared_out_by_their_number_and_bytes(sizes, lengths):
    found = chunks_of(inventory_of(sizes))
    assert [chunk.stop - chunk.start for chunk in found] == lengths


def test_every_shard_is_in_one_chunk_whatever_their_sizes():
    draw = random.Random(5)
    for _ in range(200):
        sizes = [draw.choice([0, 1, 10**6, 10**9, 10**11]) for _ in range(draw.randrange(2, 400))]
        found = chunks_of(inventory_of(sizes))
        seen = [number for chunk in found for number in range(chunk.start, chunk.stop)]
        assert seen in ([], list(range(len(sizes))))
        assert len(found) <= chunks.MOST
        assert all(chunk.start < chunk.stop for chunk in found)


@pytest.fixture
def wide(environ, s3, monkeypatch):
    """A dataset of ten shards where four make a chunk, and a store on a service of its own: ``wide.asked``."""
    monkeypatch.setattr(chunks, "SHARDS", 4)
    with Edge({"lab": s3["AWS_ENDPOINT"], "public": s3["AWS_ENDPOINT"]}) as edge:
        edge.rule = Tally()
        lab, there = ({**s3, "AWS_ENDPOINT": edge.urls[name]} for name in ("lab", "public"))
        store = S3DataStore(there, bucket=f"copies-{secrets.token_hex(6)}")
        source, bucket = S3Endpoint.from_credentials(lab), f"lab-{secrets.token_hex(6)}"
        source.client.create_bucket(Bucket=bucket)
        store.endpoint.client.create_bucket(Bucket=store.bucket)
        draw, facts, bodies = random.Random(7), [], []
        for number in range(SHARDS):
            body = draw.randbytes(20_000)
            etag = source.client.put_object(Bucket=bucket, Key=f"{number}.tar", Body=body)["ETag"].strip('"')
            digest = hashlib.sha256(body).hexdigest()
            md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
            url = f"s3://{bucket}/{number}.tar"
            facts.append(ShardFacts(url, len(body), digest, md5=md5, etag=etag, endpoint=source.endpoint_url))
            bodies.append(body)
        inventory = Inventory("points", "cid", "ref", {}, tuple(facts), ("etag",) * SHARDS)
        entry = SimpleNamespace(
            name="points",
            schema_ref="ref",
            data_urls=[fact.url for fact in facts],
            metadata=None,
            data_store=S3DataStore(lab, bucket=bucket),
        )
        index = LocalIndex()
        ledger = state_of(index).ledger

        def asked(method):
            # Whether the service knows digests of its own is found out once, by those who begin.
            return sum("?attributes" not in call.path for call in edge.rule.at("public", method))

        def chunk(part, run="this run"):
            return copy_chunk(entry, inventory, index, ledger, part, data_store=store, run=run)

        def all_of_it(run="this run"):
            return copy_shards(entry, inventory, index, ledger, data_store=store, run=run)

        def forget():
            edge.rule = Tally()

        yield SimpleNamespace(
            inventory=inventory,
            ledger=ledger,
            store=store,
            bodies=bodies,
            edge=edge,
            asked=asked,
            chunk=chunk,
            all=all_of_it,
            forget=forget,
        )


def copies_of(wide):
    client = wide.store.endpoint.client
    keys = [f"promoted/points/cid/{number}.tar" for number in range(SHARDS)]
    return [client.get_object(Bucket=wide.store.bucket, Key=key)["Body"].read() for key in keys]


def chunk_facts(wide):
    return [key for key, _ in wide.ledger.get_all("entry", "cid").of(CHUNK)]


def test_chunks_send_each_shard_once_and_the_stage_looks_once_at_each(wide):
    parts = chunks_to_copy(wide.inventory, wide.ledger, wide.store)
    assert parts == [Chunk(0, 3), Chunk(3, 7), Chunk(7, 10)]
    wide.forget()
    assert [wide.chunk(part) for part in reversed(parts)] == [3, 4, 3]
    assert wide.asked("PUT") == SHARDS
    assert len(chunk_facts(wide)) == 3
    wide.forget()
    copied = wide.all()
    assert (wide.asked("PUT"), wide.asked("HEAD"), wide.asked("GET")) == (0, SHARDS, 0)
    assert (copied.copied, copied.bytes_written) == (SHARDS, SHARDS * 20_000)
    assert [shard.sha256 for shard in copied.shards] == [shard.sha256 for shard in wide.inventory.shards]
    assert copies_of(wide) == wide.bodies
    assert chunk_facts(wide) == []


def test_what_is_known_to_be_copied_is_not_shared_out_again(wide):
    wide.all()
    assert chunks_to_copy(wide.inventory, wide.ledger, wide.store) == []
    assert wide.all().copied == 0


def test_shards_that_stay_are_not_shared_out(wide):
    assert chunks_to_copy(wide.inventory, wide.ledger, None) == []


def test_a_chunk_that_is_done_again_sends_nothing_and_still_counts(wide):
    part = Chunk(3, 7)
    assert wide.chunk(part) == 4
    wide.forget()
    assert wide.chunk(part) == 4
    assert (wide.asked("PUT"), wide.asked("HEAD")) == (0, 4)
    assert wide.all().copied == SHARDS


def test_what_another_run_has_copied_counts_for_that_one(wide):
    wide.chunk(Chunk(0, 3), run="an earlier run")
    copied = wide.all()
    assert (copied.copied, copied.bytes_written) == (SHARDS - 3, (SHARDS - 3) * 20_000)


def test_a_chunk_that_was_broken_off_is_taken_up_where_it_was(wide):
    class Third(Rule):
        def __init__(self):
            self.puts = 0

        def asked(self, call):
            if (call.service, call.method) != ("public", "PUT"):
                return None
            self.puts += 1
            return None if self.puts <= 2 else refusal

    from faulty.messages import Answer

    refusal = Answer(403, {"content-type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
    wide.edge.rule = Third()
    with pytest.raises(Exception, match="AccessDenied"):
        wide.chunk(Chunk(3, 7))
    assert chunk_facts(wide) == []
    wide.forget()
    assert wide.chunk(Chunk(3, 7)) == 2
    assert wide.all().copied == SHARDS - 2
    assert copies_of(wide) == wide.bodies


def test_a_copy_that_is_gone_after_its_chunk_is_made_again(wide):
    for part in chunks_of(wide.inventory):
        wide.chunk(part)
    wide.store.endpoint.client.delete_object(Bucket=wide.store.bucket, Key="promoted/points/cid/4.tar")
    wide.forget()
    assert wide.all().copied == SHARDS
    assert wide.asked("PUT") == 1
    assert copies_of(wide) == wide.bodies


def test_a_copy_that_was_overwritten_after_its_chunk_is_refused(wide):
    for part in chunks_of(wide.inventory):
        wide.chunk(part)
    client = wide.store.endpoint.client
    client.put_object(Bucket=wide.store.bucket, Key="promoted/points/cid/4.tar", Body=b"x" * 20_000)
    with pytest.raises(ShardConflictError):
        wide.all()


@pytest.mark.parametrize("spoil", [{"shards": 5}, {"proofs": []}, {"written": None}, {"claim": "other"}])
def test_what_a_chunk_left_that_is_damaged_or_of_other_bytes_is_not_believed(wide, spoil):
    wide.chunk(Chunk(3, 7))
    [fact] = chunk_facts(wide)
    redis, kept = LocalIndex().redis, f"atdata:ledger:{fact.scope}"
    redis.hset(kept, fact.name, json.dumps({**json.loads(redis.hget(kept, fact.name)), **spoil}))
    wide.forget()
    assert wide.all().copied == SHARDS - 4
    assert wide.asked("PUT") == SHARDS - 4


def test_a_small_dataset_costs_no_round_trip_to_the_ledger(wide, monkeypatch):
    monkeypatch.setattr(chunks, "SHARDS", SHARDS)
    asked = []

    class Counting:
        def get_many(self, keys):
            asked.append(keys)

        def remove(self, key):
            asked.append(key)

    assert chunks.noted(wide.inventory, "there", Counting(), None) == [None] * SHARDS
    chunks.forget(wide.inventory, "there", Counting())
    assert asked == []
