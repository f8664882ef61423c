from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core import PackableSample, packable
from atdata_core.errors import SchemaConflictError, SchemaError, SchemaNotFoundError
from atdata_core.local import LocalIndex
from atdata_core.samples.schema import schema_of, schema_ref


@packable
class Picture:
    """A picture and what is on it."""

    note: str | None
    pixels: NDArray[np.uint8]
    tags: list[str]


def variant(module: str = "lab.vision", **annotations: Any) -> type:
    """Another class called Picture."""
    made = packable(type("Picture", (), {"__annotations__": annotations or {"label": int}, "__module__": module}))
    made.__module__ = module
    return made


def test_a_published_schema_is_read_by_every_form_of_its_reference(index: LocalIndex):
    ref = index.publish_schema(Picture, version="1.2.0")

    assert (
        ref
        == schema_ref(schema_of(Picture, version="1.2.0"))
        == f"local://schemas/{Picture.__module__}.Picture@1.2.0"
    )
    schema = index.get_schema(ref)
    assert schema["description"] == "A picture and what is on it."
    assert schema["module"] == Picture.__module__
    assert [field["name"] for field in schema["fields"]] == ["note", "pixels", "tags"]
    assert index.get_schema("atdata://local/schema/Picture@1.2.0") == schema
    assert index.get_schema("atdata://local/sampleSchema/Picture@1.2.0") == schema
    assert index.list_schemas() == [schema]
    assert schema["$ref"] == ref


def test_an_array_without_a_stated_dtype_has_that_of_other_programs_for_who_looks_it_up(index: LocalIndex):
    @packable
    class Arrays:
        anything: NDArray
        wide: NDArray[np.float64]

    schema = index.get_schema(index.publish_schema(Arrays))
    anything, wide = (field["fieldType"] for field in schema["fields"])
    assert (anything["dtype"], wide["dtype"]) == ("float32", "float64")
    # It is not said, and so not published.
    assert "dtype" not in anything
    with pytest.raises(KeyError, match="shape"):
        anything["shape"]


def test_publishing_again_changes_nothing_but_a_description_that_is_given(index: LocalIndex):
    ref = index.publish_schema(Picture)
    first = index.get_schema(ref)

    assert index.publish_schema(Picture) == ref
    assert index.get_schema(ref) == first
    index.publish_schema(Picture, description="Ours")
    index.publish_schema(Picture)
    assert index.get_schema(ref) == {**first, "description": "Ours"}
    assert index.get_schema("atdata://local/schema/Picture@1.0.0")["description"] == "Ours"


def test_other_fields_under_the_same_version_are_refused_before_anything_is_written(index: LocalIndex, client: Any):
    index.publish_schema(variant(label=int, size=float, same=str))
    before = {key: client.get(key) for key in client.keys("*")}

    with pytest.raises(SchemaConflictError, match=r"size, label differ.*new version") as refusal:
        index.publish_schema(variant(label=str, same=str))
    assert refusal.value.fields == ["size", "label"]
    assert refusal.value.version == "1.0.0"
    assert isinstance(refusal.value, ValueError)
    assert {key: client.get(key) for key in client.keys("*")} == before
    assert index.publish_schema(variant(label=str, same=str), version="1.1.0").endswith("@1.1.0")


def test_a_dtype_is_part_of_the_schema(index: LocalIndex):
    index.publish_schema(variant(pixels=NDArray[np.uint8]))
    with pytest.raises(SchemaConflictError, match="pixels"):
        index.publish_schema(variant(pixels=NDArray[np.float32]))


def test_two_modules_may_have_a_class_of_the_same_name(index: LocalIndex):
    first = index.publish_schema(variant("lab.vision", label=int))
    second = index.publish_schema(variant("lab.sound", pitch=float))

    assert [field["name"] for field in index.get_schema(first)["fields"]] == ["label"]
    assert [field["name"] for field in index.get_schema(second)["fields"]] == ["pitch"]
    assert index.get_schema("atdata://local/schema/Picture@1.0.0")["module"] == "lab.vision"
    assert len(index.list_schemas()) == 2
    index.publish_schema(variant("lab.vision", label=int), description="Seen")
    assert index.get_schema("atdata://local/schema/Picture@1.0.0")["description"] == "Seen"


def test_a_short_reference_never_gives_another_modules_class(index: LocalIndex):
    index.publish_schema(variant("lab.vision"))
    with pytest.raises(SchemaNotFoundError):
        index.get_schema("local://schemas/lab.sound.Picture@1.0.0")


def test_another_programs_schema_with_other_fields_is_a_conflict(index: LocalIndex, client: Any):
    record = schema_of(variant(other=str))
    del record["module"]
    client.set("LocalSchema:Picture@1.0.0", json.dumps(record))
    with pytest.raises(SchemaConflictError, match="other, label"):
        index.publish_schema(variant(label=int))
    assert client.keys("*") == [b"LocalSchema:Picture@1.0.0"]


def test_another_programs_schema_with_the_same_fields_serves_both(index: LocalIndex, client: Any):
    record = schema_of(variant("their.module", label=int))
    del record["module"]
    client.set("LocalSchema:Picture@1.0.0", json.dumps(record))

    ref = index.publish_schema(variant("lab.vision", label=int))

    assert index.get_schema(ref)["createdAt"] == record["createdAt"]
    assert index.get_schema("local://schemas/their.module.Picture@1.0.0")["fields"] == record["fields"]
    assert [schema["name"] for schema in index.list_schemas()] == ["Picture"]


def test_a_schema_under_an_older_key_is_read(index: LocalIndex, client: Any):
    record = schema_of(variant("lab.vision", label=int))
    del record["module"]
    client.set("LocalSchema:lab.vision.Picture@1.0.0", json.dumps(record))

    assert index.get_schema("local://schemas/lab.vision.Picture@1.0.0")["module"] == "lab.vision"
    assert len(index.list_schemas()) == 1


def test_two_that_publish_at_once_cannot_both_win(index: LocalIndex, client: Any, redis_url: str):
    rival = LocalIndex(client)
    plain, met = client.transaction, []

    class Late:
        """A rival publishes between this one's look and its write."""

        def transaction(self, write: Any, *keys: str) -> Any:
            def interrupted(pipe: Any) -> None:
                write(pipe)
                if not met:
                    met.append(rival.publish_schema(variant(label=str)))

            return plain(interrupted, *keys)

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    index.redis = Late()
    with pytest.raises(SchemaConflictError, match="label"):
        index.publish_schema(variant(label=int))
    assert index.get_schema(met[0])["fields"][0]["fieldType"]["primitive"] == "str"


def test_the_warning_about_main_points_at_the_line_that_publishes(index: LocalIndex):
    with pytest.warns(UserWarning, match=r"__main__\.Picture") as warned:
        index.publish_schema(variant("__main__"))
    assert warned[0].filename == __file__


def test_a_rebuilt_type_reads_what_the_class_wrote(index: LocalIndex):
    rebuilt = index.decode_schema(index.publish_schema(Picture))
    sample: Any = Picture(note=None, pixels=np.eye(2, dtype=np.uint8), tags=["a"])

    assert issubclass(rebuilt, PackableSample)
    assert rebuilt.__name__ == "Picture"
    read: Any = rebuilt.from_bytes(sample.packed)
    assert (read.note, read.tags, read.pixels.tolist()) == (None, ["a"], [[1, 0], [0, 1]])
    assert read.packed == sample.packed
    assert schema_of(rebuilt)["fields"] == schema_of(Picture)["fields"]


def test_a_loaded_type_is_there_by_its_name(index: LocalIndex):
    assert (len(index.types), repr(index.types)) == (0, "LoadedTypes(empty)")
    with pytest.raises(AttributeError, match=r"'Picture' is not loaded\. Call index\.load_schema"):
        _ = index.types.Picture
    ref = index.publish_schema(Picture)
    loaded = index.load_schema(ref)
    assert index.types.Picture is index.types["Picture"] is loaded
    assert index.decode_schema_as(ref, Picture) is loaded
    assert (list(index.types), "Picture" in index.types) == (["Picture"], True)
    assert repr(index.types) == "LoadedTypes(Picture)"


def test_a_schema_that_is_not_there_says_how_to_publish_it(index: LocalIndex):
    with pytest.raises(KeyError, match=r"index\.publish_schema\(Picture, version='2\.0\.0'\)") as missing:
        index.get_schema("local://schemas/lab.vision.Picture@2.0.0")
    assert isinstance(missing.value, SchemaNotFoundError)
    assert missing.value.ref == "local://schemas/lab.vision.Picture@2.0.0"


@pytest.mark.parametrize(
    "ref", ["Picture", "local://schemas/Picture", "at://did:plc:x/y/z", "", "local://schemas/@1"]
)
def test_what_is_no_reference_is_refused(index: LocalIndex, ref: str):
    with pytest.raises(SchemaError, match="no reference to a local schema"):
        index.get_schema(ref)


def test_a_damaged_schema_hides_no_other(index: LocalIndex, client: Any):
    index.publish_schema(Picture)
    client.set("LocalSchema:Broken@1.0.0", "{")
    client.set("LocalSchema:Odd@1.0.0", json.dumps({"fields": [{"name": "x", "fieldType": None}]}))

    with pytest.warns(UserWarning, match="Broken|Odd"):
        assert [schema["name"] for schema in index.list_schemas()] == ["Picture"]
    with pytest.raises(SchemaError, match="LocalSchema:Broken@1"):
        index.get_schema("atdata://local/schema/Broken@1.0.0")
