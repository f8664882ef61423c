from __future__ import annotations

from dataclasses import replace
from typing import Any

from atdata_core.local import LocalDatasetEntry, LocalIndex
from atdata_core.protocols import ClaimKeeper, ShardFacts

FACTS = ShardFacts(url="s3://b/0.tar", size=10, sha256="a" * 64, md5="b" * 32, samples=3, etag="old")
ENTRY = LocalDatasetEntry("n", "local://schemas/m.S@1.0.0", ["s3://b/{0..1}.tar"])


def test_an_index_keeps_claims(index: LocalIndex):
    assert isinstance(index, ClaimKeeper)
    assert index.shard_claims("none") == {}
    assert index.record_claims("cid", [FACTS]) == {FACTS.url: FACTS}
    assert index.shard_claims("cid") == {FACTS.url: FACTS}


def test_the_first_digest_stands(index: LocalIndex):
    index.record_claims("cid", [FACTS])
    changed = replace(FACTS, sha256="c" * 64, etag="new", size=11)
    assert index.record_claims("cid", [changed]) == {FACTS.url: FACTS}


def test_what_else_is_known_of_the_same_bytes_is_brought_up_to_date(index: LocalIndex):
    index.record_claims("cid", [replace(FACTS, samples=None, md5=None)])
    seen = replace(FACTS, etag="new", endpoint="http://e", md5=None)

    standing = index.record_claims("cid", [seen])[FACTS.url]

    assert standing == replace(FACTS, etag="new", endpoint="http://e", md5=None)


def test_two_writers_at_a_time_keep_the_first_claim(index: LocalIndex, client: Any):
    rival = LocalIndex(client)

    class Late:
        """Another process records its claim between this one's look and its write."""

        def __init__(self, redis: Any) -> None:
            self._redis = redis

        def eval(self, *arguments: Any) -> Any:
            rival.record_claims("cid", [FACTS])
            return self._redis.eval(*arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._redis, name)

    index.redis = Late(client)
    standing = index.record_claims("cid", [replace(FACTS, sha256="f" * 64)])
    assert standing == {FACTS.url: FACTS}


def test_a_new_insert_of_the_same_name_and_data_is_a_new_claim(index: LocalIndex):
    index.register(ENTRY)
    index.record_claims(ENTRY.cid, [FACTS])
    index.register(ENTRY)
    assert index.shard_claims(ENTRY.cid) == {}


def test_another_name_for_the_same_data_keeps_the_claims(index: LocalIndex):
    index.register(ENTRY)
    index.record_claims(ENTRY.cid, [FACTS])
    index.register(replace(ENTRY, name="other"))
    assert index.shard_claims(ENTRY.cid) == {FACTS.url: FACTS}


def test_a_writer_that_knows_its_shards_makes_the_claims(index: LocalIndex):
    index.register(ENTRY, claims=[replace(FACTS, sha256="c" * 64)])
    index.register(ENTRY, claims=[FACTS])
    assert index.shard_claims(ENTRY.cid) == {FACTS.url: FACTS}


def test_thousands_of_claims_are_kept_at_once(index: LocalIndex):
    facts = [replace(FACTS, url=f"s3://b/{number:06d}.tar") for number in range(6000)]
    index.register(ENTRY, claims=facts)
    assert len(index.record_claims(ENTRY.cid, facts)) == 6000
