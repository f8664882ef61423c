"""The fields of a sample type: what an annotation means, and their values <-> msgpack, one by one or all together.

Kinds: ``str int float bool bytes list dict ndarray``, each of them also optional.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import partial
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

import msgpack
import numpy as np
from numpy.typing import NDArray

from ..errors import SampleError, SchemaError
from .arrays import array_view, decode_array, encode_array

T = TypeVar("T")
Decode = Callable[[bytes | memoryview], NDArray[Any]]
"""Makes an array of its bytes, as ``arrays.decode_array`` does."""
_LARGE = 1 << 16
"""Bytes of a sample from which on its arrays are not copied out of it: below, that takes longer than copying."""
_UNPACK_ERRORS = (msgpack.UnpackException, TypeError, ValueError, OverflowError, RecursionError)
_unpackb = partial(msgpack.unpackb, strict_map_key=False)
_BINARY = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""First byte of binary data in msgpack -> bytes of the length that follows."""

PLAIN_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "bytes": bytes}
"""Of the kinds whose values are in msgpack as they are, the types of these values."""
_KINDS: dict[Any, str] = {
    **{annotation: kind for kind, annotation in PLAIN_TYPES.items()},
    list: "list",
    dict: "dict",
    np.ndarray: "ndarray",
}


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
    """What the annotation of a field, a type and never a string, says.

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
    kind = _KINDS.get(origin or bare)
    if kind is not None:
        dtype = _array_dtype(arguments) if kind == "ndarray" else None
        items = describe_field(f"{name}[]", arguments[0], type_name) if kind == "list" and arguments else None
        return SampleField(name, kind, optional, annotation, dtype, items)
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
    return None if field.optional else PLAIN_TYPES.get(field.kind)


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
    decode: Decode = decode_array,
) -> Any:
    """The inverse of ``pack_value``; values that are already as they should be stay.

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
    if items is None or set(map(type, values)) <= {PLAIN_TYPES.get(items.kind)}:
        return list(values)
    return [convert(items, value, type_name) for value in values]


def _scalar(field: SampleField, value: Any, type_name: str) -> Any:
    wanted = PLAIN_TYPES.get(field.kind)
    if type(value) is wanted:
        return value
    if wanted is not None and not isinstance(value, bool):
        if isinstance(value, wanted):
            return value
        if wanted is float and isinstance(value, int) and abs(value) < 2**1023:
            return float(value)
    raise _wrong_kind(field, value, type_name)


def _wrong_kind(field: SampleField, value: Any, type_name: str) -> SampleError:
    shown = "NDArray" if field.kind == "ndarray" else field.kind
    if value is None:
        what = f"is None, but it is not optional. Give it a value, or annotate it as '{shown} | None'."
    else:
        what = (
            f"should be {shown}, but a {type(value).__name__} is there. "
            "Convert the value, or use the sample type that the data was written with."
        )
    return SampleError(f"{type_name}.{field.name} {what}", type_name=type_name, field=field.name)


def _in_field(field: SampleField, why: SampleError, type_name: str) -> SampleError:
    return SampleError(f"{type_name}.{field.name}: {why}", type_name=type_name, field=field.name)


def unpacker(sample_type: type[T], described: Sequence[SampleField], *, views: bool) -> Callable[[bytes], T]:
    """What unpacks samples of one type.

    Most samples have exactly the fields of their type, with values of exactly their types: these are looked at
    here, once each. All others go to ``typed``, which knows every exception and says what is wrong.

    With ``views``, arrays are read-only views on the packed sample (or, where it is small, on a part that was
    copied once); otherwise each has memory of its own. What is given back raises ``SampleError`` where the bytes
    are no sample of this type.
    """
    name, count = sample_type.__name__, len(described)
    make = cast("Callable[..., T]", sample_type)
    plain = [(each.name, plain_type(each)) for each in described if plain_type(each)]
    # Each field has a decoder of its own, which remembers the last header.
    decoders = {each.name: array_view() if views else decode_array for each in described if each.kind == "ndarray"}
    arrays = [(each.name, decoders[each.name]) for each in described if each.name in decoders and not each.optional]
    others = [each for each in described if not plain_type(each) and (each.optional or each.name not in decoders)]
    decode = array_view() if views else decode_array
    in_place = frozenset(decoders if views else ())
    settable = all(each.init for each in fields(cast("Any", sample_type)))

    def unpack(data: bytes) -> T:
        values = packed_map(data, name, in_place)
        if values.__class__ is not dict or len(values) != count or not settable:
            return typed(sample_type, described, values, decode)
        try:
            for field, kind in plain:
                if values[field].__class__ is not kind:
                    return typed(sample_type, described, values, decode)
            for field, decoder in arrays:
                values[field] = decoder(values[field])
            for other in others:
                values[other.name] = unpack_value(other, values[other.name], name, decoders.get(other.name, decode))
        except (KeyError, TypeError, SampleError):
            return typed(sample_type, described, values, decode)
        return make(**values)

    return unpack


def packed_map(data: bytes, name: str, in_place: Collection[str] = ()) -> Any:
    """What msgpack holds; a map, if it is a sample.

    Binary data of the fields ``in_place`` is not copied where the sample is large, but viewed in ``data``. ``name``
    is that of its type, for the error.

    Raises:
        SampleError: It is no msgpack.
    """
    try:
        if in_place and len(data) >= _LARGE:
            found = _in_place(data, in_place)
            if found is not None:
                return found
        # msgpack takes its limits from the length of the buffer, so a claimed size allocates nothing.
        return _unpackb(data)
    except _UNPACK_ERRORS as why:
        raise SampleError(
            f"The bytes are no {name}: they are no msgpack ({why}). "
            "The sample is damaged or was written by another program.",
            type_name=name,
        ) from None


def packed_maps(packed: Sequence[bytes], name: str, in_place: Collection[str]) -> list[Any]:
    """``packed_map`` of each."""
    if in_place and max(map(len, packed)) >= _LARGE:
        return [packed_map(data, name, in_place) for data in packed]
    try:
        return list(map(_unpackb, packed))
    except _UNPACK_ERRORS:
        # One of them: this raises the error that says so.
        return [packed_map(data, name) for data in packed]


def typed(sample_type: type[T], described: Sequence[SampleField], data: Mapping[str, Any], decode: Decode) -> T:
    """A sample from its msgpack map; an absent optional field is its default or None.

    Raises:
        SampleError: A required field is missing, an unknown one is there, or a value is of another kind.
    """
    name = sample_type.__name__
    if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SampleError(
            f"A {name} is a map of its fields, but a {type(data).__name__} is there. "
            "Use the sample type that the data was written with.",
            type_name=name,
        )
    present = (each for each in described if each.name in data)
    values = {each.name: unpack_value(each, data[each.name], name, decode) for each in present}
    if len(values) != len(data):
        extra = next(str(key) for key in data if key not in values)
        raise SampleError(
            f"The data has a field {extra!r} that {name} has not. "
            "Use the sample type that it was written with, or add the field.",
            type_name=name,
            field=extra,
        )
    return _constructed(sample_type, described, values)


def has_default(declared: Field[Any]) -> bool:
    """Whether a field of a dataclass can be left out."""
    return declared.default is not MISSING or declared.default_factory is not MISSING


def _constructed(sample_type: type[T], described: Sequence[SampleField], values: dict[str, Any]) -> T:
    """A sample of these values; the fields that are absent have a default or are optional."""
    after: dict[str, Any] = {}
    for declared, field in zip(fields(cast("Any", sample_type)), described, strict=True):
        name = field.name
        if name in values:
            if not declared.init:
                after[name] = values.pop(name)
        elif not has_default(declared):
            if not field.optional:
                raise SampleError(
                    f"The data has no field {name!r}, which {sample_type.__name__} needs. "
                    f"Use the sample type that it was written with, or give {name!r} a default.",
                    type_name=sample_type.__name__,
                    field=name,
                )
            values[name] = None
    made = sample_type(**values)
    for name, value in after.items():
        object.__setattr__(made, name, value)
    return made


def _in_place(data: bytes, arrays: Collection[str]) -> dict[str, Any] | None:
    """The map in the bytes of a sample, in which these arrays are views on the bytes; None where it is no such."""
    whole = memoryview(data)
    values: dict[str, Any] = {}
    if data[0] & 0xF0 != 0x80:
        return None
    count, at = data[0] & 0x0F, 1
    try:
        for _ in range(count):
            key, at = _item(whole, at)
            if not isinstance(key, str):
                return None
            width = _BINARY.get(data[at]) if key in arrays else None
            if width:
                start = at + 1 + width
                at = start + int.from_bytes(data[at + 1 : start], "big")
                values[key] = whole[start:at]
            else:
                values[key], at = _item(whole, at)
    except (msgpack.UnpackException, TypeError, ValueError, IndexError, RecursionError):
        return None
    return values if at == len(data) else None


def _item(whole: memoryview, at: int) -> tuple[Any, int]:
    """The msgpack value at a place, and where the next one begins; little of what follows is copied."""
    size = 256
    while True:
        unpacker = msgpack.Unpacker(strict_map_key=False, read_size=size, max_buffer_size=len(whole))
        unpacker.feed(whole[at : at + size])
        try:
            return unpacker.unpack(), at + unpacker.tell()
        except msgpack.OutOfData:
            if at + size >= len(whole):
                raise
            size *= 16
