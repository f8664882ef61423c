"""Several facts of a ledger at once, whatever kind of ledger it is; and every fact as JSON and back."""

import json
from dataclasses import MISSING, fields

import pytest

from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import BLOCK, FIRST_CLAIM, OUTAGE, Block, Outage, PublicationId
from atdata_core.state.ledger import KeyPattern, MemoryLedger, read_key
from atdata_core.state.redis_state import RedisLedger

DID = "did:plc:abc"
WANTED = [OUTAGE(DID), BLOCK("b"), OUTAGE("did:plc:none"), BLOCK("none"), FIRST_CLAIM("cid")]


def block(name):
    return Block("gone", "deleted", DID, name)


@pytest.fixture(params=["memory", "redis"])
def ledger(request, index):
    made = MemoryLedger() if request.param == "memory" else RedisLedger(index.redis)
    made.put(OUTAGE(DID), Outage("down", 1))
    made.put(BLOCK("b"), block("second"))
    return made


def test_several_facts_are_found_by_their_keys(ledger):
    found = ledger.get_many(WANTED)
    assert [found[key] for key in WANTED] == [ledger.get(key) for key in WANTED]
    assert (found[OUTAGE(DID)].reason, found[BLOCK("b")].name) == ("down", "second")
    assert [found[key] for key in WANTED[2:]] == [None] * 3
    assert ledger.get_many([])[BLOCK("b")] is None


def test_all_facts_of_a_dataset_are_found_and_no_others(ledger):
    assert [key for key, _ in ledger.get_all("dataset", "b").of(BLOCK)] == [BLOCK("b")]
    assert list(ledger.get_all("dataset", "b").of(OUTAGE)) == []
    assert (ledger.owners("dataset"), ledger.owners("account"), ledger.owners("entry")) == (["b"], [DID], [])


def test_several_facts_of_redis_take_one_round_trip(index, round_trips):
    ledger = RedisLedger(index.redis)
    ledger.put(OUTAGE(DID), Outage("down", 1))
    assert round_trips.of(lambda: ledger.get_many(WANTED)) == 1


def test_a_damaged_fact_counts_as_lost_and_hides_no_other(index):
    ledger = RedisLedger(index.redis)
    ledger.put(OUTAGE(DID), Outage("down", 1))
    for damaged in (b"{", b"[]", b"null", b'{"kind": "gone"}'):
        index.redis.hset("atdata:ledger:dataset:b", "block", damaged)
        found = ledger.get_many(WANTED)
        assert found[OUTAGE(DID)].reason == "down"
        assert found[BLOCK("b")] is None


SAMPLES = {
    "str": "text",
    "int": 3,
    "bool": True,
    "Json": {"a": 1},
    "PublicationId": PublicationId(DID, "a:name", "bafycid"),
    "tuple[ShardFacts, ...]": (ShardFacts("s3://bucket/0.tar", 5, "0" * 64, samples=2),),
    "tuple[str, ...]": ("one", "two"),
    "tuple[int, ...]": (1, 2),
    "tuple[Json, ...]": ({"a": 1},),
}


def facts_of(kind):
    """A fact with everything that it can hold, and one with as little."""
    known = {each.name: SAMPLES[str(each.type).removesuffix(" | None")] for each in fields(kind)}
    known = {name: value for name, value in known.items() if name != "changed"}
    needed = {each.name for each in fields(kind) if each.default is MISSING}
    least = {each.name: None for each in fields(kind) if each.name in needed and str(each.type).endswith("None")}
    return kind(**known), kind(**{name: known[name] for name in needed} | least)


@pytest.mark.parametrize("pattern", KeyPattern.every, ids=lambda each: f"{each.scope} {each.template}")
def test_every_fact_is_the_same_after_it_was_kept_and_its_key_is_read_back(pattern, index):
    parts = {"did": DID, "cid": "bafycid", "sha256": "ab" * 32, "start": "0", "stop": "64"}
    key = pattern("owner:of it", *(parts.get(name, f"a {name}: b") for name in pattern.names))
    assert read_key(pattern.scope, key.owner, key.name) == key
    ledger = RedisLedger(index.redis)
    for fact in facts_of(pattern.kind):
        ledger.put(key, fact)
        kept = ledger.get(key)
        assert kept.at is not None
        before, after = (json.loads(json.dumps(each.to_json())) for each in (fact, kept))
        assert {**before, "at": None} == {**after, "at": None}
        assert ledger.get_all(pattern.scope, key.owner)[key] == kept
