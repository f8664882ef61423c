"""Without a ``schema_ref`` an entry names the newest schema whose fields are those of its samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core import Dataset, packable
from atdata_core.errors import SchemaConflictError
from atdata_core.local import LocalIndex, Repo
from atdata_core.samples.schema import schema_of
from atdata_core.shards.tar_samples import ShardWriter

if TYPE_CHECKING:
    from crowd import RoundTrips

CLASS = "local://schemas/lab.vision.Cell@"


def cell(module: str = "lab.vision", **annotations: Any) -> Any:
    """A class called Cell."""
    made = packable(type("Cell", (), {"__annotations__": annotations or {"label": int}, "__module__": module}))
    made.__module__ = module
    return made


Old, New = cell(label=int), cell(label=int, area=float)


def publish_as_upstream(client: Any, sample_type: type, version: str) -> None:
    record = schema_of(sample_type, version=version)
    del record["module"]
    client.set(f"LocalSchema:Cell@{version}", json.dumps(record))


@pytest.fixture
def named(index: LocalIndex) -> Callable[[Any], str]:
    """The version that an entry of a sample type names."""

    def of(sample_type: Any) -> str:
        ref = index.add_entry(Dataset[sample_type]("a.tar"), name="cells").schema_ref
        assert ref.startswith(CLASS)
        return ref.removeprefix(CLASS)

    return of


def test_without_any_schema_it_is_the_first_version_which_may_follow(
    index: LocalIndex, named: Callable[[Any], str]
):
    assert named(Old) == "1.0.0"
    index.publish_schema(Old)
    assert named(Old) == "1.0.0"


@pytest.mark.parametrize(
    ("old", "new", "of_new"),
    [
        (["1.0.0"], ["1.1.0"], "1.1.0"),
        (["1.1.0"], ["1.0.0"], "1.0.0"),
        ([], ["1.1.0"], "1.1.0"),
        (["3.0.0"], ["1.9.0", "1.10.0", "1.2.0"], "1.10.0"),
        ([], ["2.0.0-rc.1", "1.0.0"], "2.0.0-rc.1"),
        ([], ["2.0.0-rc.1", "2.0.0-rc.11", "2.0.0-rc.2"], "2.0.0-rc.11"),
        ([], ["2.0.0-rc.1", "2.0.0", "2.0.0-alpha"], "2.0.0"),
    ],
)
def test_the_newest_version_with_the_fields_of_the_type_is_named(
    index: LocalIndex, named: Callable[[Any], str], old: list[str], new: list[str], of_new: str
):
    for version in old:
        index.publish_schema(Old, version=version)
    for version in new:
        index.publish_schema(New, version=version)
    assert named(New) == of_new
    if old:
        assert named(Old) == old[-1]


def test_the_order_and_the_words_of_fields_do_not_count(index: LocalIndex, named: Callable[[Any], str]):
    index.publish_schema(cell(area=float, label=int), version="1.4.0", description="Cells")
    assert named(New) == "1.4.0"


@pytest.mark.parametrize(
    ("changed", "fields", "free"),
    [
        (cell(label=int, area=float), "area", "2.0.0"),
        (cell(label=int, area=float | None), "area", "1.2.0"),
        (cell(label=str), "label", "2.0.0"),
        (cell(count=int), "count, label", "2.0.0"),
        (cell(label=int | None), "label", "1.2.0"),
    ],
)
def test_where_no_version_has_the_fields_it_is_refused_with_the_call_that_publishes_them(
    index: LocalIndex, named: Callable[[Any], str], changed: Any, fields: str, free: str
):
    index.publish_schema(cell(other=int))
    index.publish_schema(Old, version="1.1.0")
    with pytest.raises(SchemaConflictError) as refusal:
        named(changed)
    said = str(refusal.value)
    assert "lab.vision.Cell with other fields only, in version 1.0.0, 1.1.0: " in said
    assert f": {fields} differ from 1.1.0" in said
    assert f'index.publish_schema(Cell, version="{free}")' in said
    assert (refusal.value.versions, refusal.value.fields) == (["1.0.0", "1.1.0"], fields.split(", "))
    assert list(index.names()) == []
    index.publish_schema(changed, version=free)
    assert named(changed) == free
    assert index.add_entry(Dataset[changed]("a.tar"), name="cells", schema_ref=f"{CLASS}1.1.0").schema_ref == (
        f"{CLASS}1.1.0"
    )


def test_a_class_of_another_module_does_not_count(index: LocalIndex, named: Callable[[Any], str]):
    index.publish_schema(cell("lab.sound", label=int), version="1.5.0")
    index.publish_schema(cell("lab.sound", pitch=float))
    assert named(Old) == "1.0.0"


def test_what_other_programs_published_counts_where_its_fields_fit(
    index: LocalIndex, client: Any, named: Callable[[Any], str]
):
    publish_as_upstream(client, Old, "1.0.0")
    publish_as_upstream(client, New, "1.1.0")
    assert (named(Old), named(New)) == ("1.0.0", "1.1.0")
    # Within the ten seconds in which all was looked at.
    publish_as_upstream(client, cell(count=int), "1.2.0")
    assert named(cell(count=int)) == "1.2.0"
    with pytest.raises(SchemaConflictError, match=r'version="2\.0\.0"'):
        named(cell(nothing=int))


def test_schemas_of_an_index_that_nobody_noted_versions_in_are_found(
    index: LocalIndex, client: Any, named: Callable[[Any], str]
):
    index.publish_schema(Old)
    index.publish_schema(New, version="1.1.0")
    client.delete(*client.keys("atdata:schemas*"))
    assert named(New) == "1.1.0"
    assert named(Old) == "1.0.0"


def test_a_schema_that_was_deleted_or_is_damaged_does_not_count(
    index: LocalIndex, client: Any, named: Callable[[Any], str]
):
    index.publish_schema(Old)
    index.publish_schema(Old, version="1.1.0")
    index.publish_schema(Old, version="1.2.0")
    client.delete(*client.keys("LocalSchema:*@1.2.0"))
    for key in client.keys("LocalSchema:*@1.1.0"):
        client.set(key, "{")
    with pytest.warns(UserWarning, match="left out"):
        assert named(Old) == "1.0.0"


@pytest.fixture
def repo(client: Any, s3: dict[str, str], bucket: str) -> Repo:
    return Repo(s3_credentials=s3, hive_path=f"{bucket}/lab", redis=client)


@pytest.mark.parametrize("way", ["Repo.insert", "insert_dataset"])
def test_nothing_is_stored_where_the_schema_is_refused(
    repo: Repo, client: Any, make_dataset: Callable[..., Dataset[Any]], sample_type: Any, way: str
):
    index = LocalIndex(client, data_store=repo.data_store)
    made: Any = packable(
        type("Measured", (), {"__annotations__": {"other": int}, "__module__": sample_type.__module__})
    )
    made.__module__ = sample_type.__module__
    index.publish_schema(made)
    insert = repo.insert if way == "Repo.insert" else index.insert_dataset
    with pytest.raises(SchemaConflictError, match=r'publish_schema\(Measured, version="2\.0\.0"\)'):
        insert(make_dataset(), name="cells")
    store = repo.data_store
    assert "Contents" not in store.endpoint.client.list_objects_v2(Bucket=store.bucket)
    assert list(index.names()) == []
    index.publish_schema(sample_type, version="2.0.0")
    insert(make_dataset(), name="cells")
    assert index.get_entry_by_name("cells").schema_ref.endswith(".Measured@2.0.0")


def test_an_insert_looks_at_no_other_keys_where_the_version_is_known(
    crowd: Callable[[int], Any], round_trips: RoundTrips
):
    client = crowd(2_000)
    index = LocalIndex(client)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        index.publish_schema(Old, version=version)
    assert round_trips.of(lambda: index.schema_ref_for(Old)) == 2
    client.delete("atdata:schemas-scanned")
    unknown = cell("lab.nothing", label=int)
    assert round_trips.of(lambda: index.schema_ref_for(unknown)) > 5
    assert round_trips.of(lambda: index.schema_ref_for(unknown)) == 2


@packable
class Sized:
    """A vector of which the dtype is said."""

    features: NDArray[np.float32]


def test_the_dtype_of_an_array_is_one_of_the_fields(index: LocalIndex, tmp_path: Path):
    index.publish_schema(Sized)
    index.publish_schema(Sized, version="1.3.0")
    path = tmp_path / "a.tar"
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        sample: Any = Sized(features=np.zeros(3, np.float32))
        writer.write({**sample.as_wds, "__key__": "0"})
    assert index.insert_dataset(Dataset[Sized](str(path)), name="n").schema_ref.endswith("Sized@1.3.0")
    other: Any = packable(
        type("Sized", (), {"__annotations__": {"features": NDArray[np.float64]}, "__module__": Sized.__module__})
    )
    other.__module__ = Sized.__module__
    with pytest.raises(SchemaConflictError, match="features differ from"):
        index.add_entry(Dataset[other]("a.tar"), name="n")
