"""Publishing and reading through the index, with a real PDS and a real S3."""

import hashlib
import http.server
import pickle
import threading
from urllib.parse import unquote

import numpy as np
import pytest

from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex, AtUri, DatasetPublisher, SchemaPublisher
from atdata_core.atmosphere.record_format.build import entry_record, schema_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, SCHEMA, identity_tid
from atdata_core.errors import (
    EntryNotFoundError,
    NotLoggedInError,
    PrivateAddressError,
    RefusedError,
    SchemaConflictError,
    SchemaError,
    SchemaNotFoundError,
    ShardChangedError,
    ShardMissingError,
    StorageError,
)
from atdata_core.protocols import ShardFacts
from atdata_core.samples.sample_types import packable
from atdata_core.samples.schema import schema_of
from atdata_core.shards.dataset import Dataset
from atdata_core.state.ledger import timestamp


@pytest.fixture
def publish(index, feature):
    """Publish shards as they are described, true or not; the at-uri of the entry."""

    def make(*shards, **changes):
        schema_uri = index.publish_schema(feature)
        record = entry_record(
            name="n", schema_uri=schema_uri, shards=shards, description=None, tags=None, license=None,
            metadata=None, created_at=timestamp(),
        )  # fmt: skip
        record = {**record, **changes}
        written, _ = index.client.create_once(ENTRY, identity_tid(repr(record)), record)
        return written.uri

    return make


@pytest.fixture
def facts_of(s3):
    """True facts of a shard."""

    def make(url, data, **changes):
        known = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "endpoint": s3["AWS_ENDPOINT"]}
        return ShardFacts(url, **{**known, **changes})

    return make


@pytest.fixture
def website():
    """A web server; its base URL and the pages that it serves."""
    pages = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = pages.get(unquote(self.path))
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", pages
    server.shutdown()
    thread.join()
    server.server_close()


def labels(dataset):
    return [sample.label for sample in dataset.ordered()]


def test_a_dataset_is_inserted_found_and_read_by_a_stranger(index, stranger, feature, shard, upload):
    urls = [upload(f"{n}.tar", shard(3, first=3 * n)) for n in range(2)]
    entry = index.insert_dataset(
        Dataset[feature](urls), name="digits", description="d", tags=["a"], license="CC0-1.0"
    )
    found = stranger.get_dataset(entry.uri)
    assert found == entry
    assert (found.name, found.description, found.tags, found.license) == ("digits", "d", ["a"], "CC0-1.0")
    assert found.data_urls == urls
    assert index.client.get_record(entry.uri).value["size"] == {
        "samples": 6,
        "bytes": 2 * len(shard(3)),
        "shards": 2,
    }
    dataset = stranger.open_dataset(entry.uri)
    samples = list(dataset.ordered())
    assert [sample.label for sample in samples] == list(range(6))
    assert np.array_equal(samples[5].vector, np.full(4, 5, np.float32))
    same = Dataset[feature](dataset.shard_list, data_store=pickle.loads(pickle.dumps(dataset.data_store)))
    assert labels(same) == list(range(6))


def test_inserting_again_is_the_same_record_and_new_words_update_it(index, feature, shard, upload):
    dataset = Dataset[feature](upload("0.tar", shard(2)))
    first = index.insert_dataset(dataset, name="digits", tags=["a"])
    commit = index.client.latest_commit(index.client.did)
    assert index.insert_dataset(dataset, name="digits", tags=["a"]) == first
    assert index.client.latest_commit(index.client.did) == commit
    second = index.insert_dataset(dataset, name="digits", tags=["b"])
    assert (second.uri, second.tags, second.created_at) == (first.uri, ["b"], first.created_at)
    assert index.insert_dataset(dataset, name="other").uri != first.uri
    assert {entry.name for entry in index.list_datasets()} == {"digits", "other"}


def test_an_at_uri_may_name_a_handle(index, stranger, feature, shard, upload):
    entry = index.insert_dataset(Dataset[feature](upload("0.tar", shard(2))), name="digits")
    by_handle = entry.uri.replace(index.client.did, index.client.handle)
    assert stranger.get_dataset(by_handle) == entry
    assert labels(stranger.open_dataset(by_handle)) == [0, 1]


def test_a_dataset_on_this_machine_is_refused_and_nothing_is_written(index, feature, shard, tmp_path):
    (tmp_path / "0.tar").write_bytes(shard(1))
    with pytest.raises(StorageError, match="data_store"):
        index.insert_dataset(Dataset[feature](str(tmp_path / "0.tar")), name="digits")
    assert index.list_datasets() == []
    assert index.list_schemas() == []


def test_a_shard_that_is_missing_is_told_before_anything_is_written(index, feature, bucket):
    with pytest.raises(ShardMissingError, match=f"s3://{bucket}/none.tar"):
        index.insert_dataset(Dataset[feature](f"s3://{bucket}/none.tar"), name="digits")
    assert index.list_schemas() == []


def test_a_stranger_cannot_insert(stranger, feature, shard, upload):
    with pytest.raises(NotLoggedInError):
        stranger.insert_dataset(Dataset[feature](upload("0.tar", shard(1))), name="digits")


def test_a_flipped_byte_is_told_at_the_end_of_its_shard(publish, stranger, shard, upload, facts_of):
    good, other = shard(3), shard(2, first=3)
    flipped = bytearray(other)
    flipped[1536 + 8] ^= 1  # in the name of the second member, where no checksum of a sample is
    facts = [facts_of(upload("a.tar", good), good), facts_of(upload("b.tar", shard(2, first=8)), other)]
    uri = publish(*facts)
    seen = []
    with pytest.raises(ShardChangedError, match=r"b\.tar") as caught:
        seen.extend(sample.label for sample in stranger.open_dataset(uri).ordered())
    assert caught.value.expected == hashlib.sha256(other).hexdigest()
    assert labels(stranger.open_dataset(uri, verify=False)) == [0, 1, 2, 8, 9]


def test_shards_on_the_web_are_read_and_checked(publish, stranger, shard, website, facts_of, monkeypatch):
    base, pages = website
    pages["/0.tar"], pages["/1.tar"] = shard(2), shard(2, first=2)
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", base.removeprefix("http://"))
    uri = publish(*(facts_of(f"{base}/{n}.tar", pages[f"/{n}.tar"], endpoint=None) for n in range(2)))
    assert labels(stranger.open_dataset(uri)) == [0, 1, 2, 3]
    pages["/1.tar"] = shard(2, first=4)
    with pytest.raises(ShardChangedError):
        labels(stranger.open_dataset(uri))


STRANGE = ["x{0..1}.tar", "a,{b,c}.tar", "open{.tar", "shut}.tar", "back\\slash.tar", "a::b.tar", r"\{0..1\}.tar"]
"""File names that a pattern would make others of."""


def test_s3_keys_that_look_like_patterns_are_read_and_checked(publish, stranger, shard, upload, facts_of):
    data = shard(2)
    for bait in ("q/x0.tar", "q/x1.tar"):
        upload(bait, shard(3))
    for name in STRANGE:
        url = upload(f"q/{name}", data)
        dataset = stranger.open_dataset(publish(facts_of(url, data)))
        assert dataset.shard_list == [url]
        assert labels(dataset) == [0, 1]
        with pytest.raises(ShardChangedError):
            labels(stranger.open_dataset(publish(facts_of(url, data, sha256="0" * 64))))


@pytest.mark.parametrize("name", STRANGE)
def test_a_shard_on_the_web_that_looks_like_a_pattern_is_read_and_checked(
    publish, stranger, shard, website, facts_of, monkeypatch, name
):
    base, pages = website
    data = shard(2)
    pages["/br/x0.tar"] = pages["/br/x1.tar"] = shard(3)
    pages[f"/br/{name}"] = data
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", base.removeprefix("http://"))
    url = f"{base}/br/{name}"
    dataset = stranger.open_dataset(publish(facts_of(url, data, endpoint=None)))
    assert dataset.shard_list == [url]
    assert labels(dataset) == [0, 1]
    with pytest.raises(ShardChangedError):
        labels(stranger.open_dataset(publish(facts_of(url, data, endpoint=None, sha256="0" * 64))))


def test_a_reader_of_a_record_opens_no_other_shard(publish, stranger, shard, upload, facts_of):
    data = shard(2)
    reader = stranger.open_dataset(publish(facts_of(upload("a.tar", data), data))).data_store
    other = upload("b.tar", shard(3))
    for look in (reader.open_shard, reader.stat_shard):
        with pytest.raises(StorageError, match=r"b\.tar is no shard of the record"):
            look(other)


def test_a_record_cannot_make_a_reader_ask_a_private_address(
    publish, stranger, shard, website, facts_of, monkeypatch
):
    base, pages = website
    pages["/0.tar"] = pages["/bucket/0.tar"] = shard(1)
    for facts in (
        facts_of(f"{base}/0.tar", pages["/0.tar"], endpoint=None),
        facts_of("s3://bucket/0.tar", pages["/0.tar"], endpoint=base),
    ):
        dataset = stranger.open_dataset(publish(facts))
        with pytest.raises(PrivateAddressError, match="ATDATA_ALLOW_PRIVATE"):
            labels(dataset)


def test_a_record_cannot_make_a_reader_open_a_file(publish, stranger, shard, tmp_path, facts_of):
    (tmp_path / "0.tar").write_bytes(shard(1))
    for path in (f"{tmp_path}/0.tar", f"file://{tmp_path}/0.tar"):
        checksum = {"algorithm": "none", "digest": ""}
        storage = {"$type": "science.alt.dataset.storageHttp", "shards": [{"url": path, "checksum": checksum}]}
        uri = publish(facts_of("s3://b/k", b""), storage=storage)
        assert stranger.get_dataset(uri).data_urls == [path]
        with pytest.raises(StorageError, match="publisher"):
            labels(stranger.open_dataset(uri))


def test_shards_that_are_blobs_are_read_from_the_pds_of_the_repository(publish, index, stranger, shard, facts_of):
    data = shard(2)
    blob = index.client.upload_blob(data, "application/x-tar")
    uri = publish(
        facts_of("s3://b/k", b""), storage={"$type": "science.alt.dataset.storageBlobs", "blobs": [{"blob": blob}]}
    )
    entry = stranger.get_dataset(uri)
    assert entry.shards[0].sha256 == hashlib.sha256(data).hexdigest()
    assert labels(stranger.open_dataset(uri)) == [0, 1]


def test_an_old_entry_with_a_brace_pattern_is_read_without_digests(index, stranger, shard, website, monkeypatch):
    base, pages = website
    pages["/a-000.tar"], pages["/a-001.tar"] = shard(1), shard(1, first=1)
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", "127.0.0.1")
    fields = [
        ("vector", {"$type": "ac.foundation.dataset.schemaType#ndarray", "dtype": "float32"}, False),
        ("note", {"$type": "ac.foundation.dataset.schemaType#primitive", "primitive": "str"}, True),
        ("label", {"$type": "ac.foundation.dataset.schemaType#primitive", "primitive": "int"}, False),
    ]
    schema = {
        "$type": "ac.foundation.dataset.sampleSchema", "name": "Old", "version": "1.0.0", "createdAt": timestamp(),
        "fields": [{"name": name, "fieldType": kind, "optional": optional} for name, kind, optional in fields],
    }  # fmt: skip
    written, _ = index.client.create_once(schema["$type"], "self", schema)
    entry = {
        "$type": "ac.foundation.dataset.record", "name": "old", "schemaRef": written.uri, "createdAt": timestamp(),
        "storage": {"$type": "ac.foundation.dataset.storageExternal", "urls": [f"{base}/a-{{000..001}}.tar"]},
    }  # fmt: skip
    old, _ = index.client.create_once(entry["$type"], "self", entry)
    assert labels(stranger.open_dataset(old.uri)) == [0, 1]
    assert [found.name for found in stranger.list_datasets(index.client.did)] == ["old"]
    assert [found["name"] for found in stranger.list_schemas(index.client.handle)] == ["Old"]


def test_what_is_not_there_is_a_key_error_and_what_is_no_at_uri_a_value_error(index, stranger):
    uri = f"at://{index.client.did}/{ENTRY}/2222222222222"
    with pytest.raises(EntryNotFoundError, match=uri):
        stranger.get_dataset(uri)
    with pytest.raises(SchemaNotFoundError, match="2222222222222"):
        stranger.get_schema(uri.replace(ENTRY, SCHEMA))
    for read in (stranger.get_dataset, stranger.open_dataset, stranger.get_schema, stranger.decode_schema):
        with pytest.raises(RefusedError, match="at-uri"):
            read("my-dataset")


def test_a_record_of_another_kind_is_a_value_error(index, feature):
    uri = index.publish_schema(feature)
    with pytest.raises(ValueError, match="no dataset record"):
        index.get_dataset(uri)


def test_a_listing_leaves_out_what_it_cannot_read_and_says_so(publish, index, facts_of, caplog):
    publish(facts_of("s3://b/k", b""))
    broken = publish(facts_of("s3://b/k", b""), storage="nowhere")
    assert [entry.name for entry in index.list_datasets()] == ["n"]
    assert broken in caplog.text


def test_a_schema_is_published_once_and_rebuilt_by_a_stranger(index, stranger, everything):
    uri = index.publish_schema(everything, version="1.2.3", description="all")
    assert uri == f"at://{index.client.did}/{SCHEMA}/{everything.__module__}.Everything:1.2.3"
    commit = index.client.latest_commit(index.client.did)
    assert index.publish_schema(everything, version="1.2.3", description="other words") == uri
    assert index.client.latest_commit(index.client.did) == commit
    schema = stranger.get_schema(uri)
    assert (schema["name"], schema["version"], schema["description"]) == ("Everything", "1.2.3", "all")
    assert (schema["module"], schema["uri"]) == (everything.__module__, uri)
    rebuilt = stranger.decode_schema(uri)
    assert list(rebuilt.__annotations__) == list(everything.__annotations__)
    assert [found["uri"] for found in index.list_schemas()] == [uri]


def test_the_same_version_with_other_fields_is_refused_by_name(index, feature):
    index.publish_schema(feature)

    @packable
    class Feature:
        vector: bytes
        note: str | None
        size: int

    Feature.__module__ = feature.__module__
    with pytest.raises(SchemaConflictError, match="new version") as caught:
        index.publish_schema(Feature)
    assert set(caught.value.fields) == {"vector", "label", "size"}
    assert index.publish_schema(Feature, version="2.0.0").endswith(":2.0.0")


@pytest.fixture
def foreign_schema(index, feature):
    """A schema record as another program writes it: under a TID, without a module."""

    def make(rkey="3n2v7vxlskq23", **changes):
        record = schema_record(schema_of(feature), created_at=timestamp())
        del record["metadata"]
        return index.client.create_once(SCHEMA, rkey, {**record, **changes})[0].uri

    return make


def test_another_programs_record_of_the_same_class_is_reused(index, feature, foreign_schema):
    foreign_schema("3n2v7vxlskq22", version="2.0.0")
    foreign_schema("3n2v7vxlskq24", name="Other")
    uri = foreign_schema()
    foreign_schema("3n2v7vxlskq25")
    assert index.publish_schema(feature) == uri
    assert len(index.list_schemas()) == 4


def test_another_programs_record_of_the_same_class_with_other_fields_is_a_conflict(
    index, everything, feature, foreign_schema
):
    uri = foreign_schema(schema=schema_record(schema_of(everything), created_at=timestamp())["schema"])
    with pytest.raises(SchemaConflictError, match=uri):
        index.publish_schema(feature)
    assert [found["uri"] for found in index.list_schemas()] == [uri]


def test_a_type_rebuilt_from_a_record_without_a_module_finds_that_record(
    index, stranger, foreign_schema, shard, upload
):
    uri = foreign_schema()
    rebuilt = stranger.decode_schema(uri)
    assert index.publish_schema(rebuilt) == uri
    entry = index.insert_dataset(Dataset[rebuilt](upload("0.tar", shard(2))), name="digits")
    assert entry.schema_ref == uri
    again = index.publish_schema(rebuilt, version="2.0.0")
    assert again == f"at://{index.client.did}/{SCHEMA}/Feature:2.0.0"
    assert index.get_schema(again).get("module") is None
    assert index.publish_schema(stranger.decode_schema(again), version="2.0.0") == again
    assert len(index.list_schemas()) == 2


def test_the_publishers_give_at_uris(client, feature, shard, upload):
    schema_uri = SchemaPublisher(client).publish(feature, version="1.0.0")
    assert isinstance(schema_uri, AtUri)
    upload("0.tar", shard(2))
    pattern = upload("1.tar", shard(2)).replace("1.tar", "{0..1}.tar")
    metadata = {"rate": 0.5, 1: b"x"}
    uri = DatasetPublisher(client).publish_with_urls(
        [pattern], str(schema_uri), name="both", tags=["t"], metadata=metadata
    )
    assert isinstance(uri, AtUri)
    entry = AtmosphereIndex(client).get_dataset(str(uri))
    assert [url.rpartition("/")[2] for url in entry.data_urls] == ["0.tar", "1.tar"]
    assert (entry.metadata, entry.schema_ref) == (metadata, str(schema_uri))
    with pytest.raises(RefusedError, match="schema_uri"):
        DatasetPublisher(client).publish(Dataset[feature](pattern), name="x", auto_publish_schema=False)


def test_a_schema_may_be_named_by_handle_and_the_record_holds_the_did(index, feature, shard, upload):
    schema = index.publish_schema(feature)
    dataset = Dataset[feature](upload("0.tar", shard(2)))
    by_did = index.insert_dataset(dataset, name="digits", schema_ref=schema)
    by_handle = index.insert_dataset(
        dataset, name="digits", schema_ref=schema.replace(index.client.did, index.client.handle)
    )
    assert by_handle == by_did
    assert by_did.schema_ref == schema


def test_a_schema_that_is_none_is_refused_before_anything_is_read_or_written(index, feature, shard, upload):
    missing = f"at://{index.client.did}/{SCHEMA}/m.Missing:1.0.0"
    nobody = f"at://did:plc:{'a' * 24}/{SCHEMA}/m.Missing:1.0.0"
    unread = Dataset[feature]("s3://nowhere/0.tar")
    for ref in (missing, nobody):
        with pytest.raises(SchemaNotFoundError, match="publish_schema"):
            index.insert_dataset(unread, name="digits", schema_ref=ref)
        with pytest.raises(KeyError, match="publish_schema"):
            DatasetPublisher(index.client).publish_with_urls(unread.shard_list, ref, name="digits")
    with pytest.raises(RefusedError, match="no at-uri"):
        index.insert_dataset(unread, name="digits", schema_ref="local://schemas/m.Feature@1.0.0")
    assert index.list_datasets() == []
    entry = index.insert_dataset(Dataset[feature](upload("0.tar", shard(2))), name="digits")
    with pytest.raises(SchemaError, match=f"{entry.uri} is no schema record"):
        index.insert_dataset(unread, name="other", schema_ref=entry.uri)
    assert index.list_datasets() == [entry]


def test_importing_the_atmosphere_loads_neither_atproto_nor_httpx():
    import subprocess
    import sys

    heavy = ["atproto", "httpx", "boto3", "redis", "torch", "webdataset"]
    program = (
        "import sys; from atdata_core.atmosphere import *\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_client_takes_its_pds_from_the_environment(environ, pds, monkeypatch):
    assert AtmosphereClient().base_url == pds.url
    monkeypatch.delenv("ATDATA_PDS_URL")
    assert AtmosphereClient().base_url == "https://bsky.social"
    assert AtmosphereClient("https://other.example/").base_url == "https://other.example"
