"""What went wrong with a dataset is kept until it is published."""

import pytest

from atdata_core.errors import SampleError, ServiceUnavailableError, ShardMissingError
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.scheduling.retry_policy import attempt, next_attempt
from atdata_core.state.facts import FAILURE, NAME_OWNER
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger


@pytest.fixture
def failure(lab):
    def read():
        kept = state_of(lab.index).ledger.get(FAILURE("points"))
        told = ("stage", "reason", "transient", "attempts")
        return None if kept is None else {key: getattr(kept, key) for key in told}

    return read


def test_a_failure_is_noted_with_its_stage_and_forgotten_once_published(lab, atmosphere, failure):
    entry = lab.insert("points", schema=False)
    for attempts in (1, 2):
        with pytest.raises(KeyError, match="publish_schema") as caught:
            promote_to_atmosphere(entry, lab.index, atmosphere.client)
        reason = caught.value.message
        kept = {"stage": "local_dataset", "reason": reason, "transient": False, "attempts": attempts}
        assert failure() == kept
    schema = lab.insert("other").schema_ref
    assert schema == entry.schema_ref
    with pytest.raises(ValueError, match=r"5,?000"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, description="x" * 5001)
    assert (failure()["stage"], failure()["attempts"]) == ("published_schema", 3)
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert failure() is None
    did = atmosphere.client.did
    assert state_of(lab.index).ledger.get(NAME_OWNER(did, "points")).dataset == "points"


def test_a_failure_that_can_pass_is_told_from_one_that_cannot():
    ledger = MemoryLedger()
    for error, transient in [
        (ServiceUnavailableError("down", service="x", status=None), True),
        (ConnectionResetError("reset"), True),
        (ShardMissingError("gone", url="s3://b/k"), False),
        (RuntimeError("odd"), False),
    ]:
        with pytest.raises(type(error)), attempt(ledger, "points", "copied_shards"):
            raise error
        assert ledger.get(FAILURE("points")).transient is transient
    assert ledger.get(FAILURE("points")).reason == "RuntimeError: odd"


def test_a_damaged_sample_is_not_tried_again_by_itself():
    ledger = MemoryLedger()
    for error, when in [(ShardMissingError("gone", url="s3://b/k"), "later"), (SampleError("no vector"), "never")]:
        with pytest.raises(type(error)), attempt(ledger, "points", "local_dataset"):
            raise error
        assert next_attempt(ledger.get(FAILURE("points"))).when == when


def test_where_the_ledger_fails_too_the_first_error_comes_through():
    class Down(MemoryLedger):
        def update(self, scope, fact, change):
            raise ServiceUnavailableError("Redis is down", service="redis", status=None)

    with pytest.raises(RuntimeError, match="first"), attempt(Down(), "points", "copied_shards"):
        raise RuntimeError("first")


def test_an_interruption_is_no_failure():
    ledger = MemoryLedger()
    with pytest.raises(KeyboardInterrupt), attempt(ledger, "points", "copied_shards"):
        raise KeyboardInterrupt
    assert ledger.get(FAILURE("points")) is None
