"""Several facts of a ledger at once, whatever kind of ledger it is."""

import pytest

from atdata_core.state.ledger import MemoryLedger, RedisLedger

WANTED = [("dataset:a", "record"), ("dataset:b", "hold"), ("dataset:a", "nothing"), ("dataset:none", "record")]


@pytest.fixture(params=["memory", "redis"])
def ledger(request, index):
    made = MemoryLedger() if request.param == "memory" else RedisLedger(index.redis)
    made.put("dataset:a", "record", {"n": 1})
    made.put("dataset:b", "hold", {"n": 2})
    return made


def test_several_facts_come_in_the_order_in_which_they_are_asked_for(ledger):
    found = ledger.get_many(WANTED)
    assert found == [ledger.get(scope, fact) for scope, fact in WANTED]
    assert [fact and fact["n"] for fact in found] == [1, 2, None, None]
    assert ledger.get_many([]) == []


def test_several_facts_of_redis_take_one_round_trip(index, round_trips):
    ledger = RedisLedger(index.redis)
    ledger.put("dataset:a", "record", {"n": 1})
    assert round_trips.of(lambda: ledger.get_many(WANTED)) == 1


def test_a_damaged_fact_counts_as_lost_and_hides_no_other(index):
    ledger = RedisLedger(index.redis)
    ledger.put("dataset:a", "record", {"n": 1})
    index.redis.hset("atdata:ledger:dataset:b", "hold", b"{")
    found = ledger.get_many(WANTED)
    assert found[0]["n"] == 1
    assert found[1] is None
