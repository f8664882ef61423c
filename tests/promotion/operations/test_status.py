"""The status of a dataset says how far it is and why it waits, from the ledger alone."""

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import LABEL
from atdata_core.errors import EntryNotFoundError, ShardMissingError
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.operations.status import STAGES, all_statuses, status_of
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.state.index_state import state_of


@pytest.fixture
def status(lab, atmosphere):
    def of(name, did=None):
        before = atmosphere.requests.total
        found = status_of(name, lab.index, state_of(lab.index).ledger, did or atmosphere.client.did)
        assert atmosphere.requests.total == before
        return found

    return of


def test_a_published_dataset_tells_its_record_stages_and_values(lab, atmosphere, status):
    entry = lab.insert("points")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, tags=["a"], license="MIT")
    found = status("points")
    assert (found.state, found.uri, found.stage, found.missing) == ("published", uri, "atmosphere_record", ())
    assert [step.stage for step in found.steps] == list(STAGES)
    assert all(step.current and step.at for step in found.steps)
    assert (found.shards, found.samples) == (3, 15)
    assert found.size == sum(claim.size for claim in lab.index.shard_claims(entry.cid).values())
    assert found.values == {"tags": ["a"], "license": "MIT"}
    assert found.records == (("points", entry.cid, uri),)
    assert found.labels == (("points", atmosphere.records(LABEL)[0].uri),)


def test_a_new_entry_is_to_be_promoted_and_the_stages_of_the_old_one_do_not_count(lab, atmosphere, status):
    promote_to_atmosphere(lab.insert("points"), lab.index, atmosphere.client)
    new = lab.insert("points", start=50)
    found = status("points")
    assert (found.state, found.reason, found.stage) == ("promote", "has a new entry", None)
    assert not any(step.current for step in found.steps)
    take_inventory(new, lab.index, state_of(lab.index).ledger)
    found = status("points")
    assert found.stage == "local_dataset"
    assert "atmosphere_record" in found.missing
    assert "local_dataset" not in found.missing


def test_what_waits_for_its_schema_says_which(lab, status):
    entry = lab.insert("points", schema=False)
    found = status("points")
    assert (found.state, found.reason) == ("waiting", f"waits for its schema {entry.schema_ref}")
    assert found.missing == tuple(STAGES)


def test_a_failed_attempt_is_told_until_one_succeeds(lab, atmosphere, status, point_type):
    url = f"s3://{lab.bucket}/later.tar"
    entry = lab.index.add_entry(atdata.Dataset[point_type](url), name="points")
    lab.index.publish_schema(point_type)
    for _ in range(2):
        with pytest.raises(ShardMissingError):
            promote_to_atmosphere(entry, lab.index, atmosphere.client)
    found = status("points")
    assert (found.state, found.attempts, found.stage) == ("failed", 2, None)
    assert "later.tar" in found.reason
    source = next(iter(lab.index.shard_claims(lab.insert("source").cid))).removeprefix(f"s3://{lab.bucket}/")
    lab.repo.data_store.endpoint.client.copy_object(
        Bucket=lab.bucket, Key="later.tar", CopySource={"Bucket": lab.bucket, "Key": source}
    )
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    found = status("points")
    assert (found.state, found.attempts, found.failure) == ("published", 0, None)


def test_a_retracted_dataset_is_held_with_its_reason(lab, atmosphere, status):
    promote_to_atmosphere(lab.insert("points"), lab.index, atmosphere.client)
    ledger = state_of(lab.index).ledger
    retract(plan_retraction("points", atmosphere.client, ledger=ledger), atmosphere.client, ledger)
    found = status("points")
    assert (found.state, found.uri, found.records, found.labels) == ("blocked", None, (), ())
    assert "retracted" in found.reason
    assert found.block is not None


def test_a_dataset_that_left_the_index_is_known_by_the_ledger(lab, atmosphere, status):
    uri = promote_to_atmosphere(lab.insert("points"), lab.index, atmosphere.client)
    for key in (*lab.index.redis.scan_iter("LocalDatasetEntry:*"), *lab.index.redis.scan_iter("atdata:dataset*")):
        lab.index.redis.delete(key)
    found = status("points")
    assert (found.state, found.uri) == ("removed", uri)


def test_without_an_account_the_ledger_is_told_all_the_same(lab, atmosphere):
    uri = promote_to_atmosphere(lab.insert("points"), lab.index, atmosphere.client)
    lab.insert("more")
    found = {each.name: each for each in all_statuses(lab.index, state_of(lab.index).ledger, None)}
    assert list(found) == ["more", "points"]
    assert (found["points"].state, found["points"].uri) == ("published", uri)
    assert found["more"].state == "unknown"


def test_another_account_has_not_published_it(lab, atmosphere, status):
    promote_to_atmosphere(lab.insert("points"), lab.index, atmosphere.client)
    found = status("points", "did:plc:somebodyelse")
    assert (found.state, found.uri, found.records) == ("promote", None, ())


def test_a_misspelt_name_is_told_what_is_near(lab, status):
    lab.insert("points")
    with pytest.raises(EntryNotFoundError, match="Near it: points"):
        status("pionts")
