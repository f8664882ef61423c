"""Records and datasets one by one, and writing records, as programs for the package atdata do; with a real PDS."""

import pytest

from atdata_core.atmosphere import (
    AtmosphereIndexEntry,
    AtUri,
    DatasetLoader,
    DatasetPublisher,
    SchemaLoader,
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


def test_an_entry_is_made_of_the_body_of_a_record():
    where = {"$type": "ac.foundation.dataset.storageExternal", "urls": ["s3://b/a.tar"]}
    entry = AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": "n", "schemaRef": "at://s", "storage": where})
    assert (entry.name, entry.schema_ref, entry.data_urls, entry.cid) == ("n", "at://s", ["s3://b/a.tar"], "")
    assert AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": "n"}).data_urls == []
    with pytest.raises(RefusedError, match="`name` cannot be read"):
        AtmosphereIndexEntry("at://did:plc:a/x.y.z/1", {"name": 1})
