"""The fields of a sample type: what an annotation means, and a field's value <-> msgpack.

Kinds: ``str int float bool bytes list dict ndarray``, each of them also optional.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Union, cast, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from ..errors import SampleError, SchemaError
from .arrays import decode_array, encode_array

_SCALARS: dict[Any, str] = {str: "str", int: "int", float: "float", bool: "bool", bytes: "bytes"}
_TYPES: dict[str, type] = {kind: annotation for annotation, kind in _SCALARS.items()}


@dataclass(frozen=True, slots=True)
class SampleField:
    """One field of a sample type, or the items of a list.

    ``items`` describes the items of a ``list[X]`` (None for a bare ``list``); its name is the list's with
    ``[]``. ``dtype`` is the numpy name of an array's dtype where the annotation gives one.
    """

    name: str
    kind: str
    optional: bool
    annotation: Any
    dtype: str | None = None
    items: SampleField | None = None


def describe_field(name: str, annotation: Any, type_name: str) -> SampleField:
    """What an annotation says.

    Args:
        name: The field's name.
        annotation: A type, never a string.
        type_name: Name of the sample type, for the error.

    Raises:
        SchemaError: It is none of the kinds that a sample can hold.
    """
    bare, optional = annotation, False
    while True:
        origin, arguments = get_origin(bare), get_args(bare)
        alias = getattr(origin or bare, "__value__", None)
        if alias is not None:
            # A ``type`` statement; NDArray is one from numpy 2.5 on.
            bare = alias[arguments] if arguments else alias
        elif origin is Annotated:
            bare = arguments[0]
        elif origin in (Union, types.UnionType) and types.NoneType in arguments and len(arguments) == 2:
            optional = True
            bare = arguments[0] if arguments[1] is types.NoneType else arguments[1]
        else:
            break
    base = origin or bare
    if base in _SCALARS:
        return SampleField(name, _SCALARS[base], optional, annotation)
    if base is dict:
        return SampleField(name, "dict", optional, annotation)
    if base is list:
        items = describe_field(f"{name}[]", arguments[0], type_name) if arguments else None
        return SampleField(name, "list", optional, annotation, items=items)
    if base is np.ndarray:
        return SampleField(name, "ndarray", optional, annotation, dtype=_array_dtype(arguments))
    shown = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    raise SchemaError(
        f"{type_name}.{name} is annotated {shown}, which a sample cannot hold. Use str, int, float, bool, "
        "bytes, list[...], dict or NDArray, each also as 'X | None'.",
        type_name=type_name,
        field=name,
    )


def _array_dtype(arguments: tuple[Any, ...]) -> str | None:
    # NDArray[np.float32] is np.ndarray[<shape>, np.dtype[np.float32]]; a bare NDArray has a TypeVar there.
    scalar = next(iter(get_args(arguments[1])), None) if len(arguments) == 2 else None
    if not (isinstance(scalar, type) and issubclass(scalar, np.generic)):
        return None
    try:
        return np.dtype(cast("type[np.generic[Any]]", scalar)).name
    except TypeError:
        return None  # an abstract one, such as np.floating


def plain_type(field: SampleField) -> type | None:
    """The type whose instances are the field's values as they are in msgpack; None where there is more to it."""
    return None if field.optional else _TYPES.get(field.kind)


def pack_value(field: SampleField, value: Any, type_name: str) -> Any:
    """The value as msgpack holds it.

    Raises:
        SampleError: The value is not of the field's kind.
    """
    if value is None and field.optional:
        return None
    if field.kind == "ndarray":
        if not isinstance(value, np.ndarray | np.generic):
            raise _wrong_kind(field, value, type_name)
        try:
            return encode_array(np.asanyarray(cast("NDArray[Any]", value)))
        except SampleError as why:
            raise _in_field(field, why, type_name) from None
    if isinstance(value, np.generic):
        value = cast("np.generic[Any]", value).item()
    if field.kind == "list" and isinstance(value, list | tuple):
        return _each(field, cast("Sequence[Any]", value), type_name, pack_value)
    if field.kind == "dict" and isinstance(value, Mapping):
        return dict(cast("Mapping[Any, Any]", value))
    if field.kind == "bytes" and isinstance(value, bytearray | memoryview):
        return bytes(cast("bytearray", value))
    return _scalar(field, value, type_name)


def unpack_value(
    field: SampleField,
    value: Any,
    type_name: str,
    decode: Callable[[bytes | memoryview], NDArray[Any]] = decode_array,
) -> Any:
    """The inverse of ``pack_value``; values that are already as they should be stay.

    Args:
        field: What is wanted.
        value: What msgpack gave.
        type_name: For errors.
        decode: Makes an array of its bytes.

    Raises:
        SampleError: The value is not of the field's kind.
    """
    if value is None and field.optional:
        return None
    if field.kind == "ndarray":
        if isinstance(value, bytes | memoryview):
            try:
                return decode(cast("bytes | memoryview", value))
            except SampleError as why:
                raise _in_field(field, why, type_name) from None
        if isinstance(value, np.ndarray):
            return cast("NDArray[Any]", value)
    elif field.kind == "list":
        if isinstance(value, list | tuple):
            return _each(field, cast("Sequence[Any]", value), type_name, partial(unpack_value, decode=decode))
    elif field.kind == "dict":
        if isinstance(value, dict):
            return cast("dict[Any, Any]", value)
    else:
        return _scalar(field, value, type_name)
    raise _wrong_kind(field, value, type_name)


def _each(field: SampleField, values: Sequence[Any], type_name: str, convert: Callable[..., Any]) -> list[Any]:
    items = field.items
    # Long lists of plain numbers are common: one look at their types spares a call for each.
    if items is None or set(map(type, values)) <= {_TYPES.get(items.kind)}:
        return list(values)
    return [convert(items, value, type_name) for value in values]


def _scalar(field: SampleField, value: Any, type_name: str) -> Any:
    wanted = _TYPES.get(field.kind)
    if type(value) is wanted:
        return value
    if wanted is not None and not isinstance(value, bool):
        if isinstance(value, wanted):
            return value
        if wanted is float and isinstance(value, int) and abs(value) < 2**1023:
            return float(value)
    raise _wrong_kind(field, value, type_name)


def _wrong_kind(field: SampleField, value: Any, type_name: str) -> SampleError:
    if value is None:
        what = f"{type_name}.{field.name} is None, but it is not optional. Give it a value, or annotate it as"
        advice = f"'{_shown(field)} | None'."
    else:
        what = f"{type_name}.{field.name} should be {_shown(field)}, but a {type(value).__name__} is there."
        advice = "Convert the value, or use the sample type that the data was written with."
    return SampleError(f"{what} {advice}", type_name=type_name, field=field.name)


def _in_field(field: SampleField, why: SampleError, type_name: str) -> SampleError:
    return SampleError(f"{type_name}.{field.name}: {why}", type_name=type_name, field=field.name)


def _shown(field: SampleField) -> str:
    return "NDArray" if field.kind == "ndarray" else field.kind
