"""Where shards lie is a value of the publication: it stays until somebody says otherwise, in words of their own."""

from types import SimpleNamespace

import pytest

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.errors import DestinationError, NotPublicError, ShardMissingError, VisibilityError
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.promote import plan_promotion, promote_many
from atdata_core.promotion.operations.reconcile import reconcile
from atdata_core.promotion.operations.status import status_of
from atdata_core.promotion.scheduling.due import due
from atdata_core.state.index_state import state_of

pytestmark = pytest.mark.filterwarnings("ignore::atdata_core.errors.NotPublicWarning")


@pytest.fixture
def public(lab, new_bucket, box):
    """A store in a bucket that strangers read by http."""
    bucket = new_bucket()
    return S3DataStore(lab.s3, bucket=bucket, public_url=f"{box.public_url}/{bucket}")


@pytest.fixture
def strangers(pds, monkeypatch):
    """Read a dataset without keys: its samples, or the error."""

    def read(uri):
        for name in ("ATDATA_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        index = AtmosphereIndex(AtmosphereClient(pds.url))
        return [sample.label for sample in index.open_dataset(uri).ordered()]

    return read


@pytest.fixture
def look(lab, atmosphere):
    """The record of an at-uri, and what the ledger says of its dataset."""

    def record(uri):
        return SimpleNamespace(**atmosphere.client.get_record(uri).value)

    def state(name="points", store=None):
        entry = lab.index.get_dataset(name)
        return due(entry, lab.index, state_of(lab.index).ledger, atmosphere.client.did, store)

    def status(name="points", store=None):
        return status_of(name, lab.index, state_of(lab.index).ledger, atmosphere.client.did, store)

    return SimpleNamespace(record=record, due=state, status=status)


def forget(index, keys="atdata:ledger:*"):
    """Lose the ledger, or more."""
    for key in index.redis.scan_iter(keys):
        index.redis.delete(key)


def test_a_change_of_license_from_a_shell_without_a_store_leaves_the_copies(
    lab, publish, public, look, strangers, list_keys
):
    entry = lab.insert("points")
    uri = publish(entry, data_store=public, license="CC0-1.0")
    first = look.record(uri)

    assert publish(entry, license="MIT") == uri

    now = look.record(uri)
    assert (now.license, now.storage, now.size) == ("MIT", first.storage, first.size)
    assert len(list_keys(public.bucket)) == 3
    assert look.status().readers == "all"
    assert strangers(uri) == list(range(15))


@pytest.mark.parametrize("lost", [False, True])
def test_copies_stay_for_many_at_once_and_where_the_ledger_was_lost(lab, publish, public, atmosphere, look, lost):
    entries = [lab.insert(name, start=start) for start, name in enumerate(("a", "b"))]
    uris = [publish(entry, data_store=public) for entry in entries]
    before = [look.record(uri).storage for uri in uris]
    if lost:
        forget(lab.index)

    outcomes = promote_many(entries, lab.index, atmosphere.client)

    assert [outcome.error for outcome in outcomes] == [None, None]
    assert [outcome.uri for outcome in outcomes] == uris
    assert [look.record(uri).storage for uri in uris] == before


def test_a_lost_ledger_does_not_move_copies_whose_label_is_gone_too(lab, publish, public, atmosphere, look):
    entry = lab.insert("points")
    uri = publish(entry, data_store=public)
    before = look.record(uri).storage
    label = atmosphere.records("science.alt.dataset.label")[0]
    atmosphere.client.delete("science.alt.dataset.label", label.uri.rpartition("/")[2], swap=label.cid)
    forget(lab.index)

    with pytest.raises(DestinationError, match="published already, with its shards somewhere else"):
        publish(entry, license="MIT")
    assert look.record(uri).storage == before


def test_keep_urls_moves_them_back_and_holds_whatever_store_is_named_later(lab, publish, public, look):
    entry = lab.insert("points")
    uri = publish(entry, data_store=public)

    publish(entry, keep_urls=True)
    assert look.record(uri).storage["bucket"] == lab.bucket
    # A schedule of an instance with a bucket: what was said holds.
    assert look.due(store=public).state == "published"
    publish(entry, data_store=public)
    assert look.record(uri).storage["bucket"] == lab.bucket
    publish(lab.insert("points", start=50), data_store=public)
    assert look.due(store=public).state == "published"

    entry = lab.index.get_dataset("points")
    uri = publish(entry, data_store=public, keep_urls=False)
    assert look.record(uri).storage["$type"].endswith("storageHttp")
    assert publish(entry) == uri
    assert look.record(uri).storage["$type"].endswith("storageHttp")


def test_values_of_a_promotion_that_is_refused_at_its_last_look_were_not_given(
    lab, publish, public, atmosphere, look
):
    publish(lab.insert("points"), data_store=public, license="MIT")
    newer = lab.insert("points", start=50)
    with pytest.raises(VisibilityError):
        publish(newer, license="CC0-1.0")
    (outcome,) = promote_many([newer], lab.index, atmosphere.client)
    assert isinstance(outcome.error, VisibilityError)
    record = atmosphere.client.get_record(publish(newer, data_store=public))
    assert record.value["license"] == "MIT"


@pytest.mark.parametrize("retracted", [False, True])
def test_new_data_under_a_name_with_copies_need_a_store_or_a_word(
    lab, publish, public, atmosphere, look, take_back, retracted
):
    publish(lab.insert("points"), data_store=public)
    if retracted:
        take_back("points")
    newer = lab.insert("points", start=50)
    commit = atmosphere.commit

    for call in (publish, lambda entry: plan_promotion(entry, lab.index, atmosphere.client)):
        with pytest.raises(VisibilityError, match=r"Name the data store .*keep_urls=True, or --keep-urls"):
            call(newer)
    (outcome,) = promote_many([newer], lab.index, atmosphere.client, restore=True)
    assert isinstance(outcome.error, VisibilityError)
    assert atmosphere.commit == commit
    assert look.status().state == "failed"

    uri = publish(newer, data_store=public)
    assert look.record(uri).storage["$type"].endswith("storageHttp")


@pytest.mark.parametrize("lost", [False, True])
def test_new_data_that_strangers_cannot_read_do_not_replace_what_they_can(
    lab, publish, public, atmosphere, look, lost, point_type
):
    first = lab.insert("points")
    publish(first, data_store=public)
    copies = [shard["url"] for shard in look.record(publish(first)).storage["shards"]]
    # The lab's index names what is public.
    lab.index.add_entry(atdata.Dataset[point_type](copies), name="open")
    uri = publish(lab.index.get_dataset("open"))
    newer = lab.insert("open", start=50)
    if lost:
        forget(lab.index)
    records = {record.uri for record in atmosphere.records(ENTRY)}

    with pytest.raises(VisibilityError):
        publish(newer)
    with pytest.raises(VisibilityError):
        plan_promotion(newer, lab.index, atmosphere.client)
    assert {record.uri for record in atmosphere.records(ENTRY)} == records

    asked = publish(newer, allow_private=True, keep_urls=True)
    assert asked != uri
    assert look.record(asked).storage["bucket"] == lab.bucket


def test_a_move_to_a_store_that_strangers_cannot_read_is_refused_unless_it_is_asked_for(
    lab, publish, public, atmosphere, new_bucket, look
):
    entry = lab.insert("points")
    uri = publish(entry, data_store=public)
    private = S3DataStore(lab.s3, bucket=new_bucket())

    with pytest.raises(VisibilityError, match="cannot be read anonymously, as that can") as caught:
        publish(entry, data_store=private)
    assert isinstance(caught.value, NotPublicError)
    assert look.record(uri).storage["$type"].endswith("storageHttp")

    publish(entry, data_store=private, allow_private=True)
    assert look.record(uri).storage["bucket"] == private.bucket


def test_where_an_instance_names_a_destination_a_dataset_that_lies_elsewhere_is_due(
    lab, publish, public, new_bucket, look, box
):
    entry = lab.insert("points")
    publish(entry)
    assert look.due().state == "published"

    found = look.due(store=public)
    assert found.state == "promote"
    assert public.bucket in found.reason
    assert look.status(store=public).state == "promote"
    assert look.status(store=public).readers == "3 of 3 cannot be read: needs a key"

    publish(entry, data_store=public)
    assert look.due(store=public).state == "published"
    assert look.due().state == "published"
    other = new_bucket()
    elsewhere = S3DataStore(lab.s3, bucket=other, public_url=f"{box.public_url}/{other}")
    assert look.due(store=elsewhere).state == "promote"


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_lost_ledger_leaves_shards_where_they_lie_so_that_nothing_private_is_copied(
    lab, publish, public, atmosphere, look, list_keys, rebuilt
):
    publish(lab.insert("points"), data_store=public)
    kept = lab.insert("kept", start=50)
    uri = publish(kept, keep_urls=True)
    forget(lab.index)
    if rebuilt:
        reconcile(lab.index, atmosphere.client, state_of(lab.index).ledger)
        assert [look.due(name, public).state for name in ("points", "kept")] == ["published", "published"]
    before = list_keys(public.bucket)

    assert publish(kept, data_store=public, license="MIT") == uri

    record = look.record(uri)
    assert (record.license, record.storage["bucket"]) == ("MIT", lab.bucket)
    assert list_keys(public.bucket) == before
    publish(kept, data_store=public, keep_urls=False)
    assert look.record(uri).storage["$type"].endswith("storageHttp")


def test_copies_stay_after_a_retraction_and_are_missed_where_they_were_removed(
    lab, publish, public, take_back, look
):
    entry = lab.insert("points")
    uri = publish(entry, data_store=public)
    take_back("points")
    assert publish(entry) == uri
    assert look.record(uri).storage["$type"].endswith("storageHttp")

    take_back("points", store=public, shards=True)
    assert not any("3 shards at" in step.result for step in look.status().steps)
    with pytest.raises(DestinationError, match="keep_urls"):
        publish(entry)
    assert publish(entry, data_store=public) == uri


def test_a_copy_that_is_gone_from_its_public_address_is_not_published_again(lab, publish, public, look, list_keys):
    entry = lab.insert("points")
    uri = publish(entry, data_store=public, license="CC0-1.0")
    public.endpoint.client.delete_object(Bucket=public.bucket, Key=list_keys(public.bucket)[0])

    with pytest.raises(ShardMissingError):
        publish(entry, license="MIT")
    assert look.record(uri).license == "CC0-1.0"
    publish(entry, data_store=public, license="MIT")
    assert look.record(uri).license == "MIT"


def test_a_plan_tells_each_value_with_where_it_comes_from(lab, publish, public, atmosphere):
    publish(lab.insert("points"), data_store=public, license="CC0-1.0", tags=["table"], description="first")
    newer = lab.insert("points", start=50, metadata={"license": "MIT"})

    plan = plan_promotion(newer, lab.index, atmosphere.client, data_store=public, tags=["a"])

    rows = {row.name: (row.asked, row.before, row.value, row.source) for row in plan.values}
    assert rows["description"] == (None, "first", "first", "said before, of an earlier entry")
    assert rows["tags"] == (("a",), ("table",), ("a",), "asked now")
    assert rows["license"] == (None, "CC0-1.0", "MIT", "the entry's metadata")
    assert rows["shards"][2].endswith(public.public_url)
    assert rows["readers"] == (None, "anybody", "anybody", "where the shards lie")
    assert plan.to_json()["values"][0]["name"] == "description"

    moved = plan_promotion(newer, lab.index, atmosphere.client, keep_urls=True)
    rows = {row.name: (row.before, row.value, row.source) for row in moved.values}
    assert rows["shards"][1:] == ("where they are", "asked now")
    assert rows["readers"][:2] == ("anybody", "those who have keys")


def test_another_process_of_the_lab_follows_the_copies_without_keys(lab, publish, public, atmosphere, look):
    """By its public address: the keys of the bucket are another machine's."""
    entry = lab.insert("points")
    uri = publish(entry, data_store=public)
    other = LocalIndex(lab.index.redis)
    from atdata_core.promote import promote_to_atmosphere

    promote_to_atmosphere(other.get_dataset("points"), other, atmosphere.client, description="again")
    assert look.record(uri).description == "again"


def test_an_older_entry_goes_to_the_store_that_is_named_where_nobody_said_otherwise(lab, publish, public, look):
    older = lab.insert("points")
    uri = publish(older)
    publish(lab.insert("points", start=50), data_store=public)

    assert publish(older, data_store=public) == uri
    assert look.record(uri).storage["$type"].endswith("storageHttp")


def test_a_record_of_ours_that_names_no_shards_any_more_is_no_reason_to_fall_over(lab, publish, atmosphere):
    entry = lab.insert("points")
    uri = publish(entry)
    record = atmosphere.client.get_record(uri)
    emptied = {**record.value, "storage": {**record.value["storage"], "shards": []}}
    atmosphere.client.replace(ENTRY, uri.rpartition("/")[2], emptied, swap=record.cid)
    forget(lab.index)
    for label in atmosphere.records("science.alt.dataset.label"):
        atmosphere.client.delete("science.alt.dataset.label", label.uri.rpartition("/")[2], swap=label.cid)

    assert publish(entry) == uri
    assert len(atmosphere.client.get_record(uri).value["storage"]["shards"]) == 3
