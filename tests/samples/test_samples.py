"""Sample types: what @packable makes of a class, and samples as msgpack."""

import copy
import dataclasses
import multiprocessing
import pickle
import threading
from itertools import chain
from typing import Annotated, ClassVar, Dict, List, Optional  # noqa: UP035

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import SampleError, SchemaError
from atdata_core.samples.sample_types import SampleField, sample_fields


@atdata.packable
class Everything:
    """All kinds of field."""

    s: str
    i: int
    f: float
    b: bool
    raw: bytes
    names: list[str]
    nested: List[list[int]]  # noqa: UP006
    meta: dict
    typed_meta: Dict[str, int]  # noqa: UP006
    array: NDArray
    typed: NDArray[np.float32]
    plain: np.ndarray
    arrays: list[NDArray]
    maybe: str | None
    maybe_old: Optional[int]  # noqa: UP045
    maybe_array: NDArray | None = None
    shared: ClassVar[int] = 5


@dataclasses.dataclass
class ByInheritance(atdata.PackableSample):
    note: str | None = None
    image: NDArray[np.uint8]
    label: int


@atdata.packable
class Extended(ByInheritance):
    weight: float = 1.0


class Counter:
    def __init_subclass__(cls):
        super().__init_subclass__()

    def twice(self):
        return self.n * 2


@atdata.packable
class WithMethods(Counter):
    n: int
    tags: list[str] = dataclasses.field(default_factory=list)
    cached: int = dataclasses.field(default=0, init=False)
    ignored: int = dataclasses.field(default=0, compare=False)

    def twice(self):
        return super().twice() + 1


def everything(**changes) -> Everything:
    values = {
        "s": "naïve \0 日本",
        "i": 2**64 - 1,
        "f": 0.5,
        "b": True,
        "raw": b"\0\xff",
        "names": ["a", ""],
        "nested": [[1], []],
        "meta": {"x": 1.5, 2: [b"y", None]},
        "typed_meta": {"n": 1},
        "array": np.arange(6, dtype=">i4").reshape(2, 3),
        "typed": np.array([1, np.nan], dtype=np.float32),
        "plain": np.array(3.0),
        "arrays": [np.zeros(2), np.zeros((0, 3))],
        "maybe": None,
        "maybe_old": None,
    }
    return Everything(**(values | changes))


def test_a_sample_of_every_kind_comes_back_equal_from_its_bytes():
    sample = everything()
    back = Everything.from_bytes(sample.packed)
    assert back == sample
    assert back.array.dtype == np.dtype(">i4")
    assert back.maybe_array is None


def test_the_payload_is_one_map_in_field_order():
    payload = msgpack.unpackb(everything().packed, strict_map_key=False)
    assert list(payload) == [field.name for field in dataclasses.fields(Everything)]
    assert payload["array"].startswith(b"\x93NUMPY\x01\x00")
    assert payload["maybe"] is None


def test_webdataset_gets_a_key_and_the_packed_sample():
    sample = everything()
    written = sample.as_wds
    assert set(written) == {"__key__", "msgpack"}
    assert Everything.from_bytes(written["msgpack"]) == sample
    assert "." not in written["__key__"]


def keys(count: int) -> list[str]:
    sample = WithMethods(n=1)
    return [sample.as_wds["__key__"] for _ in range(count)]


def test_keys_of_processes_forks_and_threads_never_collide():
    with multiprocessing.get_context("fork").Pool(3) as pool:
        seen = list(chain.from_iterable(pool.map(keys, [2000] * 6)))
        # Ended by word, not by SIGTERM: forked from a process that catches it, a worker may not end by it.
        pool.close()
        pool.join()
    threads = [threading.Thread(target=lambda: seen.extend(keys(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) == 20_000


def test_packable_keeps_module_names_and_documentation():
    assert Everything.__module__ == __name__
    assert Everything.__name__ == Everything.__qualname__ == "Everything"
    assert Everything.__doc__ == "All kinds of field."
    assert issubclass(Everything, atdata.PackableSample)
    assert dataclasses.is_dataclass(Everything)
    assert list(Everything.__annotations__)[:2] == ["s", "i"]


def test_samples_survive_pickling_and_copying():
    sample = everything()
    assert pickle.loads(pickle.dumps(sample)) == sample
    assert copy.deepcopy(sample) == sample
    assert dataclasses.replace(sample, s="other") != sample


def test_methods_inheritance_and_default_factories_work_as_in_a_plain_dataclass():
    sample = WithMethods(n=4)
    assert sample.twice() == 9
    assert sample.tags is not WithMethods(n=4).tags
    assert repr(sample) == "WithMethods(n=4, tags=[], cached=0, ignored=0)"
    sample.cached = 7
    assert WithMethods.from_bytes(sample.packed).cached == 7


def test_fields_that_take_no_part_in_comparison_take_none():
    assert WithMethods(n=1, ignored=1) == WithMethods(n=1, ignored=2)
    assert WithMethods(n=1) != WithMethods(n=2)
    assert WithMethods(n=1) != "something else"


def test_an_optional_field_may_stand_before_a_required_one():
    sample = ByInheritance(image=np.zeros(2, np.uint8), label=3)
    assert ByInheritance.from_bytes(sample.packed) == sample
    assert [field.name for field in dataclasses.fields(ByInheritance)] == ["note", "image", "label"]
    extended = Extended(image=np.zeros(2, np.uint8), label=3)
    assert Extended.from_bytes(extended.packed) == extended
    assert extended.weight == 1.0


def test_arrays_are_compared_by_shape_and_elements():
    one = everything()
    assert one == everything()
    assert one != everything(array=np.zeros((2, 3)))
    assert one != everything(array=np.zeros((3, 2)))
    assert one != everything(array=np.arange(6).reshape(2, 3).astype(str))
    assert one != everything(arrays=[np.zeros(2)])
    assert one == everything(array=np.arange(6, dtype="<i8").reshape(2, 3))


def test_structured_arrays_are_compared_field_by_field():
    kind = [("x", "f4"), ("n", "i4")]
    one = np.array([(np.nan, 1)], dtype=kind)
    assert everything(array=one) == everything(array=one.copy())
    assert everything(array=one) != everything(array=np.array([(np.nan, 2)], dtype=kind))


def test_numpy_scalars_are_taken_for_plain_values():
    sample = everything(i=np.int64(3), f=np.float32(0.5), b=np.True_, meta={"n": np.int8(2)}, raw=bytearray(b"x"))
    back = Everything.from_bytes(sample.packed)
    assert (type(back.i), type(back.f), type(back.b)) == (int, float, bool)
    assert back.meta == {"n": 2}
    assert back.raw == b"x"


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63 - 1, np.int64(2**62 + 3), 10**300])
def test_an_integer_that_no_float_can_hold_is_refused_in_a_float_field(number):
    with pytest.raises(SampleError, match=r"Everything\.f is -?\d.* which no float can hold: it would be .*int"):
        _ = everything(f=number).packed


@pytest.mark.parametrize("number", [0, -(2**53), 2**53, 2**60, np.int64(2**62), np.uint8(3)])
def test_an_integer_that_a_float_can_hold_is_written_as_it_is(number):
    assert Everything.from_bytes(everything(f=number).packed).f == number


SCALARS = {
    "the same": (np.void((1,), [("x", "i4")]), np.void((1,), [("x", "i4")]), True),
    "another value": (np.void((1,), [("x", "i4")]), np.void((2,), [("x", "i4")]), False),
    "other fields": (np.void((1,), [("x", "i4")]), np.void((1,), [("y", "i4")]), False),
    "a number": (np.void((1,), [("x", "i4")]), 1, False),
    "NaN": (np.void((np.nan,), [("x", "f4")]), np.void((np.nan,), [("x", "f4")]), True),
    "raw bytes": (np.void(b"ab"), np.void(b"ab"), True),
    "other raw bytes": (np.void(b"ab"), np.void(b"ac"), False),
    "more raw bytes": (np.void(b"ab"), np.void(b"abc"), False),
    "raw bytes and a number": (np.array([b"ab"], "V2"), np.array([1]), False),
}


@pytest.mark.parametrize(("one", "other", "same"), SCALARS.values(), ids=SCALARS)
def test_scalars_of_several_fields_and_raw_bytes_are_equal_or_not_and_raise_nothing(one, other, same):
    for field in ("array", "meta"):
        left, right = ({field: each if field == "array" else {"a": each}} for each in (one, other))
        assert (everything(**left) == everything(**right)) is same
        assert (everything(**right) == everything(**left)) is same


def test_an_integer_in_a_float_field_becomes_a_float():
    back = Everything.from_bytes(everything(f=3).packed)
    assert type(back.f) is float


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("s", b"bytes"),
        ("s", None),
        ("i", 1.5),
        ("i", True),
        ("i", 2**64),
        ("f", "1.0"),
        ("f", True),
        pytest.param("f", 10**400, id="f-huge"),
        ("b", 1),
        ("raw", "text"),
        ("names", ["a", 1]),
        ("names", "ab"),
        ("nested", [["x"]]),
        ("meta", [1]),
        ("meta", {"x": np.zeros(2)}),
        ("meta", {"x": object()}),
        ("array", [1, 2]),
        ("array", None),
        ("array", np.array([{}], dtype=object)),
        ("s", "\ud800"),
    ],
)
def test_a_value_of_another_kind_is_not_written(field, value):
    with pytest.raises(SampleError) as caught:
        everything(**{field: value}).packed  # noqa: B018
    assert caught.value.type_name == "Everything"
    assert caught.value.transient is False


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("s", None),
        ("i", "1"),
        ("f", None),
        ("b", 0),
        ("raw", "x"),
        ("names", [None]),
        ("meta", []),
        ("array", b"x"),
    ],
)
def test_a_value_of_another_kind_is_refused_on_reading(field, value):
    payload = msgpack.unpackb(everything().packed, strict_map_key=False) | {field: value}
    with pytest.raises(SampleError, match=rf"Everything\.{field}") as caught:
        Everything.from_bytes(msgpack.packb(payload))
    assert field in caught.value.field


def test_a_missing_required_field_is_named():
    with pytest.raises(SampleError, match="no field 'n'"):
        WithMethods.from_data({})


def test_an_absent_optional_field_is_none():
    payload = msgpack.unpackb(everything().packed, strict_map_key=False)
    del payload["maybe"], payload["maybe_array"]
    assert Everything.from_data(payload).maybe is None


def test_a_field_that_the_type_does_not_have_is_named():
    with pytest.raises(SampleError, match="field 'more'"):
        WithMethods.from_data({"n": 1, "more": 2})


@given(st.binary(max_size=100))
def test_any_bytes_are_a_sample_or_refused(data):
    try:
        assert isinstance(WithMethods.from_bytes(data), WithMethods)
    except SampleError as refusal:
        assert "WithMethods" in str(refusal)  # noqa: PT017


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\x00\x0f\x00\x00" * 500 + bytes(1_000_000),
        b"\x91" * 100_000,
        b"\x81\xc1",
        b"\x81\x90\x00",
    ],
)
def test_claimed_sizes_and_deep_nesting_are_refused(bomb):
    with pytest.raises(SampleError, match=r"no msgpack|is a map"):
        WithMethods.from_bytes(bomb)


def test_fields_are_described_for_packing_and_for_schemas():
    described = {field.name: field for field in sample_fields(Everything)}
    kinds = " ".join(field.kind for field in described.values())
    assert kinds == ("str int float bool bytes list list dict dict ndarray ndarray ndarray list str int ndarray")
    assert described["typed"].dtype == "float32"
    assert described["array"].dtype is None
    assert described["names"].items == SampleField("names[]", "str", False, str)
    assert described["nested"].items.items.kind == "int"
    assert {name for name, field in described.items() if field.optional} == {"maybe", "maybe_old", "maybe_array"}
    assert "shared" not in described


def test_abstract_array_types_have_no_dtype():
    @atdata.packable
    class Loose:
        a: NDArray[np.floating]
        b: Annotated[NDArray[np.int8], "note"]

    assert [field.dtype for field in sample_fields(Loose)] == [None, "int8"]


def test_an_annotation_that_names_nothing_is_refused():
    made = atdata.packable(type("Odd", (), {"__annotations__": {"x": "Unheard"}}))
    with pytest.raises(SchemaError, match="Odd") as caught:
        sample_fields(made)
    assert caught.value.type_name == "Odd"


def test_a_class_that_is_no_sample_type_is_refused():
    with pytest.raises(SchemaError, match="@packable"):
        sample_fields(int)


def test_a_batch_stacks_arrays_and_lists_the_rest():
    samples = [ByInheritance(image=np.full((2, 2), n, np.uint8), label=n) for n in range(3)]
    batch = atdata.SampleBatch[ByInheritance](samples)
    assert batch.samples == samples
    assert batch.image.shape == (3, 2, 2)
    assert batch.image is batch.image
    assert batch.label == [0, 1, 2]
    assert batch.note == [None, None, None]
    with pytest.raises(AttributeError, match="nothing"):
        batch.nothing  # noqa: B018


def test_a_batch_lists_arrays_of_which_some_are_none():
    batch = atdata.SampleBatch([everything(), everything(maybe_array=np.zeros(2))])
    assert isinstance(batch.maybe_array, list)


def test_arrays_of_unequal_shapes_cannot_be_stacked_and_the_field_is_named():
    batch = atdata.SampleBatch([everything(), everything(array=np.zeros(1))])
    with pytest.raises(SampleError, match=r"'array'.*\(1,\), \(2, 3\)"):
        batch.array  # noqa: B018


def test_a_batch_survives_pickling_and_copying():
    batch = atdata.SampleBatch([WithMethods(n=1), WithMethods(n=2)])
    assert pickle.loads(pickle.dumps(batch)).n == [1, 2]
    assert copy.deepcopy(batch).n == [1, 2]
