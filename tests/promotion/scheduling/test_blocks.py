"""What was deleted by hand, or retracted, is published again by a person, and by nobody else."""

import pytest

from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.errors import BlockedError, HeldError, RecordGoneError
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.scheduling.due import due
from atdata_core.state.facts import BLOCK, INVENTORY, Block
from atdata_core.state.index_state import state_of


@pytest.fixture
def state(lab, atmosphere):
    """What the ledger says is to be done with the dataset ``points``."""

    def look():
        return due(
            lab.index.get_entry_by_name("points"), lab.index, state_of(lab.index).ledger, atmosphere.client.did
        )

    return look


@pytest.fixture
def published(lab, atmosphere):
    """A published dataset: its entry, and its records by collection."""
    entry = lab.insert("points")
    promote_to_atmosphere(entry, lab.index, atmosphere.client, description="d")
    records = {collection: atmosphere.records(collection)[0] for collection in (SCHEMA, ENTRY, LABEL)}
    return entry, records


def delete(atmosphere, record):
    collection, rkey = record.uri.rsplit("/", 2)[1:]
    atmosphere.client.delete(collection, rkey)


@pytest.mark.parametrize("gone", [ENTRY, LABEL])
def test_what_was_deleted_by_hand_comes_back_when_a_person_asks(lab, atmosphere, published, state, gone):
    entry, records = published
    delete(atmosphere, records[gone])
    commit = atmosphere.commit
    with pytest.raises(RecordGoneError, match="there no more") as caught:
        promote_to_atmosphere(entry, lab.index, atmosphere.client, restore=False, tags=["unheard"])
    assert caught.value.uri == records[gone].uri
    assert atmosphere.commit == commit
    assert state().state == "blocked"
    assert state().reason == f"{records[gone].uri} was deleted elsewhere"
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert {name: atmosphere.records(name)[0] for name in records} == records
    assert state().state == "published"


@pytest.mark.parametrize("gone", [ENTRY, LABEL])
def test_even_after_another_version_nothing_is_written_where_a_record_is_gone(lab, atmosphere, published, gone):
    _, records = published
    delete(atmosphere, records[gone])
    newer = lab.insert("points", start=50)
    commit = atmosphere.commit
    if gone == LABEL:
        with pytest.raises(RecordGoneError):
            promote_to_atmosphere(newer, lab.index, atmosphere.client, restore=False)
        assert atmosphere.commit == commit
    uri = promote_to_atmosphere(newer, lab.index, atmosphere.client)
    assert atmosphere.records(LABEL)[0].value["datasetUri"] == uri


def test_a_schema_that_was_deleted_is_written_again(lab, atmosphere, published):
    entry, records = published
    delete(atmosphere, records[SCHEMA])
    promote_to_atmosphere(entry, lab.index, atmosphere.client, restore=False)
    (schema,) = atmosphere.records(SCHEMA)
    assert schema.uri == records[SCHEMA].uri
    assert atmosphere.counts == [1, 1, 1]


def test_a_retracted_dataset_waits_for_a_person(lab, atmosphere, published, state):
    entry, records = published
    for collection in (LABEL, ENTRY):
        delete(atmosphere, records[collection])
    ledger = state_of(lab.index).ledger
    ledger.put(BLOCK("points"), Block("retracted", "retracted", atmosphere.client.did, "points"))
    before = ledger.get_all("dataset", "points").facts
    assert (state().state, state().reason) == ("blocked", "retracted")
    commit = atmosphere.commit
    with pytest.raises(BlockedError, match="'points' is blocked: retracted") as caught:
        promote_to_atmosphere(entry, lab.index, atmosphere.client, restore=False, description="unheard")
    assert (caught.value.name, caught.value.reason) == ("points", "retracted")
    assert atmosphere.commit == commit
    after = ledger.get_all("dataset", "points").facts
    assert {key for key in after if after[key] != before[key]} <= {INVENTORY("points")}
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert {name: atmosphere.records(name)[0] for name in records} == records
    assert state().state == "published"


def test_another_accounts_hold_is_its_own(lab, atmosphere):
    entry = lab.insert("points")
    ledger = state_of(lab.index).ledger
    ledger.put(BLOCK("points"), Block("retracted", "retracted", "did:plc:other", "points"))
    promote_to_atmosphere(entry, lab.index, atmosphere.client, restore=False)
    assert atmosphere.counts == [1, 1, 1]
    assert ledger.get(BLOCK("points")).did == "did:plc:other"


def test_the_error_is_caught_by_its_earlier_name():
    with pytest.raises(HeldError):
        raise BlockedError("blocked", name="points", reason="retracted")
