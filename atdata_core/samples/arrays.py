"""ndarray <-> bytes: the ``.npy`` form that is written, and the compact form that is also read.

``.npy`` is the format of ``numpy.lib.format``; the compact form (atdata 0.3.0b2 and later) is
``u8 length | dtype.str (ascii) | u8 ndim | ndim x int64 (little-endian) shape | C-order bytes``.
Neither is ever unpickled: an array of objects is refused on both ways.
"""

from __future__ import annotations

import ast
import struct
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from math import prod
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import SampleError

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 18
"""Bytes; what Python makes of a longer text takes many times its memory."""
_REMEMBERED = 1 << 10
"""Bytes up to which a header is remembered with what it says."""
_MOST_DIMENSIONS = 64
_KINDS = frozenset("biufcmMSUV")
"""Kinds of dtype whose bytes are the values. Objects and variable-width strings hold addresses instead."""


class _Layout(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]


def encode_array(array: NDArray[Any]) -> bytes:
    """The array as ``numpy.save(..., allow_pickle=False)`` writes it: ``.npy`` 1.0, byte and memory order kept.

    It may have any shape, and any dtype of numpy's own but objects; structured ones are fine.

    Raises:
        SampleError: The dtype cannot be kept (objects, extension types), or the array is masked.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise SampleError(
            "A masked array would lose its mask. Use array.filled(...) or keep the mask in a field of its own."
        )
    fortran_order = array.flags.f_contiguous and not array.flags.c_contiguous
    return _npy_header(array.dtype, array.shape, fortran_order) + array.tobytes(order="A")


def decode_array(data: bytes | memoryview) -> NDArray[Any]:
    """The whole array that ``data`` holds in either form: a new, writable one that shares no memory with it.

    Raises:
        SampleError: Not an array, an array of objects, or a shape that does not fit the bytes.
    """
    return _viewed(data, *_found(data)).copy(order="K")


def writable_view() -> Callable[[bytes | memoryview], NDArray[Any]]:
    """As ``array_view``, with memory of its own also where the bytes cannot be written to."""
    return array_view(writable=True)


def array_view(*, writable: bool = False) -> Callable[[bytes | memoryview], NDArray[Any]]:
    """What decodes the arrays of one field: as ``decode_array`` does, but not into memory of their own.

    It gives views on the bytes it is given, which live as long as any view; a copy only where the values
    lie so in them that their type cannot use them there. It remembers the last header, for those of a field repeat.
    """
    nothing: tuple[bytes, int, int, _Layout | None] = (b"", -1, 0, None)
    remembered = nothing

    def view(data: bytes | memoryview) -> NDArray[Any]:
        nonlocal remembered
        header, size, start, layout = remembered
        if len(data) != size or data[:start] != header or layout is None:
            start, layout = _found(data)
            _viewed(data, start, layout)
            remembered = (bytes(data[:start]), len(data), start, layout) if start <= _REMEMBERED else nothing
        memory: bytes | memoryview | bytearray = data
        if writable and (isinstance(data, bytes) or data.readonly):
            # In half the time that a view and its copy take.
            memory, start = bytearray(data[start:]), 0
        array = np.ndarray(layout.shape, layout.dtype, memory, start, None, layout.order)
        if not array.flags.aligned:
            # Every later step would pay for values that lie across their natural borders; some programs fail.
            array = array.copy(order="K")
        return array

    return view


def of_one_layout(packed: Sequence[bytes | memoryview]) -> bool:
    """Whether these are the bytes of arrays of one shape, dtype and memory order.

    Raises:
        SampleError: The first of them are those of no array.
    """
    start, _ = _found(packed[0])
    return len(set(map(len, packed))) == 1 and {bytes(each[:start]) for each in packed} == {
        bytes(packed[0][:start])
    }


def stack_packed(packed: Sequence[bytes | memoryview]) -> NDArray[Any]:
    """The arrays of such bytes, stacked to ``(n, ...)`` in memory of their own.

    Raises:
        SampleError: No array can have that shape.
    """
    start, layout = _found(packed[0])
    first = _viewed(packed[0], start, layout)
    try:
        if layout.order == "F" or not layout.dtype.isnative or not first.size:
            return np.stack([_viewed(each, start, layout) for each in packed])
        values = bytearray().join([each[start:] for each in packed])
        return np.frombuffer(values, first.dtype).reshape(len(packed), *first.shape)
    except ValueError as why:
        raise SampleError(f"{len(packed)} arrays of shape {first.shape} cannot be stacked: {why}.") from None


def shape_name(shape: Sequence[int | None]) -> str:
    """A shape in words for people, such as ``32×32×3``; None is any length."""
    return "×".join("any" if length is None else str(length) for length in shape) or "scalar"


def _found(data: bytes | memoryview) -> tuple[int, _Layout]:
    """Where the values begin, and their layout; raises where the bytes do not fit it."""
    if bytes(data[:6]) == _MAGIC:
        start, layout = _npy_layout(data)
    else:
        start, layout = _compact_layout(data)
    expected, found = prod(layout.shape) * layout.dtype.itemsize, len(data) - start
    if expected != found or (layout.dtype.itemsize == 0 and 0 not in layout.shape):
        raise SampleError(
            f"An array of shape {layout.shape} and dtype {layout.dtype} has {expected} bytes, "
            f"but {found} are there. The sample is damaged; write it again."
        )
    return start, layout


def _viewed(data: bytes | memoryview, start: int, layout: _Layout) -> NDArray[Any]:
    try:
        return np.ndarray(layout.shape, layout.dtype, data, start, None, layout.order)
    except (ValueError, TypeError, OverflowError) as why:
        raise SampleError(f"No array can have this shape: {why}.") from None


@lru_cache(maxsize=1024)
def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...], fortran_order: bool) -> bytes:
    _refuse_addresses(dtype)
    if _has_gaps(dtype):
        raise SampleError(
            f"The dtype {dtype} has bytes that belong to no field, and what is in them would be published. "
            "Convert the array with numpy.lib.recfunctions.repack_fields() first."
        )
    try:
        with warnings.catch_warnings():
            # numpy warns of types that it does not know itself; they are refused here.
            warnings.simplefilter("ignore")
            description = npy.dtype_to_descr(dtype)
        kept = npy.descr_to_dtype(description) == dtype
    except (TypeError, ValueError):
        kept, description = False, None
    if not kept or (dtype.itemsize == 0 and 0 not in shape):
        raise SampleError(
            f"The dtype {dtype} cannot be kept in .npy. Convert the array first, for instance with .astype()."
        )
    facts = {"descr": description, "fortran_order": fortran_order, "shape": shape}
    header = BytesIO()
    try:
        npy.write_array_header_1_0(header, facts)
    except ValueError:
        raise SampleError(
            f"The dtype {dtype} has too many or too exotic field names for .npy 1.0. "
            "Use fewer fields, with ASCII names."
        ) from None
    return header.getvalue()


def _npy_layout(data: bytes | memoryview) -> tuple[int, _Layout]:
    """Where the values begin, and their layout."""
    major = data[6] if len(data) > 6 else 0
    width = 2 if major == 1 else 4
    if major not in (1, 2, 3) or len(data) < 8 + width:
        raise _damaged("its .npy header is cut short or of an unknown version")
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    if start > len(data):
        raise _damaged("its .npy header is cut short")
    if start > _LONGEST_HEADER:
        raise _damaged(f"its .npy header is longer than {_LONGEST_HEADER:,} bytes")
    parse = _remembered_npy_header if start <= _REMEMBERED else _parse_npy_header
    return start, parse(bytes(data[8 + width : start]), "utf-8" if major == 3 else "latin-1")


def _parse_npy_header(header: bytes, encoding: str) -> _Layout:
    try:
        facts = ast.literal_eval(header.decode(encoding))
        dtype = npy.descr_to_dtype(facts["descr"])
        shape, fortran_order = facts["shape"], facts["fortran_order"]
        well_formed = isinstance(fortran_order, bool) and isinstance(shape, tuple)
    except Exception:
        # The text is anybody's: literal_eval and numpy raise nearly everything on a hostile one.
        raise _damaged("its .npy header cannot be read") from None
    dimensions = cast("tuple[int, ...]", shape)
    if not well_formed or not all(type(n) is int and 0 <= n < 2**63 for n in dimensions):
        raise _damaged("its .npy header cannot be read")
    if len(dimensions) > _MOST_DIMENSIONS:
        raise _damaged(f"it claims more than {_MOST_DIMENSIONS} dimensions")
    _refuse_addresses(dtype)
    return _Layout(dtype, dimensions, "F" if fortran_order else "C")


# Headers repeat from sample to sample: each distinct one is parsed once.
_remembered_npy_header = lru_cache(maxsize=1024)(_parse_npy_header)


def _compact_layout(data: bytes | memoryview) -> tuple[int, _Layout]:
    """Where the values begin, and their layout."""
    if not len(data):
        raise _damaged("it is empty")
    after_dtype = 1 + data[0]
    if len(data) <= after_dtype:
        raise _damaged("it begins neither as .npy nor as the compact form")
    ndim = data[after_dtype]
    start = after_dtype + 1 + 8 * ndim
    if start > len(data):
        raise _damaged("it begins neither as .npy nor as the compact form")
    dtype = _parse_compact_dtype(bytes(data[1:after_dtype]))
    shape: tuple[int, ...] = struct.unpack_from(f"<{ndim}q", data, after_dtype + 1)
    if any(n < 0 for n in shape):
        raise _damaged("a dimension is negative")
    return start, _Layout(dtype, shape, "C")


@lru_cache(maxsize=256)
def _parse_compact_dtype(name: bytes) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name.decode("ascii"))
    except Exception:
        raise _damaged("it begins neither as .npy nor as the compact form") from None
    _refuse_addresses(dtype)
    return dtype


def _refuse_addresses(dtype: np.dtype[Any]) -> None:
    """Raise for a dtype whose bytes are addresses, at any depth."""
    if dtype.subdtype is not None:
        _refuse_addresses(dtype.subdtype[0])
    for name in dtype.names or ():
        _refuse_addresses(dtype[name])
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise SampleError(
            f"An array of dtype {dtype} holds Python objects, which only pickle could keep, and pickle from "
            "elsewhere can run any code. Convert it to numbers or fixed-width strings and write it again."
        )


def _has_gaps(dtype: np.dtype[Any]) -> bool:
    """Whether a structured dtype has bytes between its fields or behind them, at any depth."""
    if dtype.subdtype is not None:
        return _has_gaps(dtype.subdtype[0])
    fields = [dtype[name] for name in dtype.names or ()]
    return any(map(_has_gaps, fields)) or (bool(fields) and sum(each.itemsize for each in fields) < dtype.itemsize)


def _damaged(what: str) -> SampleError:
    return SampleError(f"The bytes are no array: {what}. The sample is damaged or of another type.")
