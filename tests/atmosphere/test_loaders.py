"""Records and datasets one by one, and writing records, as programs for the package atdata do; with a real PDS."""

import os
import pickle

import pytest

from atdata_core import DataSource, S3Source
from atdata_core.atmosphere import (
    AtmosphereIndexEntry,
    AtUri,
    BlobSource,
    DatasetLoader,
    DatasetPublisher,
    SchemaLoader,
    SchemaPublisher,
)
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, is_identity_tid
from atdata_core.errors import (
    PrivateAddressError,
    RecordChangedError,
    RecordNotFoundError,
    RefusedError,
    SchemaError,
    ServiceRefusedError,
)
from atdata_core.shards.dataset import Dataset
from atdata_core.state.ledger import timestamp


@pytest.fixture
def published(client, feature, shard, upload):
    """The at-uris of a schema and of a dataset of three samples, and the URL of its shard."""
    url = upload("a.tar", shard(3))
    uri = DatasetPublisher(client).publish(Dataset[feature](url), name="plants")
    return client.get_record(uri).value["schemaRef"], uri, url


def test_records_are_loaded_as_they_lie_on_the_network_by_one_request_each(
    client, stranger, published, monkeypatch
):
    schema_uri, uri, url = published
    schemas, datasets = SchemaLoader(stranger.client), DatasetLoader(stranger.client)
    assert schemas.get(schema_uri) == client.get_record(schema_uri).value
    ask, asked = stranger.client.get_record, []
    monkeypatch.setattr(stranger.client, "get_record", lambda uri: asked.append(uri) or ask(uri))
    assert datasets.get(uri)["name"] == "plants"
    assert datasets.get_storage_type(uri) == "external"
    assert len(asked) == 2
    assert datasets.get_urls(uri) == [url]
    assert datasets.get_metadata(uri) is None
    assert schemas.list_all(client.did) == [schemas.get(schema_uri)]
    assert datasets.list_all(client.did, limit=5) == [datasets.get(uri)]
    with pytest.raises(SchemaError, match="no schema record"):
        schemas.get(uri)
    with pytest.raises(ValueError, match="no dataset record"):
        datasets.get(schema_uri)


def test_a_loader_tells_shards_that_are_blobs_from_others(client, stranger, published, shard):
    datasets, (_, uri, url) = DatasetLoader(stranger.client), published
    assert datasets.get_storage_type(uri) == "external"
    with pytest.raises(ValueError, match="are no blobs"):
        datasets.get_blob_urls(uri)
    blob = client.upload_blob(shard(2))
    assert blob["mimeType"] == "application/octet-stream"
    for items in ([{"blob": blob}], [blob]):
        storage = {"$type": "science.alt.dataset.storageBlobs", "blobs": items}
        entry = client.create_record(ENTRY, {**client.get_record(uri).value, "storage": storage}, validate=False)
        assert datasets.get_storage_type(entry) == "blobs"
        assert datasets.get_blobs(entry) == [blob]
        assert datasets.get_blob_urls(entry) == datasets.get_urls(entry) != [url]


def test_blobs_are_a_source_of_shards_that_are_held_to_their_cids(client, feature, shard, pds, monkeypatch):
    blobs = [client.upload_blob(shard(2, first=n)) for n in (0, 2)]
    client.create_record("com.example.thing", {"$type": "com.example.thing", "blobs": blobs}, validate=False)
    refs = [{"did": client.did, "cid": blob["ref"]["$link"]} for blob in blobs]
    for source in (BlobSource.from_refs(refs), BlobSource(refs, pds_endpoint=f"{pds.url}/")):
        dataset = Dataset[feature](source)
        assert isinstance(source, DataSource)
        assert dataset.shard_list == [f"at://{ref['did']}/blob/{ref['cid']}" for ref in refs]
        assert [sample.label for sample in pickle.loads(pickle.dumps(dataset)).ordered()] == [0, 1, 2, 3]
        with pytest.raises(KeyError, match="Shard not found"):
            source.open_shard("at://did:plc:abc/blob/another")
    with pytest.raises(RefusedError, match="no CID"):
        list(Dataset[feature](BlobSource([{"did": client.did, "cid": "bafyrei"}], pds.url)))
    with pytest.raises(RefusedError, match="only its BlobSource can open"):
        DatasetPublisher(client).publish(dataset, name="blobs")
    for message, given in {
        "cannot be empty": [],
        "Invalid blob reference format": [{"invalid": 1}],
        "requires 'did' field": [{"ref": {"$link": "bafy"}}],
    }.items():
        with pytest.raises(ValueError, match=message):
            BlobSource.from_refs(given)
    for name in ("ATDATA_PDS_URL", "ATDATA_PLC_URL", "ATDATA_ALLOW_PRIVATE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PrivateAddressError):
        BlobSource(refs, pds_endpoint=pds.url).open_shard(dataset.shard_list[0])


def test_a_dataset_of_a_source_is_published_at_the_address_of_the_source(
    client, stranger, feature, shard, upload, s3, bucket, monkeypatch
):
    upload("a.tar", shard(3))
    for name in [name for name in os.environ if name.startswith(("AWS_", "ATDATA_S3"))]:
        monkeypatch.delenv(name)
    source = S3Source.from_credentials(s3, bucket, ["a.tar"])
    entry = stranger.get_dataset(str(DatasetPublisher(client).publish(Dataset[feature](source), name="plants")))
    assert (entry.data_urls, entry.shards[0].endpoint) == ([f"s3://{bucket}/a.tar"], s3["AWS_ENDPOINT"])


def test_a_record_is_a_tuple_whose_fields_are_also_read_by_name(client, published):
    record = client.get_record(published[1])
    uri, cid, value = record
    assert (record[0], record[1], record[-1]) == (uri, cid, value)
    assert (record["name"], record.get("name"), record.get("nothing", 1)) == ("plants", "plants", 1)
    assert client.list_records(ENTRY)[0][0]["schemaRef"] == value["schemaRef"]


def test_what_would_make_a_second_record_of_the_same_thing_is_refused_by_name(client, published, feature):
    schema_uri, uri, url = published
    schemas, datasets = SchemaPublisher(client), DatasetPublisher(client)
    assert str(schemas.publish(feature, name=feature.__name__)) == schema_uri
    for refused, call in {
        "rkey": lambda: schemas.publish(feature, rkey="mine"),
        "rename the class": lambda: schemas.publish(feature, name="Other"),
        "no metadata": lambda: schemas.publish(feature, metadata={"by": "me"}),
        "key 'mine'": lambda: datasets.publish(Dataset[feature](url), name="plants", rkey="mine"),
        "published once": lambda: datasets.publish_with_urls([url], schema_uri, name="plants", rkey="mine"),
    }.items():
        with pytest.raises(RefusedError, match=refused):
            call()
    assert [record.uri for record in client.iter_records(ENTRY)] == [str(uri)]


def test_a_published_dataset_is_read_as_a_class_of_ones_own(stranger, published, feature):
    dataset = DatasetLoader(stranger.client).to_dataset(published[1], feature)
    assert dataset.sample_type is feature
    assert [sample.label for sample in dataset] == [0, 1, 2]


def test_a_record_is_created_put_and_deleted(client):
    record = {
        "$type": LABEL,
        "name": "n",
        "datasetUri": f"at://{client.did}/{ENTRY}/2222222222222",
        "createdAt": timestamp(),
    }
    at = client.create_record(LABEL, record)
    assert client.get_record(at).value == record
    assert not is_identity_tid(at.rkey)
    assert client.create_record(LABEL, record) != at
    assert client.create_record(LABEL, record, rkey=at.rkey) == at
    with pytest.raises(RecordChangedError):
        client.create_record(LABEL, {**record, "name": "m"}, rkey=at.rkey)
    assert client.put_record(LABEL, at.rkey, {**record, "name": "m"}) == at
    assert client.get_record(at).value["name"] == "m"
    with pytest.raises(ServiceRefusedError, match="InvalidSwap"):
        client.put_record(
            LABEL, at.rkey, record, swap_commit="bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
        )
    client.delete_record(str(at), swap_commit=client.latest_commit(client.did))
    with pytest.raises(RecordNotFoundError):
        client.get_record(at)
    with pytest.raises(RefusedError, match="not in the repository"):
        client.delete_record(AtUri("did:plc:another", LABEL, at.rkey))


def test_whether_the_pds_looks_at_lexicons_is_said_with_a_write(client):
    thing, record = "com.example.thing", {"$type": "com.example.thing", "a": 1}
    assert client.get_record(client.create_record(thing, record, validate=False)).value == record
    assert client.get_record(client.put_record(thing, "k", record, validate=False)).value == record
    with pytest.raises(ServiceRefusedError, match=r"com\.example\.thing"):
        client.create_record(thing, record, validate=True)
    with pytest.raises(ServiceRefusedError, match=r"com\.example\.thing"):
        client.put_record(thing, "k", {**record, "a": 2}, validate=True)


def test_an_entry_is_made_of_the_body_of_a_record():
    where = {"$type": "ac.foundation.dataset.storageExternal", "urls": ["s3://b/a.tar"]}
    entry = AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": "n", "schemaRef": "at://s", "storage": where})
    assert (entry.name, entry.schema_ref, entry.data_urls, entry.cid) == ("n", "at://s", ["s3://b/a.tar"], "")
    assert AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": "n"}).data_urls == []
    with pytest.raises(RefusedError, match="`name` cannot be read"):
        AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": 1})
