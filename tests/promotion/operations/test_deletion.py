"""What was deleted from the index is not promoted, whoever holds an entry of it still."""

import pytest

from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.errors import EntryNotFoundError
from atdata_core.local import S3DataStore
from atdata_core.promote import plan_promotion, promote_many, promote_to_atmosphere
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.operations.status import status_of
from atdata_core.state.index_state import state_of


@pytest.fixture(params=["DEL", "remove"])
def delete(request, lab):
    """Delete an entry as another program does, or the dataset as its owner does here."""

    def by(entry):
        if request.param == "remove":
            lab.index.remove(entry.name)
        else:
            lab.index.redis.delete(f"LocalDatasetEntry:{entry.cid}")

    return by


def test_an_entry_object_that_somebody_still_holds_is_not_promoted(lab, atmosphere, delete):
    entry = lab.insert("points")
    delete(entry)
    with pytest.raises(EntryNotFoundError, match=rf"{entry.cid} of dataset 'points' was deleted from the index"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    with pytest.raises(EntryNotFoundError, match="was deleted"):
        plan_promotion(entry, lab.index, atmosphere.client)
    assert [atmosphere.records(kind) for kind in (SCHEMA, ENTRY, LABEL)] == [[], [], []]


def test_an_older_entry_that_was_deleted_is_not_promoted_where_a_newer_one_is_there(lab, atmosphere):
    older = lab.insert("points")
    newer = lab.insert("points", start=50)
    lab.index.redis.delete(f"LocalDatasetEntry:{older.cid}")
    with pytest.raises(EntryNotFoundError, match=older.cid):
        promote_to_atmosphere(older, lab.index, atmosphere.client)
    assert promote_to_atmosphere(newer, lab.index, atmosphere.client)


def test_of_many_the_deleted_ones_fail_and_the_others_are_promoted(lab, atmosphere, delete):
    entries = [lab.insert(name, start=50 * number) for number, name in enumerate(("a", "b", "c"))]
    delete(entries[1])
    outcomes = promote_many(entries, lab.index, atmosphere.client)
    assert [outcome.change for outcome in outcomes] == ["created", None, "created"]
    assert isinstance(outcomes[1].error, EntryNotFoundError)
    assert sorted(record.value["name"] for record in atmosphere.records(ENTRY)) == ["a", "c"]


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_what_is_deleted_while_its_shards_are_copied_is_not_published(lab, atmosphere, delete, new_bucket, many):
    entry = lab.insert("points", shards=1)

    class Meanwhile(S3DataStore):
        """A store that takes its time."""

        def find_shard(self, *arguments, **more):
            deleted()
            return super().find_shard(*arguments, **more)

        def is_empty(self, folder):
            deleted()
            return super().is_empty(folder)

    def deleted():
        if not lab.index.was_deleted("points", entry.cid):
            delete(entry)

    store = Meanwhile(lab.s3, bucket=new_bucket())
    if many:
        [outcome] = promote_many([entry], lab.index, atmosphere.client, data_store=store)
        assert isinstance(outcome.error, EntryNotFoundError)
    else:
        with pytest.raises(EntryNotFoundError, match="was deleted"):
            promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert lab.index.was_deleted("points", entry.cid)
    assert atmosphere.records(ENTRY) == atmosphere.records(LABEL) == []


def test_a_removal_tells_what_stays_published_and_a_retraction_takes_it_back(lab, atmosphere):
    entry = lab.insert("points")
    client, ledger = atmosphere.client, state_of(lab.index).ledger
    promote_to_atmosphere(entry, lab.index, client, version="1.0.0")
    promote_to_atmosphere(entry, lab.index, client, name="renamed")
    standing = sorted(record.uri for kind in (ENTRY, LABEL) for record in atmosphere.records(kind))
    removal = lab.index.remove("points")
    assert (removal.entries, list(removal.published)) == ((entry.cid,), standing)
    found = status_of("points", lab.index, ledger, client.did)
    assert found.state == "removed"
    assert sorted([uri for *_, uri in (*found.records, *found.labels)]) == standing
    for name in ("points", "renamed"):
        retract(plan_retraction(name, client, ledger=ledger, index=lab.index, all_versions=True), client, ledger)
    assert atmosphere.records(ENTRY) == atmosphere.records(LABEL) == []
    found = status_of("points", lab.index, ledger, client.did)
    assert (found.state, found.records, found.labels) == ("removed", (), ())


def test_what_is_inserted_again_is_promoted_to_the_same_record(lab, atmosphere, delete):
    entry = lab.insert("points")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client)
    delete(entry)
    lab.index.register(entry)
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client) == uri
