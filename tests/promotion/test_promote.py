"""A promotion publishes one schema, one entry and one label, however often it is called."""

import threading

import numpy as np
import pytest

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.atmosphere.record_format.build import schema_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.promote import plan_promotion, promote_to_atmosphere
from atdata_core.promotion.stages.schema_stage import publish_schema
from atdata_core.state.index_state import state_of


def test_a_promotion_publishes_schema_entry_and_label(lab, atmosphere):
    entry = lab.insert("points")
    uri = promote_to_atmosphere(
        entry, lab.index, atmosphere.client, description="d", tags=["a", "b"], license="MIT"
    )
    assert atmosphere.counts == [1, 1, 1]
    record = atmosphere.client.get_record(uri).value
    claims = lab.index.shard_claims(entry.cid)
    assert record["name"] == "points"
    assert record["storage"]["bucket"] == lab.bucket
    digests = [shard["checksum"]["digest"] for shard in record["storage"]["shards"]]
    assert sorted(digests) == sorted(claim.sha256 for claim in claims.values())
    assert record["size"] == {
        "samples": 15,
        "shards": 3,
        "bytes": sum(claim.size for claim in claims.values()),
    }
    assert (record["description"], record["tags"], record["license"]) == ("d", ["a", "b"], "MIT")
    (label,) = atmosphere.records(LABEL)
    assert label.value["datasetUri"] == uri
    (schema,) = atmosphere.records(SCHEMA)
    assert record["schemaRef"] == schema.uri


def test_promoting_again_changes_nothing_and_asks_three_times(lab, atmosphere):
    entry = lab.insert()
    first = promote_to_atmosphere(entry, lab.index, atmosphere.client, tags=["a"])
    commit = atmosphere.commit
    before = atmosphere.requests.total
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client) == first
    assert atmosphere.requests.total - before <= 3
    assert atmosphere.commit == commit


def test_new_values_update_the_same_record_and_none_keeps_the_last_ones(lab, atmosphere):
    entry = lab.insert(metadata={"license": "CC0-1.0", "description": "from the entry"})
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, tags=["a"])
    created = atmosphere.client.get_record(uri).value["createdAt"]
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, description="typed") == uri
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, license="MIT") == uri
    record = atmosphere.client.get_record(uri).value
    assert (record["description"], record["tags"], record["license"]) == ("typed", ["a"], "MIT")
    assert record["createdAt"] == created
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, description="", tags=[], license="") == uri
    record = atmosphere.client.get_record(uri).value
    assert "description" not in record
    assert "license" not in record
    assert not record.get("tags")
    assert atmosphere.counts == [1, 1, 1]


def test_a_lost_ledger_neither_doubles_a_record_nor_undoes_what_a_person_typed(lab, atmosphere):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="typed", tags=["a"])
    commit = atmosphere.commit
    redis = lab.index.redis
    for key in redis.scan_iter("atdata:ledger:*"):
        redis.delete(key)
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client) == uri
    assert atmosphere.commit == commit
    for key in redis.scan_iter("atdata:ledger:*"):
        redis.delete(key)
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, license="MIT") == uri
    record = atmosphere.client.get_record(uri).value
    assert (record["description"], record["tags"], record["license"]) == ("typed", ["a"], "MIT")


def test_two_names_for_the_same_data_are_two_publications_with_one_schema(lab, atmosphere):
    entry = lab.insert("first")
    lab.index.add_entry(atdata.Dataset[lab.type_of(entry)](entry.data_urls), name="second", metadata={"k": 1})
    uris = {
        promote_to_atmosphere(lab.index.get_entry_by_name(name), lab.index, atmosphere.client)
        for name in ("first", "second")
    }
    uris.add(promote_to_atmosphere(entry, lab.index, atmosphere.client, name="third"))
    assert len(uris) == 3
    assert atmosphere.counts == [1, 3, 3]


def test_copies_are_byte_identical_keep_their_names_and_are_made_once(lab, atmosphere, new_bucket, read_all):
    entry = lab.insert("points")
    target = new_bucket()
    store = S3DataStore(lab.s3, bucket=target, prefix="open")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    urls = AtmosphereIndex(atmosphere.client).get_dataset(uri).data_urls
    sources = atdata.Dataset[lab.type_of(entry)](entry.data_urls).shard_list
    for url, source in zip(urls, sources, strict=True):
        name = source.rsplit("/", 1)[1]
        assert url == f"s3://{target}/open/promoted/points/{entry.cid}/{name}"
        assert read_all(url, store) == read_all(source, lab.repo.data_store)
    ledger_copy = lab.index.redis.hget(f"atdata:ledger:entry:{entry.cid}", f"copy:{destination(store)}")
    assert ledger_copy is not None
    commit = atmosphere.commit
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store) == uri
    assert atmosphere.commit == commit


def destination(store):
    from atdata_core.stores.data_store import as_data_store

    return as_data_store(store).destination


def test_two_names_share_their_copies(lab, atmosphere, new_bucket, list_keys):
    entry = lab.insert("first")
    lab.index.add_entry(atdata.Dataset[lab.type_of(entry)](entry.data_urls), name="second")
    target = new_bucket()
    store = S3DataStore(lab.s3, bucket=target)
    for name in ("first", "second"):
        entry = lab.index.get_entry_by_name(name)
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert len(list_keys(target)) == 3


def test_an_object_with_other_bytes_at_the_destination_is_never_overwritten(lab, atmosphere, new_bucket, list_keys):
    entry = lab.insert("points")
    target = new_bucket()
    store = S3DataStore(lab.s3, bucket=target)
    source = atdata.Dataset[lab.type_of(entry)](entry.data_urls).shard_list[-1]
    key = f"promoted/points/{entry.cid}/{source.rsplit('/', 1)[1]}"
    store.endpoint.client.put_object(Bucket=target, Key=key, Body=b"somebody's")
    with pytest.raises(ValueError, match=key):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert store.endpoint.client.get_object(Bucket=target, Key=key)["Body"].read() == b"somebody's"
    assert list_keys(target) == [key]
    assert atmosphere.counts == [0, 0, 0]


def test_values_of_a_refused_promotion_are_not_kept(lab, atmosphere):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="first")
    ours = atmosphere.client.get_record(uri)
    rkey = uri.rsplit("/", 1)[1]
    edited = atmosphere.client.replace(ENTRY, rkey, {**ours.value, "license": "edited"}, swap=ours.cid)
    with pytest.raises(ValueError, match=r"edited elsewhere.*description, license"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, description="refused words")
    atmosphere.client.replace(ENTRY, rkey, ours.value, swap=edited.cid)
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client) == uri
    assert atmosphere.client.get_record(uri).value["description"] == "first"


METADATA = {"f": 0.1, "b": b"\x00\xff", 3: [1, {"x": None}], "big": 2**60, "neg": -5, b"k": True, "ü": {"": []}}


def test_metadata_of_every_kind_reaches_a_reader_unchanged(lab, atmosphere):
    entry = lab.insert(metadata=METADATA)
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client)
    read = AtmosphereIndex(atmosphere.client).get_dataset(uri).metadata
    assert read == METADATA
    assert [type(value) for value in read.values()] == [type(value) for value in METADATA.values()]


def test_another_writers_record_of_the_same_schema_is_reused(lab, atmosphere):
    entry = lab.insert()
    schema = {k: v for k, v in lab.index.get_schema(entry.schema_ref).items() if k != "module"}
    record = schema_record(schema, created_at="2026-01-01T00:00:00.000Z")
    theirs, _ = atmosphere.client.create_once(SCHEMA, "3kaaaaaaaaa22", record)
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.client.get_record(uri).value["schemaRef"] == theirs.uri
    assert atmosphere.counts == [1, 1, 1]


def test_promoting_an_old_entry_never_moves_the_label_back(lab, atmosphere):
    old = lab.insert("points")
    new = lab.insert("points", start=100)
    assert old.cid != new.cid
    newest = promote_to_atmosphere(new, lab.index, atmosphere.client)
    older = promote_to_atmosphere(old, lab.index, atmosphere.client)
    assert older != newest
    assert atmosphere.counts == [1, 2, 1]
    (label,) = atmosphere.records(LABEL)
    assert label.value["datasetUri"] == newest


def test_new_data_under_a_name_moves_its_label_and_keeps_the_old_record(lab, atmosphere):
    first = promote_to_atmosphere(lab.insert("points"), lab.index, atmosphere.client)
    before = atmosphere.client.get_record(first)
    second = promote_to_atmosphere(lab.insert("points", start=50), lab.index, atmosphere.client)
    (label,) = atmosphere.records(LABEL)
    assert label.value["datasetUri"] == second
    assert atmosphere.client.get_record(first) == before


def test_rivals_make_one_record(lab, atmosphere):
    entry = lab.insert()
    uris = []

    def run():
        uris.append(promote_to_atmosphere(entry, LocalIndex(), atmosphere.client))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(uris) == 6
    assert len(set(uris)) == 1
    assert atmosphere.counts == [1, 1, 1]


def test_a_plan_says_what_would_be_done_and_writes_nothing(lab, atmosphere, new_bucket, list_keys):
    entry = lab.insert()
    target = new_bucket()
    store = S3DataStore(lab.s3, bucket=target)
    plan = plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
    assert (plan.schema, plan.entry, plan.label) == ("create", "create", "create")
    assert (len(plan.copies), plan.records, plan.write_points) == (3, 3, 6)
    assert plan.bytes_to_copy == sum(claim.size for claim in lab.index.shard_claims(entry.cid).values())
    assert atmosphere.counts == [0, 0, 0]
    assert list_keys(target) == []
    assert not list(lab.index.redis.scan_iter("atdata:ledger:*"))
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    after = plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
    assert (after.uri, after.records, after.bytes_to_copy) == (uri, 0, 0)
    assert plan_promotion(entry, lab.index, atmosphere.client, data_store=store, tags=["x"]).entry == "update"


def test_what_is_published_is_read_back_sample_by_sample(lab, atmosphere):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client)
    dataset = AtmosphereIndex(atmosphere.client).open_dataset(uri)
    samples = list(dataset.ordered())
    assert [sample.label for sample in samples] == list(range(15))
    np.testing.assert_array_equal(samples[3].at, np.arange(4, dtype=np.float32) + 3)


# Seven names, each published to two buckets.
def test_names_with_odd_characters_are_copied_published_and_read(lab, atmosphere, new_bucket, box):
    for name in ("a b", "ünï/côde", "q?x#y%z", "br{0..1}ace", "plus+and&more", "{a,b}", "::x"):
        entry = lab.insert(name, shards=2)
        for public in (None, "yes"):
            target = new_bucket()
            url = public and f"{box.public_url}/{target}"
            store = S3DataStore(lab.s3, bucket=target, public_url=url)
            uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
            dataset = AtmosphereIndex(atmosphere.client).open_dataset(uri)
            assert [sample.label for sample in dataset.ordered()] == list(range(10)), name
            commit = atmosphere.commit
            assert promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store) == uri
            assert atmosphere.commit == commit, name


def test_localhost_and_its_number_are_the_same_place(lab, atmosphere, s3, bucket, tmp_path, write_tar, point_type):
    from atdata_core.local import Repo

    assert "127.0.0.1" in s3["AWS_ENDPOINT"]
    there = {**s3, "AWS_ENDPOINT": s3["AWS_ENDPOINT"].replace("127.0.0.1", "localhost")}
    dataset = atdata.Dataset[point_type](write_tar(tmp_path / "one.tar"))
    Repo(s3_credentials=there, hive_path=f"{bucket}/x", redis=lab.index.redis).insert(dataset, name="one")
    lab.index.publish_schema(point_type, version="1.0.0")
    # No warning: the shard was looked at, with the keys of the environment.
    promote_to_atmosphere(lab.index.get_entry_by_name("one"), lab.index, atmosphere.client)
    assert atmosphere.counts == [1, 1, 1]


def test_other_programs_schemas_are_listed_once_and_then_only_what_is_new(lab, atmosphere):
    entry = lab.insert()
    schema = {k: v for k, v in lab.index.get_schema(entry.schema_ref).items() if k != "module"}
    for number in range(105):
        other = schema_record({**schema, "name": f"Other{number}"}, created_at="2026-01-01T00:00:00.000Z")
        low = "234567abcdefghijklmnopqrstuvwxyz"
        atmosphere.client.create_once(SCHEMA, f"3kaaaaaaaa{low[number // 32]}{low[number % 32]}2", other)
    before = atmosphere.requests.total
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    first = atmosphere.requests.total - before
    ledger = state_of(lab.index).ledger
    newer = {**lab.index.get_schema(entry.schema_ref), "version": "2.0.0"}
    before = atmosphere.requests.total
    assert publish_schema(newer, atmosphere.client, ledger).created
    # Its own key, one page behind the last one listed, the write.
    assert atmosphere.requests.total - before == 3
    # The name's label, the schema's own key, two pages, and a write each for schema, entry and label.
    assert first == 7
    before = atmosphere.requests.total
    assert not publish_schema(newer, atmosphere.client, ledger).created
    assert atmosphere.requests.total - before == 1


def test_a_record_deleted_by_hand_comes_back_under_its_key_with_its_date(lab, atmosphere):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="d")
    before = atmosphere.client.get_record(uri)
    atmosphere.client.delete(ENTRY, uri.rsplit("/", 1)[1])
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client) == uri
    assert atmosphere.client.get_record(uri) == before
