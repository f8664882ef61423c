"""When what failed is tried again, as the ledger has it."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from atdata_core.errors import (
    BlockedError,
    CredentialsError,
    LoginError,
    ServiceUnavailableError,
    ShardForbiddenError,
    ShardMissingError,
)
from atdata_core.promotion.scheduling import retry_policy
from atdata_core.promotion.scheduling.due import due
from atdata_core.promotion.scheduling.retry_policy import (
    failed,
    next_attempt,
    note_outage,
    noting_outage,
    outage_of,
    reset_attempts,
)
from atdata_core.state.facts import FAILURE, OUTAGE, Failure
from atdata_core.state.ledger import MemoryLedger

DID = "did:plc:abc"
LASTING = ShardMissingError("gone", url="s3://b/k.tar")
PASSING = ServiceUnavailableError("down", service="x", status=None)
INDEX = SimpleNamespace(get_schema=lambda ref: {"name": "Point"})


def entry(cid="bafyone", metadata=None):
    return SimpleNamespace(
        name="points", schema_ref="local://s", data_urls=["s3://b/k"], metadata=metadata, cid=cid
    )


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(at=datetime(2026, 1, 2, tzinfo=UTC))
    monkeypatch.setattr(retry_policy, "clock", lambda: now.at)

    def passes(seconds):
        now.at += timedelta(seconds=seconds)

    return SimpleNamespace(passes=passes)


@pytest.fixture
def ledger():
    return MemoryLedger()


def state(ledger, **of):
    return due(entry(**of), INDEX, ledger, DID).state


def test_pauses_grow_until_what_lasts_is_given_up(clock, ledger):
    for pause in retry_policy.PAUSES:
        assert state(ledger) == "promote"
        failed(ledger, "points", "copied_shards", LASTING, entry=entry())
        clock.passes(pause - 1)
        assert state(ledger) == "failed"
        clock.passes(1)
    failed(ledger, "points", "copied_shards", LASTING, entry=entry())
    clock.passes(10**8)
    found = due(entry(), INDEX, ledger, DID)
    assert (found.state, found.attempts) == ("retries exhausted", 5)
    assert found.reason == "5 attempts failed, the last one at copied_shards: gone"


@pytest.mark.parametrize(
    "error",
    [
        PASSING,
        LoginError("no", handle="h", service="s"),
        CredentialsError("no", source="x"),
        ShardForbiddenError("no", url="s3://b/k.tar"),
        TimeoutError("slow"),
    ],
)
def test_what_passes_or_is_mended_for_all_is_never_given_up(clock, ledger, error):
    for number in range(20):
        failed(ledger, "points", "copied_shards", error, entry=entry())
        assert state(ledger) == "failed"
        clock.passes(retry_policy.PASSING_PAUSES[min(number, 2)])
        assert state(ledger) == "promote"
    failed(ledger, "points", "copied_shards", LASTING, entry=entry())
    clock.passes(retry_policy.PAUSES[0])
    assert state(ledger) == "promote"


def test_what_a_run_tries_several_times_is_one_attempt_and_the_worst_of_it_counts(ledger):
    for error, counts in [(PASSING, (1, 0)), (LASTING, (1, 1)), (PASSING, (1, 1))]:
        failed(ledger, "points", "copied_shards", error, entry=entry(), run="a")
        kept = ledger.get(FAILURE("points"))
        assert (kept.attempts, kept.lasting) == counts
    failed(ledger, "points", "copied_shards", LASTING, entry=entry(), run="b")
    assert ledger.get(FAILURE("points")).lasting == 2


def test_another_entry_and_other_metadata_have_failures_of_their_own(ledger):
    for _ in range(3):
        failed(ledger, "points", "copied_shards", LASTING, entry=entry())
    assert state(ledger) == "failed"
    assert state(ledger, cid="bafytwo") == state(ledger, metadata={"license": "MIT"}) == "promote"
    failed(ledger, "points", "copied_shards", LASTING, entry=entry(cid="bafytwo"))
    assert ledger.get(FAILURE("points")).attempts == 1


def test_each_attempt_and_each_new_beginning_is_told_from_the_others(clock, ledger):
    def key():
        found = due(entry(), INDEX, ledger, DID)
        return found.what, found.attempts

    keys = [key()]
    failed(ledger, "points", "copied_shards", LASTING, entry=entry())
    keys.append(key())
    reset_attempts(ledger, "points")
    keys.append(key())
    note_outage(ledger, DID, PASSING)
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_who_is_held_back_was_not_attempted(ledger):
    failed(ledger, "points", "atmosphere_record", BlockedError("held", name="points", reason="r"), entry=entry())
    assert ledger.get(FAILURE("points")) is None


def test_trouble_is_counted_once_for_all_that_find_it_at_the_same_time(clock, ledger):
    for pause in (*retry_policy.PASSING_PAUSES, retry_policy.PASSING_PAUSES[-1]):
        for _ in range(3):
            note_outage(ledger, DID, PASSING)
        found = due(entry(), INDEX, ledger, DID)
        assert (found.state, found.reason) == ("paused", "down")
        assert due(entry(), INDEX, ledger, "did:plc:another").state == "promote"
        clock.passes(pause)
        assert state(ledger) == "promote"
    assert ledger.get(OUTAGE(DID)).attempts == 4
    ledger.remove(OUTAGE(DID))
    assert outage_of(ledger.get(OUTAGE(DID))).when == "now"


def test_only_an_account_that_cannot_be_used_is_trouble_for_all(ledger):
    for error, noted in [(LASTING, False), (LoginError("no", handle="h", service="s"), True)]:
        with pytest.raises(type(error)), noting_outage(ledger, lambda: DID):
            raise error
        assert (ledger.get(OUTAGE(DID)) is not None) is noted


def test_a_failure_without_a_time_that_can_be_read_is_tried_at_once():
    assert next_attempt(Failure("s", "r", False, False, None, None, 1, 1, at="no time")).when == "now"
