"""A lab that lost Redis has its datasets again: what the account published is taken back into the index."""

import pytest

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.errors import EntryNotFoundError
from atdata_core.local import S3DataStore
from atdata_core.promotion.operations.reconcile import reconcile
from atdata_core.promotion.operations.recover import recover
from atdata_core.promotion.operations.status import status_of
from atdata_core.promotion.scheduling.due import due
from atdata_core.state.index_state import state_of

pytestmark = pytest.mark.filterwarnings("ignore::atdata_core.errors.NotPublicWarning")


@pytest.fixture
def public(lab, new_bucket, box):
    """A store in a bucket that strangers read by http."""
    bucket = new_bucket()
    return S3DataStore(lab.s3, bucket=bucket, prefix="open", public_url=f"{box.public_url}/{bucket}")


@pytest.fixture
def lost(lab, atmosphere):
    """Empty Redis, take back what can be, and compare; what could not be taken back."""

    def lose(names=()):
        lab.index.redis.flushdb()
        found = recover(lab.index, atmosphere.client, names)
        reconcile(lab.index, atmosphere.client, state_of(lab.index).ledger)
        return {each.uri: each.problem for each in found}

    return lose


@pytest.fixture
def state(lab, atmosphere):
    """What is to be done with a dataset, by name."""

    def read(name):
        return due(lab.index.get_dataset(name), lab.index, state_of(lab.index).ledger, atmosphere.client.did).state

    return read


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("copied", [False, True])
def test_what_was_published_is_there_again_under_its_own_cid_and_published_once(
    lab, publish, atmosphere, public, lost, state, point_type, copied, shards
):
    entry = lab.insert("points", shards=shards, metadata={"n": 1, "license": "MIT"})
    said = {"description": "said", "tags": ["a"]}
    uri = publish(entry, data_store=public if copied else None, **said)
    record = atmosphere.client.get_record(uri)

    assert lost() == {uri: None}

    again = lab.index.get_entry_by_name("points")
    assert (again.cid, again.metadata) == (entry.cid, entry.metadata)
    assert (again.schema_ref, copied or again.data_urls == entry.data_urls) == (entry.schema_ref, True)
    assert state("points") == "published"
    found = status_of("points", lab.index, state_of(lab.index).ledger, atmosphere.client.did)
    # Whether somebody said that the shards stay is not known any more.
    assert (found.values, found.failure) == (said | ({} if copied else {"keep_urls": True}), None)
    # Nothing is written by the next promotion, which reads each shard once: who recorded its digest is not known.
    assert publish(again) == uri
    assert atmosphere.client.get_record(uri).cid == record.cid
    assert atmosphere.counts == [1, 1, 1]
    opened = atdata.Dataset[point_type](again.data_urls, data_store=None if copied else lab.repo.data_store)
    read = [sample.label for sample in opened.ordered()]
    assert read == list(range(5 * shards))


def test_older_entries_are_taken_back_too_and_the_labelled_one_is_current(lab, publish, atmosphere, lost, state):
    first, second = lab.insert("points"), None
    publish(first)
    second = lab.insert("points", start=50)
    publish(second)
    publish(lab.insert("more", start=90), name="other name")

    found = lost()

    assert list(found.values()) == [None] * 3
    assert lab.index.get_entry_by_name("points").cid == second.cid
    assert {entry.cid for entry in lab.index.all_entries if entry.name == "points"} == {first.cid, second.cid}
    assert state("points") == state("other name") == "published"


def test_only_what_is_named_is_taken_back_and_what_is_there_is_left(lab, publish, atmosphere, lost):
    publish(lab.insert("a"))
    uri = publish(lab.insert("b", start=50))
    assert lost(["b"]) == {uri: None}
    assert [entry.name for entry in lab.index.list_datasets()] == ["b"]
    assert recover(lab.index, atmosphere.client, ["b"]) == []
    with pytest.raises(EntryNotFoundError, match="nothing from here as 'c'"):
        recover(lab.index, atmosphere.client, ["c"])


def test_records_that_no_entry_made_are_left_and_what_cannot_be_told_is_said(
    lab, publish, atmosphere, lost, served_type
):
    direct = AtmosphereIndex(atmosphere.client)
    entry = lab.insert("points")
    publish(entry)
    urls = [url.replace("{000000..000002}", "{000000,000001,000002}") for url in entry.data_urls]
    lab.index.add_entry(atdata.Dataset[served_type](urls), name="odd")
    odd = publish(lab.index.get_dataset("odd"))
    dataset = atdata.Dataset[served_type](entry.data_urls[0], data_store=lab.repo.data_store)
    written = direct.insert_dataset(dataset, name="direct")

    found = lost()

    assert written.uri not in found
    assert "does not tell which entry it was made from" in found[odd]
    kinds = {
        each.uri: each.kind
        for each in reconcile(lab.index, atmosphere.client, state_of(lab.index).ledger).discrepancies
    }
    assert (kinds[written.uri], kinds[odd]) == ("foreign", "orphaned")


@pytest.fixture
def served_type(point_type):
    """The type of the lab's samples."""
    return point_type


def test_bytes_that_changed_while_the_index_was_lost_are_refused(
    lab, publish, atmosphere, lost, write_tar, tmp_path, s3
):
    from atdata_core.errors import ShardChangedError
    from atdata_core.stores.s3.objects import S3Endpoint

    entry = lab.insert("points", shards=1)
    publish(entry)
    lost()
    bucket, _, key = entry.data_urls[0].removeprefix("s3://").partition("/")
    with open(write_tar(tmp_path / "other.tar", start=70), "rb") as other:
        S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key=key, Body=other.read())
    with pytest.raises(ShardChangedError):
        publish(lab.index.get_entry_by_name("points"), license="MIT")
    (record,) = atmosphere.records(ENTRY)
    assert "license" not in record.value
