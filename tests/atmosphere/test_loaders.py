"""Records and datasets one by one, and writing records, as programs for the package atdata do; with a real PDS."""

import pytest

from atdata_core.atmosphere import (
    AtmosphereIndexEntry,
    AtUri,
    DatasetLoader,
    DatasetPublisher,
    SchemaLoader,
    SchemaPublisher,
)
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, is_identity_tid
from atdata_core.errors import (
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


def test_records_are_loaded_as_they_lie_on_the_network(client, stranger, published):
    schema_uri, uri, url = published
    schemas, datasets = SchemaLoader(stranger.client), DatasetLoader(stranger.client)
    assert schemas.get(schema_uri) == client.get_record(schema_uri).value
    assert datasets.get(uri)["name"] == "plants"
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
    for write in (
        client.create_record,
        lambda *given, **how: client.put_record(*given[:1], "k", *given[1:], **how),
    ):
        strange = {"$type": "com.example.thing", "a": 1}
        assert client.get_record(write("com.example.thing", strange, validate=False)).value == strange
        with pytest.raises(ServiceRefusedError, match=r"com\.example\.thing"):
            write("com.example.thing", strange, validate=True)
    client.delete_record(str(at), swap_commit=client.latest_commit(client.did))
    with pytest.raises(RecordNotFoundError):
        client.get_record(at)
    with pytest.raises(RefusedError, match="not in the repository"):
        client.delete_record(AtUri("did:plc:another", LABEL, at.rkey))


def test_an_entry_is_made_of_the_body_of_a_record():
    where = {"$type": "ac.foundation.dataset.storageExternal", "urls": ["s3://b/a.tar"]}
    entry = AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": "n", "schemaRef": "at://s", "storage": where})
    assert (entry.name, entry.schema_ref, entry.data_urls, entry.cid) == ("n", "at://s", ["s3://b/a.tar"], "")
    assert AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": "n"}).data_urls == []
    with pytest.raises(RefusedError, match="`name` cannot be read"):
        AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": 1})
