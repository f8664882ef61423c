"""Samples as the tables that other libraries work with; all are read into memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import SampleError

Column = NDArray[Any] | list[Any]
"""The values of a field: those that are numbers, or arrays of one shape and type, as one array."""


def to_numpy(items: Iterable[Any]) -> dict[str, NDArray[Any]]:
    """An array a field; of what is no number and no array of the same shape, objects."""
    return {
        name: column if isinstance(column, np.ndarray) else _objects(column) for name, column in _columns(items)
    }


def to_pandas(items: Iterable[Any]) -> Any:
    """A ``DataFrame``; raises ``ImportError`` where pandas is not installed."""
    pandas = library("pandas", "pandas", "to_pandas()")
    columns = {
        name: _objects(list(column)) if isinstance(column, np.ndarray) and column.ndim > 1 else column
        for name, column in _columns(items)
    }
    return pandas.DataFrame(columns)


def to_arrow(items: Iterable[Any], *, extra: str = "arrow", what: str = "to_arrow()") -> Any:
    """A ``pyarrow.Table``; raises ``ImportError`` where pyarrow is not installed."""
    arrow = library("pyarrow", extra, what)
    found: dict[str, Any] = {}
    for name, column in _columns(items):
        try:
            found[name] = _arrow_array(arrow, column)
        except (arrow.ArrowException, TypeError, ValueError, OverflowError) as why:
            raise SampleError(
                f"Arrow cannot hold the values of {name!r}: {why}. Leave the field out, or change it, with map().",
                field=name,
            ) from None
    return arrow.table(found)


def to_hf(items: Iterable[Any]) -> Any:
    """A ``datasets.Dataset``; raises ``ImportError`` where Hugging Face's datasets is not installed."""
    return library("datasets", "hf", "to_hf()").Dataset(to_arrow(items, extra="hf", what="to_hf()"))


def _columns(items: Iterable[Any]) -> list[tuple[str, Column]]:
    rows = [fields_of(item) for item in items]
    names = dict.fromkeys(name for row in rows for name in row)
    return [(name, _column([row.get(name) for row in rows])) for name in names]


def fields_of(item: Any) -> Mapping[str, Any]:
    """The values of a sample or a dict by their names; raises ``SampleError`` where it is neither."""
    if isinstance(item, Mapping):
        return cast("Mapping[str, Any]", item)
    if is_dataclass(item):
        return {field.name: getattr(item, field.name) for field in fields(item)}
    raise SampleError(
        f"A table is made of samples or dicts, not of a {type(item).__name__}. Let map() return a dict."
    )


def _column(values: list[Any]) -> Column:
    kinds = {*map(type, values)}
    if all(issubclass(kind, (np.number, np.bool_, np.datetime64)) for kind in kinds):
        return np.array(values) if len({value.dtype for value in values}) == 1 else values
    if kinds == {np.ndarray}:
        alike = {(value.shape, value.dtype) for value in values}
        return np.stack(values) if len(alike) == 1 else values
    return np.array(values) if kinds in ({int}, {float}, {bool}) and _fits(values) else values


def _fits(values: list[Any]) -> bool:
    """Whether NumPy has a number for them: integers beyond 64 bits it keeps as objects, or as other numbers."""
    return all(-(2**63) <= value < 2**63 for value in values) if type(values[0]) is int else True


def _objects(values: list[Any]) -> NDArray[Any]:
    # Not array[:] = values, which would take them apart.
    array = np.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def _arrow_array(arrow: Any, column: Column) -> Any:
    if not isinstance(column, np.ndarray) or 0 in column.shape[1:]:
        values = [value.tolist() if isinstance(value, np.ndarray) else value for value in column]
        return arrow.array(values, type=_arrow_type(arrow, column))
    array = arrow.array(column.astype(column.dtype.newbyteorder("="), copy=False).reshape(-1))
    for size in reversed(column.shape[1:]):
        array = arrow.FixedSizeListArray.from_arrays(array, size)
    return array


def _arrow_type(arrow: Any, column: Column) -> Any:
    """The type of arrays that are missing in places, or of several shapes; None, for Arrow to see, of all else."""
    arrays = [value for value in column if value is not None]
    if {*map(type, arrays)} != {np.ndarray} or len({(array.dtype, array.ndim) for array in arrays}) > 1:
        return None
    if arrays[0].dtype.hasobject:
        return None
    shapes = {array.shape for array in arrays}
    found = arrow.from_numpy_dtype(arrays[0].dtype.newbyteorder("="))
    for size in reversed(arrays[0].shape):
        found = arrow.list_(found, size if len(shapes) == 1 else -1)
    return found


def library(name: str, extra: str, what: str) -> Any:
    """What is needed, imported.

    Raises:
        ImportError: It is not installed; the extra of atdata-core that brings it is named.
    """
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(
            f"{what} needs {name}, which is not installed: pip install 'atdata-core[{extra}]'.", name=name
        ) from None
