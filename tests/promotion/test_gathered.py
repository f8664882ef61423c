"""A ledger that answers from memory says what the ledger itself would say, whoever else writes to it."""

import pytest

from atdata_core.state.cached_ledger import CachedLedger
from atdata_core.state.ledger import RedisLedger

SCOPE = "dataset:a"


@pytest.fixture
def ledger(index):
    return RedisLedger(index.redis)


@pytest.fixture
def gathered(ledger):
    ledger.put(SCOPE, "old", {"n": 1})
    made = CachedLedger(ledger)
    made.gather([SCOPE])
    return made


def plain(facts):
    return {name: {key: value for key, value in fact.items() if key != "at"} for name, fact in facts.items()}


def count_up(fact):
    return {"n": (fact or {"n": 0})["n"] + 1}


def test_what_is_changed_is_seen_at_once_and_written_at_the_flush(ledger, gathered):
    gathered.put(SCOPE, "new", {"n": 5})
    gathered.update(SCOPE, "old", count_up)
    gathered.put("account:x", "blind", {"n": 7})
    assert [gathered.get(SCOPE, fact)["n"] for fact in ("new", "old")] == [5, 2]
    assert gathered.get_many([("account:x", "blind"), (SCOPE, "none")])[1] is None
    assert plain(ledger.get_all(SCOPE)) == {"old": {"n": 1}}
    assert gathered.flush() == set()
    assert plain(ledger.get_all(SCOPE)) == {"old": {"n": 2}, "new": {"n": 5}}
    assert plain(ledger.get_all("account:x")) == {"blind": {"n": 7}}
    gathered.remove(SCOPE, "old")
    gathered.remove("account:x", "blind")
    gathered.update(SCOPE, "new", count_up)
    gathered.flush()
    assert plain(ledger.get_all(SCOPE)) == {"new": {"n": 6}}
    assert ledger.scopes("account") == []


def test_a_change_of_somebody_else_is_kept_and_built_upon(ledger, gathered):
    gathered.update(SCOPE, "old", count_up)
    gathered.update(SCOPE, "own", count_up)
    ledger.put(SCOPE, "old", {"n": 10})
    assert gathered.flush() == set()
    assert plain(ledger.get_all(SCOPE)) == {"old": {"n": 11}, "own": {"n": 1}}
    assert gathered.get(SCOPE, "old")["n"] == 11


def test_who_comes_first_with_a_fact_that_is_settled_once_is_told(ledger, gathered):
    gathered.gather([SCOPE, "dataset:b"])
    assert gathered.put_first(SCOPE, "old", {"n": 9})["n"] == 1
    assert gathered.put_first(SCOPE, "created", {"n": 1})["n"] == 1
    assert gathered.put_first("dataset:b", "created", {"n": 2})["n"] == 2
    ledger.put_first(SCOPE, "created", {"n": 3})
    assert gathered.flush() == {SCOPE}
    assert gathered.get(SCOPE, "created")["n"] == 3
    assert ledger.get(SCOPE, "created")["n"] == 3
    assert ledger.get("dataset:b", "created")["n"] == 2
    assert gathered.flush() == set()


def test_a_scope_that_is_read_again_keeps_what_was_not_written_yet(ledger, gathered):
    gathered.put(SCOPE, "new", {"n": 5})
    ledger.put(SCOPE, "theirs", {"n": 8})
    gathered.gather([SCOPE])
    assert [gathered.get(SCOPE, fact)["n"] for fact in ("new", "theirs")] == [5, 8]
    gathered.flush()
    assert plain(ledger.get_all(SCOPE)) == {"old": {"n": 1}, "new": {"n": 5}, "theirs": {"n": 8}}


def test_a_damaged_fact_counts_as_lost_and_is_written_over(ledger, gathered, index):
    index.redis.hset(f"atdata:ledger:{SCOPE}", "bad", b"{")
    gathered.gather([SCOPE])
    assert gathered.get(SCOPE, "bad") is None
    gathered.update(SCOPE, "bad", count_up)
    gathered.flush()
    assert ledger.get(SCOPE, "bad")["n"] == 1


def test_a_secret_is_masked_in_the_fact_that_holds_it(ledger, gathered):
    gathered.put(SCOPE, "failure", {"reason": "https://host/k?X-Amz-Signature=0123456789abcdef was refused"})
    gathered.put(SCOPE, "other", {"reason": "plain"})
    gathered.flush()
    assert "0123456789abcdef" not in ledger.get(SCOPE, "failure")["reason"]
    assert ledger.get(SCOPE, "other")["reason"] == "plain"


def test_scopes_that_were_not_gathered_are_asked_for(ledger, gathered):
    ledger.put("dataset:c", "fact", {"n": 1})
    assert gathered.get("dataset:c", "fact")["n"] == 1
    assert gathered.update("dataset:c", "fact", count_up)["n"] == 2
    assert gathered.put_first("dataset:c", "fact", {"n": 9})["n"] == 2
    assert gathered.scopes("dataset") == [SCOPE, "dataset:c"]
    assert plain(gathered.get_all("dataset:c")) == {"fact": {"n": 2}}
