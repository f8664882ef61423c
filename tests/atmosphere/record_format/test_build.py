import re

import pytest

from atdata_core.atmosphere.record_format.build import entry_record, label_record, schema_record, storage_of
from atdata_core.atmosphere.record_format.parse import read_entry_record
from atdata_core.errors import MetadataError, NoDataUrlsError, StorageError
from atdata_core.samples.schema import schema_of
from atdata_core.state.ledger import timestamp

SCHEMA_URI = "at://did:plc:abc/science.alt.dataset.schema/m.C:1.0.0"
WORDS = {"description": None, "tags": None, "license": None, "metadata": None}


def entry(shards, **changes):
    given = {"name": "digits", "schema_uri": SCHEMA_URI, "created_at": timestamp(), **WORDS, **changes}
    return entry_record(shards=shards, **given)


def test_times_are_in_utc_with_milliseconds():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp())


def test_an_s3_entry_names_bucket_endpoint_keys_and_digests(facts):
    shards = [
        facts(f"s3://lab/x/{n}.tar", endpoint="https://s3.example.org", region="eu", sha256=f"{n:064x}")
        for n in (0, 1)
    ]
    assert storage_of(shards) == {
        "$type": "science.alt.dataset.storageS3",
        "bucket": "lab",
        "region": "eu",
        "endpoint": "https://s3.example.org",
        "shards": [
            {"key": f"x/{n}.tar", "checksum": {"algorithm": "sha256", "digest": f"{n:064x}"}} for n in (0, 1)
        ],
    }


def test_shards_on_the_web_are_named_by_url(facts):
    storage = storage_of([facts("https://h/0.tar"), facts("http://g/1.tar")])
    assert storage["$type"] == "science.alt.dataset.storageHttp"
    assert [shard["url"] for shard in storage["shards"]] == ["https://h/0.tar", "http://g/1.tar"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"url": "/data/a.tar"}, {"url": "/data/b.tar"}),
        ({"url": "file:///data/a.tar"}, {"url": "s3://b/k"}),
        ({"url": "s3://b/k"}, {"url": "https://h/k"}),
        ({"url": "s3://b/k"}, {"url": "s3://c/k"}),
        ({"url": "s3://b/k", "endpoint": "https://x"}, {"url": "s3://b/l"}),
    ],
)
def test_shards_that_others_cannot_find_in_one_place_are_refused_with_the_way_out(facts, one, other):
    with pytest.raises(StorageError, match="data_store=S3DataStore"):
        storage_of([facts(**one), facts(**other)])


@pytest.mark.parametrize("url", ["https://user:hunter2@h/a.tar", "https://h/a.tar?X-Amz-Signature=hunter2"])
def test_a_credential_in_a_url_is_refused_and_not_shown(facts, url):
    with pytest.raises(StorageError) as caught:
        storage_of([facts(url)])
    assert "hunter2" not in f"{caught.value} {caught.value.facts}"


def test_no_shards_and_shards_without_a_digest_are_refused(facts):
    with pytest.raises(NoDataUrlsError):
        storage_of([])
    with pytest.raises(StorageError, match="placeholder"):
        storage_of([facts(sha256="")])


def test_values_that_are_empty_are_left_out_of_an_entry(facts):
    bare = entry([facts()], description="", tags=[], license="")
    assert bare.keys() == {"$type", "name", "schemaRef", "storage", "size", "createdAt"}


def test_an_entry_tells_samples_only_when_all_are_known(facts):
    assert entry([facts(), facts("s3://bucket/b.tar")])["size"] == {"samples": 6, "bytes": 20, "shards": 2}
    assert entry([facts(), facts("s3://bucket/b.tar", samples=None)])["size"] == {"bytes": 20, "shards": 2}


def test_an_entry_is_read_back_as_it_was_written(facts):
    metadata = {"pi": 3.14159, 1: b"\0\xff", "big": 2**60, "deep": [{"a": None}]}
    record = entry(
        [facts(endpoint="https://e")], description="d", tags=["a", "b"], license="MIT", metadata=metadata
    )
    found = read_entry_record("at://did:plc:abc/science.alt.dataset.entry/x", "bafy", record)
    assert (found.name, found.schema_ref, found.data_urls) == ("digits", SCHEMA_URI, ["s3://bucket/a.tar"])
    assert (found.description, found.tags, found.license) == ("d", ["a", "b"], "MIT")
    assert found.metadata == metadata
    assert (found.uri, found.cid) == ("at://did:plc:abc/science.alt.dataset.entry/x", "bafy")
    assert [(shard.sha256, shard.endpoint) for shard in found.shards] == [("ab" * 32, "https://e")]


def test_metadata_that_cannot_be_packed_or_is_too_large_is_refused(facts):
    for metadata in ({"x": object()}, {"x": 2**64}, {"x": "x" * 100_001}):
        with pytest.raises(MetadataError):
            entry([facts()], metadata=metadata)


def test_a_schema_record_holds_the_lexicons_form_and_the_flattened_one(everything):
    local = schema_of(everything, version="1.2.3", description="all")
    record = schema_record(local, created_at=timestamp())
    assert (record["name"], record["version"], record["description"]) == ("Everything", "1.2.3", "all")
    assert record["metadata"] == {"module": everything.__module__}
    schema = record["schema"]
    assert (schema["$type"], schema["draft"]) == ("science.alt.dataset.schema#jsonSchemaFormat", "draft-07")
    assert schema["properties"] == schema["content"]["properties"]
    assert set(schema["content"]["required"]) == set(schema["properties"]) - {"maybe", "b"}
    assert schema["arrayFormatVersions"] == {"ndarrayBytes": "1.0.0"}
    local["fields"] = [each for each in local["fields"] if "ndarray" not in str(each)]
    assert "arrayFormatVersions" not in schema_record(local, created_at=timestamp())["schema"]


def test_the_flattened_form_calls_no_field_optional_that_a_pds_puts_before_a_required_one(everything):
    schema = schema_record(schema_of(everything), created_at=timestamp())["schema"]
    as_a_pds_gives_them = sorted(schema["properties"], key=lambda name: (len(name), name))
    required = [name in schema["required"] for name in as_a_pds_gives_them]
    assert required == sorted(required, reverse=True)


def test_a_label_points_at_an_entry():
    label = label_record(name="n", dataset_uri="at://did:plc:a/b.c.d/e", version=None, created_at="t")
    assert label.keys() == {"$type", "name", "datasetUri", "createdAt"}
    assert label_record(name="n", dataset_uri="u", version="1", created_at="t")["version"] == "1"
