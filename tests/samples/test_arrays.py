"""Arrays and the bytes they are kept as."""

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.lib.recfunctions import repack_fields

from atdata_core.errors import SampleError
from atdata_core.samples.arrays import _npy_header, decode_array, encode_array, stack_packed

KINDS = st.one_of(
    arrays_of.scalar_dtypes(),
    arrays_of.byte_string_dtypes(min_len=1),
    arrays_of.unicode_string_dtypes(min_len=1),
    arrays_of.array_dtypes(subtype_strategy=arrays_of.scalar_dtypes(), max_size=3, allow_subarrays=True),
)
ARRAYS = KINDS.filter(lambda dtype: str(dtype).isascii()).flatmap(
    lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4))
)


def saved(array: np.ndarray, **kwargs: bool) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **kwargs)
    return stream.getvalue()


def compact(array: np.ndarray) -> bytes:
    name = array.dtype.str.encode()
    shape = struct.pack(f"<{array.ndim}q", *array.shape)
    return bytes([len(name)]) + name + bytes([array.ndim]) + shape + array.tobytes()


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(ARRAYS)
def test_an_array_is_written_as_numpy_writes_it_and_comes_back_exactly(array):
    data = encode_array(array)
    assert data == saved(array, allow_pickle=False)
    assert same(decode_array(data), array)
    assert same(decode_array(memoryview(data)), array)


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
@pytest.mark.parametrize(
    "dtype", [[("日", "<f4")], [(f"a_rather_long_field_name_{n}", "<f4") for n in range(2000)]]
)
def test_later_versions_of_npy_are_read_but_not_written(dtype):
    array = np.ones(2, dtype)
    assert same(decode_array(saved(array)), array)
    with pytest.raises(SampleError, match=r"\.npy 1\.0"):
        encode_array(array)


@given(ARRAYS.filter(lambda array: array.dtype.names is None and array.dtype.itemsize))
def test_the_compact_form_is_read(array):
    assert same(decode_array(compact(array)), array)


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.binary(max_size=200).map(lambda rest: b"\x93NUMPY\x01\0" + rest))
def test_any_bytes_are_an_array_or_refused(data):
    with contextlib.suppress(SampleError):
        assert isinstance(decode_array(data), np.ndarray)


@pytest.mark.parametrize("turned", [np.asfortranarray, lambda a: a[:, ::-1], lambda a: a[::2], lambda a: a.T])
def test_memory_order_and_strides_do_not_change_the_values(turned):
    array = turned(np.arange(12, dtype=">f4").reshape(3, 4))
    back = decode_array(encode_array(array))
    assert (back == array).all()
    assert back.dtype == array.dtype


def test_a_decoded_array_can_be_written_to_and_owns_its_memory():
    data = encode_array(np.zeros(3))
    back = decode_array(data)
    back[:] = 7
    assert decode_array(data).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, None], dtype=object),
        np.zeros(2, dtype=[("x", "f4"), ("o", object)]),
        np.zeros(2, dtype=[("inner", [("o", object, 2)])]),
        np.array(["variable", "width"], dtype=np.dtypes.StringDType()),
    ],
)
def test_objects_are_neither_written_nor_read(array):
    with pytest.raises(SampleError, match="pickle"):
        encode_array(array)
    if array.dtype.kind != "T":
        with pytest.raises(SampleError, match="pickle"):
            decode_array(saved(array, allow_pickle=True))


def test_pickled_objects_are_refused_without_unpickling():
    class Trap:
        opened = False

        def __reduce__(self):
            return (setattr, (Trap, "opened", True))

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with pytest.raises(SampleError):
        decode_array(header.getvalue() + b"c__main__\nTrap\n.")
    assert not Trap.opened


@pytest.mark.parametrize("dtype", ["|O", "|T16", "O8", "f4,O"])
def test_a_dtype_of_addresses_is_refused_in_the_compact_form(dtype):
    name = dtype.encode()
    with pytest.raises(SampleError):
        decode_array(bytes([len(name)]) + name + b"\x01" + struct.pack("<q", 1) + bytes(16))


def test_a_masked_array_is_refused_because_its_mask_would_be_lost():
    with pytest.raises(SampleError, match="mask"):
        encode_array(np.ma.masked_array([1, 2], mask=[True, False]))


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\0\xff\xff{",
        b"\x93NUMPY\x09\0\x00\x00",
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", bytes(4)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9223372036854775807)}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", bytes(3)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", bytes(5)),
        npy("{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,)}"),
        npy("{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}", bytes(4)),
        npy("{'descr': '<f4', 'shape': (1,)}", bytes(4)),
        npy("__import__('os')", bytes(4)),
        npy("(" * 5000),
        npy("-" * 60000),
        b"\x03<f4\x01" + struct.pack("<q", 1 << 60),
        b"\x03<f4\x01" + struct.pack("<q", -4),
        b"\x03<f4\xff",
    ],
)
def test_damaged_or_hostile_bytes_are_refused_and_nothing_is_allocated(data):
    with pytest.raises(SampleError):
        decode_array(data)


@pytest.mark.parametrize("descr", ["<f4", ("<f4", (3,))])
@pytest.mark.parametrize("shape", [(2,), (0,), (2, 3)])
def test_hostile_arrays_are_stacked_as_they_are_read(descr, shape):
    packed = [npy(descr, shape)] * 4
    np.testing.assert_array_equal(stack_packed(packed), np.stack([decode_array(each) for each in packed]))


def test_arrays_of_as_many_dimensions_as_there_can_be_cannot_be_stacked():
    packed = [npy("<f4", (1,) * 64)] * 4
    assert decode_array(packed[0]).ndim == 64
    with pytest.raises(SampleError, match="cannot be stacked"):
        stack_packed(packed)


def npy(descr, shape) -> bytes:
    """An array of zeros as anybody may write it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue() + bytes(int(np.prod(shape)) * np.lib.format.descr_to_dtype(descr).itemsize)


def test_a_dtype_whose_padding_would_be_published_is_refused():
    padded = np.zeros(2, np.dtype([("a", "u1"), ("b", "f8")], align=True))
    nested = np.zeros(2, np.dtype([("x", padded.dtype, (2,))]))
    behind = np.zeros(2, np.dtype({"names": ["a"], "formats": ["u1"], "offsets": [0], "itemsize": 4}))
    for array in (padded, nested, behind, padded[["b"]]):
        with pytest.raises(SampleError, match="repack_fields"):
            encode_array(array)
    packed = encode_array(repack_fields(padded))
    assert decode_array(packed).dtype.names == ("a", "b")


@pytest.mark.parametrize("descr", ["<f1", "|O", [("a", "<f1")], None])
def test_a_dtype_of_another_package_is_refused_whatever_numpy_says_of_it(monkeypatch, descr):
    # As ml_dtypes' float8, int4 and bfloat16 are told by numpy, some with a warning.
    monkeypatch.setattr("atdata_core.samples.arrays.npy.dtype_to_descr", lambda dtype: descr)
    _npy_header.cache_clear()
    with pytest.raises(SampleError, match="cannot be kept"):
        encode_array(np.zeros(3, np.float16))
    _npy_header.cache_clear()


@pytest.mark.parametrize("name", ["float8_e5m2", "float8_e4m3fn", "bfloat16", "int4"])
def test_the_dtypes_of_ml_dtypes_are_refused_in_our_words(name):
    kind = np.dtype(getattr(pytest.importorskip("ml_dtypes"), name))
    for dtype in (kind, [("a", kind)]):
        with pytest.raises(SampleError, match="cannot be kept"):
            encode_array(np.zeros(2, dtype))
