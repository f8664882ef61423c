"""A dataset names the newest published schema with its fields, and each sample was decoded by that one."""

import pytest
from numpy.typing import NDArray

from atdata_core.atmosphere import DatasetPublisher
from atdata_core.atmosphere.record_format.record_keys import ENTRY, SCHEMA
from atdata_core.errors import SampleError, SchemaConflictError
from atdata_core.samples.sample_types import packable
from atdata_core.shards.dataset import Dataset


@pytest.fixture
def changed(feature):
    """The class, as it is after it was changed."""

    def make(**annotations):
        made = packable(type("Feature", (), {"__annotations__": annotations, "__module__": feature.__module__}))
        made.__module__ = feature.__module__
        return made

    return make


@pytest.fixture
def insert(index, feature, shard, upload):
    """Insert a dataset of two samples; the version that its record names."""

    def make(**more):
        entry = index.insert_dataset(Dataset[feature](upload("0.tar", shard(2))), name="digits", **more)
        return index.get_schema(entry.schema_ref)["version"]

    return make


def test_the_newest_published_version_with_the_fields_is_named(index, feature, changed, insert):
    index.publish_schema(changed(other=int), version="1.0.0")
    index.publish_schema(feature, version="1.2.0")
    index.publish_schema(feature, version="1.10.0")
    index.publish_schema(changed(other=str), version="2.0.0")
    assert insert() == "1.10.0"
    assert len(index.list_schemas()) == 4


def test_without_any_schema_the_first_version_is_published(index, insert, changed):
    index.publish_schema(type("Other", (changed(label=int),), {"__module__": "m"}), version="3.0.0")
    assert insert() == "1.0.0"
    assert insert() == "1.0.0"
    assert len(index.list_schemas()) == 2


def test_where_all_versions_have_other_fields_it_is_refused_with_the_call_that_publishes_these(
    index, feature, changed, insert
):
    index.publish_schema(changed(label=int, note=str | None), version="1.1.0")
    with pytest.raises(SchemaConflictError, match=r'vector differ from 1\.1\.0.*\(Feature, version="2\.0\.0"\)'):
        insert()
    assert index.list_datasets() == []
    assert len(index.list_schemas()) == 1
    index.publish_schema(feature, version="2.0.0")
    assert insert() == "2.0.0"


def test_a_version_that_is_named_is_the_one(index, feature, shard, upload):
    index.publish_schema(feature, version="1.1.0")
    uri = DatasetPublisher(index.client).publish(
        Dataset[feature](upload("0.tar", shard(2))), name="digits", schema_version="1.0.0"
    )
    assert index.get_schema(index.get_dataset(str(uri)).schema_ref)["version"] == "1.0.0"


@pytest.mark.parametrize("way", ["insert", "insert with a schema", "by URL"])
def test_samples_that_are_none_of_the_schema_are_refused_before_a_record_is_written(
    index, changed, shard, upload, way
):
    url = upload("wrong.tar", shard(2))
    wanted = changed(vector=NDArray, label=str)
    ref = None if way == "insert" else index.publish_schema(wanted)

    def insert():
        if way == "by URL":
            return DatasetPublisher(index.client).publish_with_urls([url], ref, name="digits")
        return index.insert_dataset(Dataset[wanted](url), name="digits", schema_ref=ref)

    with pytest.raises(SampleError, match=r"wrong\.tar"):
        insert()
    assert [len(index.client.list_records(kind)[0]) for kind in (SCHEMA, ENTRY)] == [int(ref is not None), 0]


def test_what_counts_is_the_schema_that_is_named_and_not_the_type_of_the_dataset(
    index, feature, changed, shard, upload
):
    ref = index.publish_schema(changed(vector=NDArray, note=str | None, label=str))
    with pytest.raises(SampleError, match="label"):
        index.insert_dataset(Dataset[feature](upload("0.tar", shard(2))), name="digits", schema_ref=ref)
    assert index.list_datasets() == []
