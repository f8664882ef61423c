"""A promotion publishes one schema, one entry and one label, however often it is called."""

import threading

import numpy as np
import pytest

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereIndex
from atdata_core.atmosphere.names import ENTRY, LABEL, SCHEMA
from atdata_core.atmosphere.records import schema_record
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.promote import plan_promotion, promote_to_atmosphere
from atdata_core.promotion.ledger import ledger_of
from atdata_core.promotion.schema import publish_schema


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
    lab.index.add_entry(atdata.Dataset[type_of(lab, entry)](entry.data_urls), name="second", metadata={"k": 1})
    uris = {
        promote_to_atmosphere(lab.index.get_entry_by_name(name), lab.index, atmosphere.client)
        for name in ("first", "second")
    }
    uris.add(promote_to_atmosphere(entry, lab.index, atmosphere.client, name="third"))
    assert len(uris) == 3
    assert atmosphere.counts == [1, 3, 3]


def type_of(lab, entry):
    return lab.index.decode_schema(entry.schema_ref)


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


def test_copies_are_byte_identical_keep_their_names_and_are_made_once(lab, atmosphere, new_bucket, read_all):
    entry = lab.insert("points")
    target = new_bucket()
    store = S3DataStore(lab.s3, bucket=target, prefix="open")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    urls = AtmosphereIndex(atmosphere.client).get_dataset(uri).data_urls
    sources = atdata.Dataset[type_of(lab, entry)](entry.data_urls).shard_list
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
    from atdata_core.promotion.destination import destination_of

    return destination_of(store)


def test_two_names_share_their_copies(lab, atmosphere, new_bucket, list_keys):
    entry = lab.insert("first")
    lab.index.add_entry(atdata.Dataset[type_of(lab, entry)](entry.data_urls), name="second")
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
    source = atdata.Dataset[type_of(lab, entry)](entry.data_urls).shard_list[-1]
    key = f"promoted/points/{entry.cid}/{source.rsplit('/', 1)[1]}"
    store.endpoint.client.put_object(Bucket=target, Key=key, Body=b"somebody's")
    with pytest.raises(ValueError, match=key):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    assert store.endpoint.client.get_object(Bucket=target, Key=key)["Body"].read() == b"somebody's"
    assert list_keys(target) == [key]
    assert atmosphere.counts == [0, 0, 0]


class FolderStore:
    """Somebody's own data store: samples in a folder, in shards of four."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url

    def write_shards(self, ds, *, prefix, **_):
        from atdata_core.tar_writing import ShardWriter

        samples = list(ds.ordered())
        urls = []
        for start in range(0, len(samples), 4):
            path = self.folder / prefix / f"{start}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file, ShardWriter(file) as shard:
                for number, sample in enumerate(samples[start : start + 4], start):
                    shard.write({**sample.as_wds, "__key__": f"{number}"})
            urls.append(f"{self.url}/{prefix}/{start}.tar")
        return urls

    def read_url(self, url):
        return str(self.folder) + url.removeprefix(self.url)

    def supports_streaming(self):
        return True


def test_a_store_of_ones_own_gets_the_samples_and_is_read_back(lab, atmosphere, tmp_path):
    entry = lab.insert("points")
    store = FolderStore(tmp_path / "www", "https://data.example.org")
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    record = atmosphere.client.get_record(uri).value
    assert record["storage"]["$type"].endswith("storageHttp")
    assert record["size"]["samples"] == 15
    assert record["size"]["shards"] == 4
    commit = atmosphere.commit
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store) == uri
    assert atmosphere.commit == commit


def test_two_stores_of_one_class_are_two_destinations(lab, atmosphere, tmp_path):
    entry = lab.insert("points")
    for place in ("a", "b"):
        store = FolderStore(tmp_path / place, f"https://{place}.example.org")
        uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
        urls = AtmosphereIndex(atmosphere.client).get_dataset(uri).data_urls
        assert all(url.startswith(f"https://{place}.example.org/") for url in urls)


def test_a_plan_with_a_store_of_ones_own_knows_what_is_there(lab, atmosphere, tmp_path):
    entry = lab.insert("points")
    store = FolderStore(tmp_path / "www", "https://data.example.org")
    before = plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
    assert (before.entry, len(before.warnings)) == ("create", 1)
    promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
    after = plan_promotion(entry, lab.index, atmosphere.client, data_store=store)
    assert (after.records, after.copies) == (0, ())


class Garbling(FolderStore):
    """Writes as many samples as it got, but others."""

    def write_shards(self, ds, *, prefix):
        from atdata_core.tar_writing import ShardWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "x.tar").open("wb") as file, ShardWriter(file) as shard:
            for number, _ in enumerate(ds.ordered()):
                shard.write({"__key__": f"{number}", "msgpack": b"\xc1garbage"})
        return [f"{self.url}/x.tar"]


class Staying(FolderStore):
    """Says where its files are on this machine."""

    def write_shards(self, ds, *, prefix):
        return [super(Staying, self).read_url(url) for url in super().write_shards(ds, prefix=prefix)]

    def read_url(self, url):
        return url


@pytest.mark.parametrize(("kind", "words"), [(Garbling, "x.tar"), (Staying, "0.tar.*data.store")])
def test_what_a_store_of_ones_own_cannot_stand_for_is_not_published(lab, atmosphere, tmp_path, kind, words):
    entry = lab.insert("points")
    with pytest.raises(ValueError, match=words):
        promote_to_atmosphere(
            entry, lab.index, atmosphere.client, data_store=kind(tmp_path / "www", "https://data.example.org")
        )
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
    return atdata.Dataset[type_of(lab, entry)](entry.data_urls).shard_list


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

    from atdata_core.tar_writing import ShardWriter

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
    from atdata_core.tar_writing import ShardWriter

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


@pytest.mark.parametrize("name", ["a b", "ünï/côde", "q?x#y%z", "br{0..1}ace", "plus+and&more", "{a,b}", "::x"])
def test_a_name_with_odd_characters_is_copied_published_and_read(lab, atmosphere, new_bucket, box, name):
    entry = lab.insert(name)
    for public in (None, "yes"):
        target = new_bucket()
        url = public and f"{box.public_url}/{target}"
        store = S3DataStore(lab.s3, bucket=target, public_url=url)
        uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store)
        dataset = AtmosphereIndex(atmosphere.client).open_dataset(uri)
        assert [sample.label for sample in dataset.ordered()] == list(range(15))
        commit = atmosphere.commit
        assert promote_to_atmosphere(entry, lab.index, atmosphere.client, data_store=store) == uri
        assert atmosphere.commit == commit


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
    ledger = ledger_of(lab.index)
    newer = {**lab.index.get_schema(entry.schema_ref), "version": "2.0.0"}
    before = atmosphere.requests.total
    assert publish_schema(newer, atmosphere.client, ledger).created
    # Its own key, one page behind the last one listed, the write.
    assert atmosphere.requests.total - before == 3
    assert first == 6  # its own key, two pages, and a write each for schema, entry and label
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
