"""The fields of a sample type: what an annotation means, and their values <-> msgpack, one by one or all together.

Kinds: ``str int float bool bytes list dict ndarray``, ``choice`` (plain values of some types, or some values only),
and ``tuple`` and ``any`` (whatever msgpack can bring back), each of them also optional.
"""

from __future__ import annotations

import reprlib
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import partial
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, cast, get_args, get_origin

import msgpack
import numpy as np
from numpy.typing import NDArray

from ..errors import SampleError
from .arrays import decode_array, encode_array

T = TypeVar("T")
Decode = Callable[[bytes | memoryview], NDArray[Any]]
"""Makes an array of its bytes, as ``arrays.decode_array`` does."""
_LARGE = 1 << 16
"""Bytes of a sample from which on its arrays are not copied out of it: below, that takes longer than copying."""
_UNPACK_ERRORS = (msgpack.UnpackException, TypeError, ValueError, OverflowError, RecursionError)
_BINARY = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""First byte of binary data in msgpack -> bytes of the length that follows."""

MOST_SHOWN = 20
"""Values that an error names."""

PLAIN_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "bytes": bytes}
"""Of the kinds whose values are in msgpack as they are, the types of these values."""
_KINDS: dict[Any, str] = {
    **{annotation: kind for kind, annotation in PLAIN_TYPES.items()},
    list: "list",
    dict: "dict",
    tuple: "tuple",
    np.ndarray: "ndarray",
}

UNDESCRIBED = frozenset(("any", "tuple"))
"""Kinds whose values are whatever msgpack can bring back, and for which a published schema has no word."""


@dataclass(frozen=True, slots=True)
class SampleField:
    """One field of a sample type, or the items of a list.

    ``items`` describes the items of a ``list[X]`` (None for a bare ``list``); its name is the list's with
    ``[]``. ``dtype`` is the numpy name of an array's dtype where the annotation gives one. A ``choice`` has the
    ``plain`` kinds that its values may have, and where only some values are allowed (``Literal``) these.
    """

    name: str
    kind: str
    optional: bool
    annotation: Any
    dtype: str | None = None
    items: SampleField | None = None
    plain: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()


def describe_field(name: str, annotation: Any) -> SampleField:
    """What the annotation of a field, a type and never a string, says; the kind of an unknown one is ``any``."""
    bare, optional = annotation, False
    while True:
        origin, arguments = get_origin(bare), get_args(bare)
        alias = getattr(origin or bare, "__value__", None)
        if alias is not None:
            # A ``type`` statement; NDArray is one from numpy 2.5 on.
            bare = alias[arguments] if arguments else alias
        elif origin is Annotated:
            bare = arguments[0]
        elif isinstance(bare, NewType):
            bare = bare.__supertype__
        elif origin in (Union, types.UnionType):
            optional = optional or types.NoneType in arguments
            rest = [each for each in arguments if each is not types.NoneType]
            if len(rest) > 1:
                return _describe_union(name, optional, annotation, [describe_field(name, each) for each in rest])
            bare = rest[0]
        else:
            break
    if origin is Literal:
        return _describe_literal(name, optional, annotation, arguments)
    kind = _KINDS.get(origin or bare, "any")
    dtype = _array_dtype(arguments) if kind == "ndarray" else None
    items = describe_field(f"{name}[]", arguments[0]) if kind == "list" and arguments else None
    return SampleField(name, kind, optional, annotation, dtype, items)


def _describe_literal(name: str, optional: bool, annotation: Any, values: tuple[Any, ...]) -> SampleField:
    optional, values = optional or None in values, tuple(each for each in values if each is not None)
    plain = _plain_kinds(kind for each in values for kind, known in PLAIN_TYPES.items() if type(each) is known)
    # A member of an enumeration has a type of its own.
    known = values and all(type(each) in PLAIN_TYPES.values() for each in values)
    if not known:
        return SampleField(name, "any", optional, annotation)
    return SampleField(name, "choice", optional, annotation, plain=plain, values=values)


def _describe_union(name: str, optional: bool, annotation: Any, arms: Sequence[SampleField]) -> SampleField:
    optional = optional or any(each.optional for each in arms)
    plain = _plain_kinds(kind for each in arms for kind in each.plain or (each.kind,))
    # Literals of which each names its values, or types of which none does.
    if len({bool(each.values) for each in arms}) > 1 or not all(kind in PLAIN_TYPES for kind in plain):
        return SampleField(name, "any", optional, annotation)
    values = tuple(value for each in arms for value in each.values)
    if len(plain) == 1 and not values:
        return SampleField(name, plain[0], optional, annotation)
    return SampleField(name, "choice", optional, annotation, plain=plain, values=values)


def _plain_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """Each once, in one order whichever they came in; what is no kind of plain value comes last."""
    order = list(PLAIN_TYPES)
    return tuple(sorted(set(kinds), key=lambda kind: order.index(kind) if kind in order else len(order)))


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
        if field.items is None:
            return _kept(field, list(cast("Sequence[Any]", value)), type_name)
        return _each(field, cast("Sequence[Any]", value), type_name, pack_value)
    if field.kind == "dict" and isinstance(value, Mapping):
        return _kept(field, dict(cast("Mapping[Any, Any]", value)), type_name)
    if field.kind in UNDESCRIBED:
        return _kept(field, value, type_name)
    if isinstance(value, bytearray | memoryview) and "bytes" in (field.kind, *field.plain):
        return bytes(cast("bytearray", value))
    packed = _scalar(field, value, type_name)
    if type(packed) is float and packed != value and isinstance(value, int):
        raise SampleError(
            f"{type_name}.{field.name} is {reprlib.repr(value)}, which no float can hold: it would be {packed!r}. "
            "Annotate it as int, or give float(value) if that is near enough.",
            type_name=type_name,
            field=field.name,
        )
    return packed


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
    elif field.kind == "any":
        return value
    elif field.kind == "tuple":
        # msgpack has one kind of sequence.
        return tuple(cast("list[Any]", value)) if isinstance(value, list) else value
    else:
        return _scalar(field, value, type_name)
    raise _wrong_kind(field, value, type_name)


def _kept(field: SampleField, value: Any, type_name: str) -> Any:
    """The value, if msgpack brings it back; not all that it packs does it, such as a tuple that is a key."""
    try:
        back = msgpack.unpackb(packb(value), strict_map_key=False)
        if same_values(back, value):
            return value
        why = f"it would come back as {reprlib.repr(back)}"
    except _UNPACK_ERRORS as error:
        why = str(error)
    raise SampleError(
        f"{type_name}.{field.name} holds something that msgpack cannot keep: {why}. Keys are text, bytes, numbers, "
        "booleans or None, values also lists and dicts of such, integers have 64 bits at most; an array goes "
        "into an NDArray field.",
        type_name=type_name,
        field=field.name,
    )


def packb(value: Any) -> bytes:
    """As msgpack has it, numpy's scalars as plain values."""
    return msgpack.packb(value, default=_pack_numpy_scalar)


def _pack_numpy_scalar(value: Any) -> Any:
    kind = type(value).__name__
    plain: Any = cast("np.generic[Any]", value).item() if isinstance(value, np.generic) else value
    # A long double stays one.
    if not isinstance(plain, np.generic) and plain is not value:
        return plain
    raise TypeError(f"a {kind} inside a dict or list")


def same_values(a: Any, b: Any) -> bool:
    """Whether values are equal: arrays by shape and elements, NaN to NaN, a tuple to a list."""
    if a is b:
        return True
    # A scalar of several fields (np.void) compares as an array does.
    if isinstance(a, np.ndarray | np.void) or isinstance(b, np.ndarray | np.void):
        if not (isinstance(a, np.ndarray | np.void) and isinstance(b, np.ndarray | np.void)):
            return False
        return _same_arrays(np.asarray(cast("Any", a)), np.asarray(cast("Any", b)))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        ours, theirs = cast("Sequence[Any]", a), cast("Sequence[Any]", b)
        return len(ours) == len(theirs) and all(map(same_values, ours, theirs))
    if isinstance(a, dict) and isinstance(b, dict):
        left, right = cast("dict[Any, Any]", a), cast("dict[Any, Any]", b)
        return left.keys() == right.keys() and all(same_values(left[key], right[key]) for key in left)
    return bool(a == b or (a != a and b != b))


def _same_arrays(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if a.shape != b.shape or a.dtype.names != b.dtype.names:
        return False
    if "V" in (a.dtype.kind, b.dtype.kind) and not a.dtype.names:
        # Raw bytes, which numpy compares with none of another length.
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if a.dtype.names:
        return all(_same_arrays(a[name], b[name]) for name in a.dtype.names)
    return bool(np.all((a == b) | ((a != a) & (b != b))))


def _each(field: SampleField, values: Sequence[Any], type_name: str, convert: Callable[..., Any]) -> list[Any]:
    items = field.items
    # Long lists of plain numbers are common: one look at their types spares a call for each.
    if items is None or set(map(type, values)) <= {PLAIN_TYPES.get(items.kind)}:
        return list(values)
    return [convert(items, value, type_name) for value in values]


def _scalar(field: SampleField, value: Any, type_name: str) -> Any:
    if field.values:
        for each in field.values:
            # True is 1, and 1 is 1.0.
            if (
                each == value
                and isinstance(value, type(each))
                and isinstance(value, bool) == isinstance(each, bool)
            ):
                return each
        raise _wrong_kind(field, value, type_name)
    wanted = tuple(PLAIN_TYPES[kind] for kind in field.plain or (field.kind,) if kind in PLAIN_TYPES)
    if type(value) in wanted:
        return value
    if not isinstance(value, bool):
        if isinstance(value, wanted):
            return value
        if float in wanted and isinstance(value, int) and abs(value) < 2**1023:
            return float(value)
    raise _wrong_kind(field, value, type_name)


def _wrong_kind(field: SampleField, value: Any, type_name: str) -> SampleError:
    shown = "NDArray" if field.kind == "ndarray" else " | ".join(field.plain) or field.kind
    if value is None:
        what = f"is None, but it is not optional. Give it a value, or annotate it as '{shown} | None'."
    elif field.values:
        what = (
            f"is {reprlib.repr(value)}, but it should be one of {', '.join(map(repr, field.values[:MOST_SHOWN]))}"
            f"{' and others' if field.values[MOST_SHOWN:] else ''}. Use one of these, or add it to the Literal."
        )
    else:
        what = (
            f"should be {shown}, but a {type(value).__name__} is there. "
            "Convert the value, or use the sample type that the data was written with."
        )
    return SampleError(f"{type_name}.{field.name} {what}", type_name=type_name, field=field.name)


def _in_field(field: SampleField, why: SampleError, type_name: str) -> SampleError:
    return SampleError(f"{type_name}.{field.name}: {why}", type_name=type_name, field=field.name)


def unpacker(
    sample_type: type[T], described: Sequence[SampleField], decoder: Callable[[], Decode], *, in_place: bool
) -> Callable[[bytes | memoryview], T]:
    """What unpacks samples of one type.

    Most samples have exactly the fields of their type, with values of exactly their types: these are looked at
    here, once each. All others go to ``typed``, which knows every exception and says what is wrong.

    ``decoder`` makes what decodes the arrays of one field. With ``in_place`` it is given parts of the packed sample
    where that is large. What is given back raises ``SampleError`` where the bytes are no sample of this type.
    """
    name, count = sample_type.__name__, len(described)
    make = cast("Callable[..., T]", sample_type)
    plain = [(each.name, plain_type(each)) for each in described if plain_type(each)]
    # Each field has a decoder of its own, which remembers the last header.
    decoders = {each.name: decoder() for each in described if each.kind == "ndarray"}
    arrays = [(each.name, decoders[each.name]) for each in described if each.name in decoders and not each.optional]
    others = [each for each in described if not plain_type(each) and (each.optional or each.name not in decoders)]
    decode = decoder()
    viewed = frozenset(decoders if in_place else ())
    settable = all(each.init for each in fields(cast("Any", sample_type)))

    def unpack(data: bytes | memoryview) -> T:
        values = packed_map(data, name, viewed)
        if values.__class__ is not dict or len(values) != count or not settable:
            return typed(sample_type, described, values, decode)
        try:
            for field, kind in plain:
                if values[field].__class__ is not kind:
                    return typed(sample_type, described, values, decode)
            for field, own in arrays:
                values[field] = own(values[field])
            for other in others:
                values[other.name] = unpack_value(other, values[other.name], name, decoders.get(other.name, decode))
        except (KeyError, TypeError, SampleError):
            return typed(sample_type, described, values, decode)
        return make(**values)

    return unpack


def packed_map(data: bytes | memoryview, name: str, in_place: Collection[str] = ()) -> Any:
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
        return msgpack.unpackb(data, strict_map_key=False)
    except _UNPACK_ERRORS as why:
        raise SampleError(
            f"The bytes are no {name}: they are no msgpack ({why}). "
            "The sample is damaged or was written by another program.",
            type_name=name,
        ) from None


def packed_maps(packed: Sequence[bytes | memoryview], name: str, in_place: Collection[str]) -> list[Any]:
    """``packed_map`` of each."""
    if in_place and max(map(len, packed)) >= _LARGE:
        return [packed_map(data, name, in_place) for data in packed]
    try:
        return [msgpack.unpackb(data, strict_map_key=False) for data in packed]
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


def _in_place(data: bytes | memoryview, arrays: Collection[str]) -> dict[str, Any] | None:
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
