"""Bytes that were changed on purpose become the claim where a person says so, and the same record names them."""

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.common.urls import expand
from atdata_core.errors import (
    RefusedError,
    SampleError,
    ShardChangedError,
    ShardCorruptError,
    ShardMissingError,
)
from atdata_core.local import S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.operations.accept import accept, changes_of
from atdata_core.promotion.operations.status import status_of
from atdata_core.promotion.scheduling.due import due
from atdata_core.promotion.stages.copy_stage import copy_shards, recall_copies
from atdata_core.promotion.stages.inventory_stage import recall_inventory, take_inventory
from atdata_core.promotion.stages.visibility import probe_published
from atdata_core.state.facts import LAST_RESULT
from atdata_core.state.index_state import state_of
from stages import resolved_for


@pytest.fixture
def overwrite(lab, write_tar, tmp_path):
    """Put other points (or given bytes) in the place of a shard; its URL."""

    def change(entry, number=1, *, data=None, start=500, count=6):
        url = expand(entry.data_urls)[number]
        bucket, key = url.removeprefix("s3://").split("/", 1)
        if data is None:
            with open(write_tar(tmp_path / "other.tar", start=start, count=count), "rb") as file:
                data = file.read()
        client = lab.repo.data_store.endpoint.client
        if data == "gone":
            client.delete_object(Bucket=bucket, Key=key)
        else:
            client.put_object(Bucket=bucket, Key=key, Body=data)
        return url

    return change


def digests(atmosphere):
    (record,) = atmosphere.records(ENTRY)
    return [shard["checksum"]["digest"] for shard in record.value["storage"]["shards"]]


def test_what_changed_is_told_shard_by_shard_and_nothing_is_written(lab, overwrite):
    entry = lab.insert("points")
    claims = lab.index.shard_claims(entry.cid)
    assert changes_of(entry, lab.index).changed == ()
    url = overwrite(entry)
    changes = changes_of(entry, lab.index)
    (changed,) = changes.changed
    assert (changed.url, changed.claimed) == (url, claims[url])
    assert (changed.claimed.samples, changed.found.samples) == (5, 6)
    assert len(changes.shards) == 3
    assert changes.problems == ()
    assert lab.index.shard_claims(entry.cid) == claims


def test_accepted_bytes_bring_the_same_record_up_to_date(lab, atmosphere, overwrite):
    entry = lab.insert("points")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, tags=["a"])
    before = digests(atmosphere)
    overwrite(entry)
    with pytest.raises(ShardChangedError, match="atdata-pipelines accept"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert accept(changes_of(entry, lab.index), lab.index, state_of(lab.index).ledger) == ["points"]
    assert lab.index.get_entry_by_name("points").cid == entry.cid
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client) == uri
    after = digests(atmosphere)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    (record,) = atmosphere.records(ENTRY)
    assert (record.value["tags"], record.value["size"]["samples"]) == (["a"], 16)
    assert atmosphere.counts == [1, 1, 1]


@pytest.mark.parametrize("again", [False, True], ids=["accepted", "inserted again"])
def test_copies_of_accepted_bytes_go_to_a_folder_of_their_own_and_older_copies_stay(
    lab, atmosphere, overwrite, new_bucket, list_keys, read_all, point_type, again
):
    entry = lab.insert("points")
    store = S3DataStore(lab.s3, bucket=new_bucket())
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    first = {key: read_all(f"s3://{store.bucket}/{key}", store) for key in list_keys(store.bucket)}
    url = overwrite(entry)
    if again:
        lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name="points")
        entry = lab.index.get_entry_by_name("points")
    else:
        accept(changes_of(entry, lab.index), lab.index, state_of(lab.index).ledger)
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store) == uri
    (record,) = atmosphere.records(ENTRY)
    keys = [shard["key"] for shard in record.value["storage"]["shards"]]
    assert len(keys) == 3
    (folder,) = {key.rsplit("/", 1)[0] for key in keys}
    assert folder.startswith(f"promoted/points/{entry.cid}-")
    assert len(folder) == len(f"promoted/points/{entry.cid}-") + 12
    assert read_all(f"s3://{store.bucket}/{keys[1]}", store) == read_all(url, lab.repo.data_store)
    after = {key: read_all(f"s3://{store.bucket}/{key}", store) for key in list_keys(store.bucket)}
    assert len(after) == 6
    assert {key: after[key] for key in first} == first
    commit = atmosphere.commit
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert atmosphere.commit == commit
    assert len(list_keys(store.bucket)) == 6


def test_results_of_stages_that_saw_the_old_bytes_are_forgotten_under_every_name(
    lab, atmosphere, overwrite, point_type
):
    entry = lab.insert("points")
    lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name="twin")
    for name in ("points", "twin"):
        promote_to_atmosphere(lab.index.get_entry_by_name(name), lab.index, atmosphere.client)
    overwrite(entry)
    ledger = state_of(lab.index).ledger
    assert accept(changes_of(entry, lab.index), lab.index, ledger) == ["points", "twin"]
    twin = lab.index.get_entry_by_name("twin")
    assert recall_inventory(twin, lab.index, ledger) is None
    assert recall_copies(twin, lab.index, ledger) is None
    assert ledger.get(LAST_RESULT("twin")) is not None


@pytest.mark.parametrize(
    ("data", "error"),
    [("gone", ShardMissingError), (b"x" * 700, ShardCorruptError), (None, SampleError)],
    ids=["missing", "damaged", "of another schema"],
)
def test_a_shard_that_cannot_be_promoted_is_not_accepted(lab, overwrite, tmp_path, data, error):
    entry = lab.insert("points")
    overwrite(entry, 0)
    if data is None:
        from atdata_core.shards.tar_samples import ShardWriter

        with (tmp_path / "odd.tar").open("wb") as file, ShardWriter(file) as shard:
            shard.write({"__key__": "odd", "msgpack": b"\x81\xa5label\x01"})
        data = (tmp_path / "odd.tar").read_bytes()
    url = overwrite(entry, 2, data=data)
    claims = lab.index.shard_claims(entry.cid)
    changes = changes_of(entry, lab.index)
    assert [shard.url for shard in changes.problems] == [url]
    with pytest.raises(error):
        accept(changes, lab.index, state_of(lab.index).ledger)
    assert lab.index.shard_claims(entry.cid) == claims


def test_accepted_bytes_are_due_until_they_are_published(lab, atmosphere, overwrite, point_type):
    entry = lab.insert("points")
    lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name="twin")
    ledger, did = state_of(lab.index).ledger, atmosphere.client.did

    def states():
        every = [due(lab.index.get_dataset(name), lab.index, ledger, did) for name in ("points", "twin")]
        return [(found.state, found.reason) for found in every]

    for name in ("points", "twin"):
        promote_to_atmosphere(lab.index.get_dataset(name), lab.index, atmosphere.client)
    overwrite(entry)
    accept(changes_of(entry, lab.index), lab.index, ledger)
    pending = ("due", "accepted bytes are not published yet")
    assert states() == [pending, pending]
    seen = status_of("points", lab.index, ledger, did)
    assert (seen.state, seen.reason) == pending
    assert seen.missing == ("local_dataset", "copied_shards", "atmosphere_record")
    (step,) = (step for step in seen.steps if step.stage == "atmosphere_record")
    assert (step.current, step.behind) == (False, "of earlier bytes")
    take_inventory(entry, lab.index, ledger)
    assert status_of("points", lab.index, ledger, did).missing == ("copied_shards", "atmosphere_record")
    assert states() == [pending, pending]
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert [state for state, _ in states()] == ["published", "due"]
    assert status_of("points", lab.index, ledger, did).missing == ()


def test_bytes_accepted_there_and_back_are_due_once(lab, atmosphere, overwrite, read_all):
    entry = lab.insert("points")
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    ledger, did = state_of(lab.index).ledger, atmosphere.client.did
    before = read_all(expand(entry.data_urls)[1], lab.repo.data_store)
    for data in (None, before):
        overwrite(entry, data=data)
        accept(changes_of(entry, lab.index), lab.index, ledger)
        assert due(entry, lab.index, ledger, did).state == "due"
    commit = atmosphere.commit
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.commit == commit
    assert due(entry, lab.index, ledger, did).state == "published"


def test_accepting_what_was_never_published_marks_nothing(lab, overwrite):
    entry = lab.insert("points")
    ledger = state_of(lab.index).ledger
    overwrite(entry)
    accept(changes_of(entry, lab.index), lab.index, ledger)
    assert ledger.get(LAST_RESULT("points")) is None


def test_only_what_was_shown_is_accepted(lab, overwrite):
    entry = lab.insert("points")
    overwrite(entry)
    seen, seen_by_a_rival = changes_of(entry, lab.index), changes_of(entry, lab.index)
    accept(seen_by_a_rival, lab.index, state_of(lab.index).ledger)
    claims = lab.index.shard_claims(entry.cid)
    with pytest.raises(RefusedError, match="was changed since"):
        accept(seen, lab.index, state_of(lab.index).ledger)
    assert lab.index.shard_claims(entry.cid) == claims


@pytest.mark.parametrize(
    ("name", "typed"), [("points", "accept points."), ("my points; $x", "accept 'my points; $x'.")]
)
@pytest.mark.usefixtures("a_while_later")
def test_what_tells_of_changed_bytes_names_the_command_to_type(lab, atmosphere, overwrite, point_type, name, typed):
    entry = lab.insert("points")
    lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name=name)
    entry = lab.index.get_entry_by_name(name)
    ledger = state_of(lab.index).ledger
    copies = copy_shards(entry, take_inventory(entry, lab.index, ledger), lab.index, ledger)
    overwrite(entry)
    with pytest.raises(ShardChangedError) as caught:
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert f"atdata-pipelines {typed}" in str(caught.value)
    resolved = resolved_for(entry, atmosphere.client, ledger)
    with pytest.raises(ShardChangedError) as caught:
        probe_published(resolved, copies, lab.index, atmosphere.client.base_url)
    assert f"atdata-pipelines {typed}" in str(caught.value)


def test_bytes_that_change_again_after_they_were_shown_are_not_published(lab, atmosphere, overwrite):
    entry = lab.insert("points")
    overwrite(entry)
    changes = changes_of(entry, lab.index)
    overwrite(entry, start=900)
    accept(changes, lab.index, state_of(lab.index).ledger)
    with pytest.raises(ShardChangedError):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]
