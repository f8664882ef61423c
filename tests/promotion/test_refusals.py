"""What must not be published is refused by name, and nothing is written."""

import numpy as np
import pytest

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.atmosphere.record_format.build import schema_record
from atdata_core.atmosphere.record_format.record_keys import SCHEMA
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.promote import promote_to_atmosphere


def test_a_missing_schema_is_a_key_error_and_nothing_is_written(lab, atmosphere):
    entry = lab.insert(schema=False)
    with pytest.raises(KeyError, match="publish_schema"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_an_entry_without_data_urls_is_a_value_error_and_nothing_is_written(lab, atmosphere):
    entry = lab.insert()
    entry.data_urls.clear()
    with pytest.raises(ValueError, match="no data URLs"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_a_local_path_is_refused_without_a_data_store_and_copied_with_one(
    lab, atmosphere, tmp_path, write_tar, point_type, new_bucket
):
    path = write_tar(tmp_path / "here.tar")
    lab.index.publish_schema(point_type, version="1.0.0")
    entry = lab.index.add_entry(atdata.Dataset[point_type](path), name="here")
    with pytest.raises(ValueError, match="data_store"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]
    store = S3DataStore(lab.s3, bucket=new_bucket())
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert AtmosphereIndex(atmosphere.client).get_dataset(uri).data_urls[0].endswith("/here.tar")


def put(lab, url, change):
    store = lab.repo.data_store
    client = store.endpoint.client
    bucket, key = url.removeprefix("s3://").split("/", 1)
    data = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    if change is None:
        client.delete_object(Bucket=bucket, Key=key)
    else:
        client.put_object(Bucket=bucket, Key=key, Body=change(data))


def shards_of(lab, entry):
    return atdata.Dataset[lab.type_of(entry)](entry.data_urls).shard_list


def flip(data):
    return data[:600] + bytes([data[600] ^ 1]) + data[601:]


@pytest.mark.parametrize("change", [flip, lambda data: data[:-700], lambda data: data + b"\0" * 512])
def test_a_shard_whose_bytes_differ_from_its_claim_is_refused(lab, atmosphere, change):
    entry = lab.insert()
    shard = shards_of(lab, entry)[1]
    put(lab, shard, change)
    with pytest.raises(ValueError, match=shard.rsplit("/", 1)[1]):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_a_missing_shard_is_named_and_nothing_is_written(lab, atmosphere):
    entry = lab.insert()
    shard = shards_of(lab, entry)[2]
    put(lab, shard, None)
    with pytest.raises(FileNotFoundError, match=shard.rsplit("/", 1)[1]):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


@pytest.mark.parametrize("cut", [512 * 3, 700, 10])
def test_a_tar_that_is_cut_short_is_refused_without_a_claim_too(lab, atmosphere, cut, point_type):
    entry = lab.insert()
    shard = shards_of(lab, entry)[0]
    put(lab, shard, lambda data: data.rstrip(b"\0")[:-cut] if cut == 10 else data[:cut])
    fresh = lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name="cut")
    with pytest.raises(ValueError, match="cut short") as caught:
        promote_to_atmosphere(fresh, lab.index, atmosphere.client)
    assert shard in str(caught.value)
    assert atmosphere.counts == [0, 0, 0]


def no_keys(monkeypatch):
    for name in ("ATDATA_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_process_without_s3_keys_publishes_on_the_recorded_claims(lab, atmosphere, monkeypatch):
    lab.insert("points")
    no_keys(monkeypatch)
    entry = LocalIndex().get_entry_by_name("points")
    with pytest.warns(UserWarning, match="recorded digest"):
        uri = promote_to_atmosphere(entry, LocalIndex(), atmosphere.client)
    assert len(atmosphere.client.get_record(uri).value["storage"]["shards"]) == 3


def test_without_keys_and_without_claims_it_is_refused_with_the_ways_out(lab, atmosphere, monkeypatch, point_type):
    entry = lab.insert("points")
    lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name="points")
    no_keys(monkeypatch)
    monkeypatch.setenv("ATDATA_S3_ENDPOINT", lab.s3["AWS_ENDPOINT"])
    with pytest.raises(ValueError, match="ATDATA_S3_ENDPOINT"):
        promote_to_atmosphere(LocalIndex().get_entry_by_name("points"), LocalIndex(), atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_a_client_that_is_not_logged_in_writes_nothing_and_says_so(lab, pds):
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.errors import NotLoggedInError

    with pytest.raises(NotLoggedInError, match="login"):
        promote_to_atmosphere(lab.insert(), lab.index, AtmosphereClient(pds.url))


def test_what_the_network_would_refuse_is_found_before_the_schema_is_written(lab, atmosphere):
    entry = lab.insert()
    for refused in ({"description": "x" * 5001}, {"tags": ["t"] * 31}, {"name": "a...b"}, {"license": "x" * 201}):
        with pytest.raises(ValueError, match=r"5,?000|30|\.\.\.|200"):
            promote_to_atmosphere(entry, lab.index, atmosphere.client, **refused)
    assert atmosphere.counts == [0, 0, 0]


def test_the_same_class_and_version_with_other_fields_is_refused(lab, atmosphere):
    entry = lab.insert()
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    schema = lab.index.get_schema(entry.schema_ref)
    (record,) = atmosphere.records(SCHEMA)
    changed = {**schema, "fields": schema["fields"][:1]}
    atmosphere.client.replace(
        SCHEMA,
        record.uri.rsplit("/", 1)[1],
        schema_record(changed, created_at=record.value["createdAt"]),
        swap=record.cid,
    )
    other = lab.insert("other", start=100)
    with pytest.raises(ValueError, match=r"label.*new version"):
        promote_to_atmosphere(other, lab.index, atmosphere.client)
    assert atmosphere.counts == [1, 1, 1]


def test_a_bucket_that_is_not_there_is_named_before_anything_is_written(lab, atmosphere, point_type):
    entry = lab.insert()
    store = S3DataStore(lab.s3, bucket="no-such-bucket")
    with pytest.raises(FileNotFoundError, match="no-such-bucket"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    elsewhere = lab.index.add_entry(atdata.Dataset[point_type]("s3://nobodys-bucket/a.tar"), name="elsewhere")
    with pytest.raises(FileNotFoundError, match="nobodys-bucket"):
        promote_to_atmosphere(elsewhere, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_a_pickled_array_in_a_shard_is_refused_and_named(lab, atmosphere, point_type, tmp_path, new_bucket):
    import io

    import msgpack

    from atdata_core.shards.tar_samples import ShardWriter

    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    payload = msgpack.packb({"at": pickled.getvalue(), "label": 1})
    with (tmp_path / "pickled.tar").open("wb") as file, ShardWriter(file) as shard:
        shard.write({"__key__": "evil", "msgpack": payload})
    entry = lab.index.add_entry(atdata.Dataset[point_type](str(tmp_path / "pickled.tar")), name="pickled")
    lab.index.publish_schema(point_type, version="1.0.0")
    store = S3DataStore(lab.s3, bucket=new_bucket())
    with pytest.raises(ValueError, match=r"evil.*pickle"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert atmosphere.counts == [0, 0, 0]


def test_samples_that_are_not_what_the_schema_says_are_refused(lab, atmosphere, point_type, tmp_path, new_bucket):
    from atdata_core.shards.tar_samples import ShardWriter

    with (tmp_path / "other.tar").open("wb") as file, ShardWriter(file) as shard:
        shard.write({"__key__": "odd", "msgpack": b"\x81\xa5label\x01"})
    entry = lab.index.add_entry(atdata.Dataset[point_type](str(tmp_path / "other.tar")), name="other")
    lab.index.publish_schema(point_type, version="1.0.0")
    store = S3DataStore(lab.s3, bucket=new_bucket())
    with pytest.raises(ValueError, match=r"odd.*at"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert atmosphere.counts == [0, 0, 0]


def test_a_schema_that_cannot_be_rebuilt_is_refused_by_name(lab, atmosphere):
    import json

    entry = lab.insert()
    key = next(key for key in lab.index.redis.keys("LocalSchema:*") if b"conftest" in key)
    record = json.loads(lab.index.redis.get(key))
    record["fields"][0]["name"] = "__class__"
    lab.index.redis.set(key, json.dumps(record))
    with pytest.raises(ValueError, match="__class__"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_a_foreign_entry_whose_name_cannot_be_published_is_refused_by_name(lab, atmosphere):
    entry = lab.insert("fine")
    lab.index.redis.hset(f"LocalDatasetEntry:{entry.cid}", "name", "a...b")
    foreign = next(entry for entry in lab.index.list_datasets() if entry.name == "a...b")
    with pytest.raises(ValueError, match=r"a\.\.\.b"):
        promote_to_atmosphere(foreign, lab.index, atmosphere.client)
    assert promote_to_atmosphere(foreign, lab.index, atmosphere.client, name="a-b").startswith("at://")
    assert atmosphere.counts == [1, 1, 1]


def test_a_pds_that_is_down_and_a_wrong_password_are_named(lab, atmosphere):
    from atdata_core.atmosphere import AtmosphereClient

    entry = lab.insert()
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9"):
        AtmosphereClient("http://127.0.0.1:9").login("somebody.test", "password")
    with pytest.raises(PermissionError, match="app password"):
        AtmosphereClient(atmosphere.client.base_url).login(atmosphere.client.handle, "wrong")
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client).startswith("at://")
