"""Packed samples made typed again: one msgpack map -> one instance of a dataclass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from functools import partial
from typing import Any, TypeVar, cast

import msgpack
from numpy.typing import NDArray

from ..errors import SampleError
from .arrays import array_view, decode_array
from .field_types import SampleField, plain_type, unpack_value

T = TypeVar("T")
Decode = Callable[[bytes | memoryview], NDArray[Any]]
"""Makes an array of its bytes, as ``arrays.decode_array`` does."""

_LARGE = 1 << 16
"""Bytes of a sample from which on its arrays are not copied out of it: below, that takes longer than copying."""
_UNPACK_ERRORS = (msgpack.UnpackException, TypeError, ValueError, OverflowError, RecursionError)
_unpackb = partial(msgpack.unpackb, strict_map_key=False)
_BINARY = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""First byte of binary data in msgpack -> bytes of the length that follows."""


def unpacker(sample_type: type[T], described: Sequence[SampleField], *, views: bool) -> Callable[[bytes], T]:
    """What unpacks samples of one type.

    Most samples have exactly the fields of their type, with values of exactly their types: these are looked at
    here, once each. All others go to ``typed``, which knows every exception and says what is wrong.

    Args:
        sample_type: A dataclass.
        described: Its fields.
        views: Arrays are read-only views on the packed sample (or, where it is small, on a part that was copied
            once); otherwise each has memory of its own.

    Returns:
        A function of the packed sample. It raises ``SampleError`` where the bytes are no sample of this type.
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

    Args:
        data: A packed sample.
        name: Of its type, for the error.
        in_place: Fields whose binary data is not copied where the sample is large, but viewed in ``data``.

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
    values: dict[str, Any] = {}
    for each in described:
        if each.name in data:
            values[each.name] = unpack_value(each, data[each.name], name, decode)
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
    if data[0] & 0xF0 == 0x80:
        count, at = data[0] & 0x0F, 1
    else:
        return None
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
