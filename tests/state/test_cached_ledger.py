"""A ledger that answers from memory says what the ledger itself would say, whoever else writes to it."""

import pytest

from atdata_core.state.cached_ledger import CachedLedger
from atdata_core.state.facts import INTENT, OUTAGE, Intent, Outage
from atdata_core.state.redis_state import RedisLedger

OLD, NEW, OWN, THEIRS = (INTENT("a", name) for name in ("old", "new", "own", "theirs"))
BLIND = OUTAGE("x")


def n(number):
    return Intent((str(number),))


@pytest.fixture
def ledger(index):
    return RedisLedger(index.redis)


@pytest.fixture
def gathered(ledger):
    ledger.put(OLD, n(1))
    made = CachedLedger(ledger)
    made.prefetch(["a"])
    return made


def plain(found):
    return {key: int(fact.cids[0]) for key, fact in found.of(INTENT)}


def count_up(fact):
    return n(value(fact) + 1)


def value(fact):
    return 0 if fact is None else int(fact.cids[0])


def test_what_is_changed_is_seen_at_once_and_written_at_the_flush(ledger, gathered):
    gathered.put(NEW, n(5))
    gathered.update(OLD, count_up)
    gathered.put(BLIND, Outage("down", 7))
    assert [value(gathered.get(key)) for key in (NEW, OLD)] == [5, 2]
    assert gathered.get_many([BLIND, THEIRS])[THEIRS] is None
    assert plain(ledger.get_all("dataset", "a")) == {OLD: 1}
    assert gathered.flush() == set()
    assert plain(ledger.get_all("dataset", "a")) == {OLD: 2, NEW: 5}
    assert ledger.get_all("account", "x")[BLIND].attempts == 7
    gathered.remove(OLD)
    gathered.remove(BLIND)
    gathered.update(NEW, count_up)
    gathered.flush()
    assert plain(ledger.get_all("dataset", "a")) == {NEW: 6}
    assert ledger.owners("account") == []


def test_a_change_of_somebody_else_is_kept_and_built_upon(ledger, gathered):
    gathered.update(OLD, count_up)
    gathered.update(OWN, count_up)
    ledger.put(OLD, n(10))
    assert gathered.flush() == set()
    assert plain(ledger.get_all("dataset", "a")) == {OLD: 11, OWN: 1}
    assert value(gathered.get(OLD)) == 11


def test_who_comes_first_with_a_fact_that_is_settled_once_is_told(ledger, gathered):
    other = INTENT("b", "new")
    gathered.prefetch(["a", "b"])
    assert value(gathered.put_first(OLD, n(9))) == 1
    assert value(gathered.put_first(NEW, n(1))) == 1
    assert value(gathered.put_first(other, n(2))) == 2
    ledger.put_first(NEW, n(3))
    assert gathered.flush() == {"a"}
    assert value(gathered.get(NEW)) == 3
    assert value(ledger.get(NEW)) == 3
    assert value(ledger.get(other)) == 2
    assert gathered.flush() == set()


def test_a_dataset_that_is_read_again_keeps_what_was_not_written_yet(ledger, gathered):
    gathered.put(NEW, n(5))
    ledger.put(THEIRS, n(8))
    gathered.prefetch(["a"])
    assert [value(gathered.get(key)) for key in (NEW, THEIRS)] == [5, 8]
    gathered.flush()
    assert plain(ledger.get_all("dataset", "a")) == {OLD: 1, NEW: 5, THEIRS: 8}


def test_a_damaged_fact_counts_as_lost_and_is_written_over(ledger, gathered, index):
    index.redis.hset("atdata:ledger:dataset:a", NEW.name, b"{")
    gathered.prefetch(["a"])
    assert gathered.get(NEW) is None
    gathered.update(NEW, count_up)
    gathered.flush()
    assert value(ledger.get(NEW)) == 1


def test_a_secret_is_masked_in_the_fact_that_holds_it(ledger, gathered):
    gathered.put(BLIND, Outage("https://host/k?X-Amz-Signature=0123456789abcdef was refused", 1))
    gathered.put(OUTAGE("y"), Outage("plain", 1))
    gathered.flush()
    assert "0123456789abcdef" not in ledger.get(BLIND).reason
    assert ledger.get(OUTAGE("y")).reason == "plain"


def test_datasets_that_were_not_prefetched_are_asked_for(ledger, gathered):
    key = INTENT("c", "new")
    ledger.put(key, n(1))
    assert value(gathered.get(key)) == 1
    assert value(gathered.update(key, count_up)) == 2
    assert value(gathered.put_first(key, n(9))) == 2
    assert gathered.owners("dataset") == ["a", "c"]
    assert plain(gathered.get_all("dataset", "c")) == {key: 2}
