"""Annotations beyond the plain ones: choices, names for types, and what only msgpack knows."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NewType, Optional, Union

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import SampleError, SchemaError
from atdata_core.samples.compatibility import breaking_changes, compare
from atdata_core.samples.json_schema import from_json_schema, to_json_schema
from atdata_core.samples.schema import decode, schema_of

AnimalId = NewType("AnimalId", int)
Tag = NewType("Tag", str)
Key = AnimalId | Tag


@atdata.packable
class Recording:
    drug: Literal["saline", "ketamine"]
    gain: Literal[1, 2, "auto", True]
    animal: AnimalId
    key: Key
    share: Union[float, bool]  # noqa: UP007
    raw: bytes | str
    states: list[Literal["up", "down"]]
    numbers: list[int | str]
    note: Annotated[Tag | None, "free text"] = None
    stage: Optional[Literal["a", "b"]] = None  # noqa: UP045
    again: Literal["x", None] = None


@dataclass
class Loose(atdata.PackableSample):
    anything: Any
    pair: tuple[int, str]
    where: tuple[float, ...] | None = None
    mixed: list[int] | str = ""
    unnamed: object = None
    listed: list[tuple[int, int]] | None = None


def recording(**changes: Any) -> Recording:
    values = {
        "drug": "ketamine",
        "gain": "auto",
        "animal": AnimalId(7),
        "key": Tag("m7"),
        "share": 0.5,
        "raw": b"\0",
        "states": ["up", "down"],
        "numbers": [1, "b"],
    }
    return Recording(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gain": True, "key": 5, "share": True, "raw": "text", "note": "n", "stage": "b", "again": "x"},
        {"gain": 1, "drug": np.str_("saline"), "share": np.float32(0.5), "animal": np.int64(3)},
    ],
)
def test_choices_and_names_for_types_come_back_with_their_types(changes: dict[str, Any]):
    sample = recording(**changes)
    back = Recording.from_bytes(sample.packed)
    assert back == sample
    assert type(back.gain) is type(sample.gain)
    assert decode(schema_of(Recording)).from_bytes(sample.packed).packed == sample.packed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drug": "water"}, "'water', but it should be one of 'saline', 'ketamine'"),
        ({"gain": 3}, "one of 1, 2, 'auto', True"),
        ({"key": 1.5}, r"int, but a float is there|str \| int, but a float"),
        ({"key": None}, "None"),
        ({"states": ["up", "left"]}, "'left'"),
        ({"numbers": [b"x"]}, r"numbers\[\]"),
    ],
)
def test_a_value_that_is_no_choice_is_refused_on_both_ways(changes: dict[str, Any], said: str):
    import msgpack

    with pytest.raises(SampleError, match=said):
        _ = recording(**changes).packed
    packed = msgpack.packb({**msgpack.unpackb(recording().packed), **changes})
    with pytest.raises(SampleError, match=said):
        Recording.from_bytes(packed)


def test_choices_are_published_and_rebuilt_from_the_local_schema_and_from_json_schema():
    record = json.loads(json.dumps(schema_of(Recording)))
    content = to_json_schema(record)
    assert content["properties"]["drug"] == {"type": "string", "enum": ["saline", "ketamine"]}
    assert content["properties"]["animal"] == {"type": "integer"}
    assert content["properties"]["key"] == {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    assert content["properties"]["gain"] == {"enum": [1, 2, "auto", True]}
    assert not {"note", "stage", "again"} & set(content["required"])
    back = from_json_schema(content, name="Recording", version="1.0.0")
    assert compare(record, back) == []
    for rebuilt in (decode(record), decode(back)):
        assert rebuilt.__annotations__["drug"] == Literal["saline", "ketamine"]
        assert rebuilt.__annotations__["key"] == (str | int)
        assert rebuilt.__annotations__["states"] == list[Literal["up", "down"]]
        assert rebuilt.from_bytes(recording().packed).numbers == [1, "b"]


def test_older_readers_find_a_primitive_that_they_know():
    for field in schema_of(Recording)["fields"]:
        kind = field["fieldType"].get("items") or field["fieldType"]
        assert kind["primitive"] in ("str", "int", "float", "bool", "bytes")


@pytest.mark.parametrize(("name", "field"), [("anything", "anything"), ("pair", "pair"), ("listed", "listed[]")])
def test_other_annotations_are_packed_and_read_and_refused_when_the_schema_is_published(name: str, field: str):
    sample = Loose(anything={"a": [1, None]}, pair=(1, "x"), where=(0.5,), mixed=[1], listed=[(1, 2)])
    back = Loose.from_bytes(sample.packed)
    assert back == sample
    assert back.pair == (1, "x")
    annotation = Loose.__annotations__[name]
    made = atdata.packable(type("Odd", (), {"__annotations__": {name: annotation}}))
    with pytest.raises(SchemaError, match=r"can be packed and read, but not published") as caught:
        schema_of(made)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (Literal["a", "b"], Literal["b", "a"], []),
        (Literal["a"], Literal["a", "b"], []),
        (Literal["a"], str, []),
        (int, int | str, []),
        (int | str, int, ["x was str | int and is int"]),
        (str, Literal["a"], ["x could have any value and is bound"]),
        (Literal["a", "b"], Literal["a"], ["x could be 'b' and cannot any more"]),
        (list[Literal["a", "b"]], list[Literal["b", "a"]], []),
    ],
)
def test_a_wider_choice_is_compatible_and_a_narrower_one_is_not(old: Any, new: Any, said: list[str]):
    before, after = (
        schema_of(atdata.packable(type("Sample", (), {"__annotations__": {"x": each}}))) for each in (old, new)
    )
    assert breaking_changes(before, after) == said
    assert bool(compare(before, after)) == (set(map(str, _arguments(old))) != set(map(str, _arguments(new))))


def _arguments(annotation: Any) -> list[Any]:
    inner = getattr(annotation, "__args__", (annotation,))
    return [each for one in inner for each in getattr(one, "__args__", (one,))]


@pytest.mark.parametrize("enum", [[], [{"a": 1}], [1.5], "text", [None], [["x"]]])
def test_a_strangers_list_of_values_that_is_none_makes_no_type_of_its_own(enum: Any):
    record = schema_of(Recording)
    fields = [{"name": "x", "fieldType": {"$type": "local#primitive", "primitive": "str", "enum": enum}}]
    try:
        rebuilt = decode({**record, "fields": fields})
    except SchemaError:
        return
    assert rebuilt.__annotations__["x"] is str


keys = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.binary()
values = st.recursive(
    keys | st.builds(np.float32, st.floats(width=32)) | st.builds(bytearray, st.binary()) | st.just(object()),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(keys | st.tuples(keys) | st.frozensets(keys), inner)
        | st.sets(keys, max_size=2)
    ),
    max_leaves=12,
)


@atdata.packable
class Anything:
    facts: dict
    rows: list
    free: Any


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(keys | st.tuples(keys), values), st.lists(values), values)
def test_what_is_packed_can_be_read_again_equal_else_it_is_refused_when_it_is_written(
    facts: dict[Any, Any], rows: list[Any], free: Any
):
    sample = Anything(facts=facts, rows=rows, free=free)
    try:
        packed = sample.packed
    except SampleError:
        return
    assert Anything.from_bytes(packed) == sample


@pytest.mark.parametrize("key", [(3, 4), ("a",), frozenset((1,)), float("nan"), 2**64, "\ud800", object()])
@pytest.mark.parametrize("around", [lambda each: each, lambda each: {"in": [each]}])
def test_a_key_that_msgpack_cannot_bring_back_is_refused_and_the_field_is_named(key: Any, around: Any):
    with pytest.raises(SampleError, match=r"Anything\.facts holds something that msgpack cannot keep") as caught:
        _ = Anything(facts=around({key: 1}), rows=[], free=None).packed
    assert caught.value.field == "facts"


@pytest.mark.parametrize("key", [1.5, None, b"a", True, -1, 2**64 - 1, "", np.int8(4)])
def test_a_key_that_msgpack_brings_back_is_kept(key: Any):
    sample = Anything(facts={key: 1}, rows=[{key: 2}], free={key: 3})
    assert Anything.from_bytes(sample.packed) == sample


def test_an_array_in_a_field_of_any_type_is_refused_with_the_way_out():
    with pytest.raises(SampleError, match="NDArray field"):
        _ = Anything(facts={}, rows=[], free=np.zeros(3)).packed


@atdata.packable
class Frame:
    image: NDArray
    metadata: dict[str, Any] | None = None
    per_frame: list[dict[str, Any]] | None = None
    unit: int | str | None = None


def test_sample_types_as_public_projects_write_them_are_packed_published_and_rebuilt():
    sample = Frame(np.zeros((2, 3)), {"t": 1.5, "n": [1, {"a": b"x"}]}, [{"b": 2}], "cell-1")
    rebuilt = decode(schema_of(Frame))
    assert Frame.from_bytes(sample.packed) == sample
    assert rebuilt.from_bytes(sample.packed).per_frame == [{"b": 2}]


NO_WORD = {
    "bytes": (Literal[b"x", b"y"], b"x", b"z"),
    "bytes among text": (Literal["a", b"x"] | None, b"x", b"a"),
    "bytes in a list": (list[Literal[b"x"]], [b"x"], [b"y"]),
    "a value or a type": (Literal["auto"] | float, 0.5, None),
    "a float": (Literal[0.5], 0.5, 1.5),  # type: ignore[valid-type]
}


@pytest.mark.parametrize(("annotation", "right", "wrong"), NO_WORD.values(), ids=NO_WORD)
def test_a_literal_that_a_schema_has_no_word_for_is_packed_and_not_published(annotation, right, wrong):
    made = atdata.packable(type("Labelled", (), {"__annotations__": {"label": annotation}, "__module__": __name__}))
    assert made.from_bytes(made(label=right).packed).label == right
    if wrong is not None:
        with pytest.raises(SampleError):
            _ = made(label=wrong).packed
    with pytest.raises(SchemaError, match=r"Labelled\.label.* is annotated .*for which a schema has no word"):
        schema_of(made)
