"""Sample types: dataclasses that become one msgpack map, and back."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, MISSING, Field, dataclass, field, fields, is_dataclass
from types import FrameType, new_class
from typing import Any, ClassVar, Self, TypeVar, cast, dataclass_transform, get_origin, get_type_hints

from ..errors import SampleError, SchemaError
from .arrays import array_view, decode_array, writable_view
from .field_types import (
    Decode,
    SampleField,
    describe_field,
    has_default,
    pack_value,
    packb,
    packed_map,
    same_values,
    typed,
    unpacker,
)

T = TypeVar("T")


class PackableSample:
    """What every sample type is: a dataclass whose fields msgpack can hold.

    Use ``@packable``, or subclass this and add ``@dataclass``.
    Fields of ``str int float bool bytes``, unions of these, ``Literal``, ``list``, ``dict`` and ``NDArray``, each
    also ``| None``, can be published; those of any other type are packed and read only.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _prepare(cls, inspect.currentframe())
        # @dataclass leaves an __eq__ that the class itself has; the one it would make cannot compare arrays.
        if "__eq__" not in cls.__dict__:
            cls.__eq__ = cls.__eq__

    @property
    def packed(self) -> bytes:
        """The sample as one msgpack map, keys in field order.

        Raises:
            SampleError: A value is not what its annotation says, or cannot be kept.
            SchemaError: An annotation names nothing.
        """
        name = type(self).__name__
        described = sample_fields(type(self))
        payload = {each.name: pack_value(each, getattr(self, each.name), name) for each in described}
        return packed_payload(payload, name)

    @property
    def as_wds(self) -> dict[str, Any]:
        """``{"__key__": a new unique key, "msgpack": the packed sample}``, as webdataset writes it."""
        return {"__key__": new_key(), "msgpack": self.packed}

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of ``packed``; arrays may be in either form that the field knows.

        Raises:
            SampleError: The bytes are no sample of this type.
        """
        if not unpacks_as_ours(cls):
            return cls.from_data(packed_map(data, cls.__name__))
        return _unpacker(cls, "own")(data)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """A sample from its msgpack map; an absent optional field is its default or None.

        Raises:
            SampleError: A required field is missing, an unknown one is there, or a value is of another kind.
        """
        return typed(cls, sample_fields(cls), data, decode_array)

    def __eq__(self, other: object) -> bool:
        """Same type and same values; arrays by shape and elements, NaN equal to NaN."""
        if type(other) is not type(self):
            return NotImplemented
        return all(
            same_values(getattr(self, each.name), getattr(other, each.name))
            for each in fields(cast("Any", self))
            if each.compare
        )


@dataclass_transform(field_specifiers=(field,))
def packable(cls: type[T]) -> type[T]:
    """Make a class a sample type: a dataclass that is also a ``PackableSample``.

    Module and name are kept, so instances can be pickled. A field without default may follow one with a
    default; it can then be given by keyword only.

    Raises:
        TypeError: The class cannot be a dataclass.
    """
    if issubclass(cls, PackableSample):
        return dataclass(cls)
    _prepare(cls, inspect.currentframe())
    # A subclass, not a rebuilt class: super() in the methods of the original goes on working.
    body = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    made = new_class(cls.__name__, (dataclass(eq=False)(cls), PackableSample), {}, lambda names: names.update(body))
    made.__annotations__ = inspect.get_annotations(cls)
    return cast("type[T]", made)


def new_key() -> str:
    """A key that no other sample has."""
    # The operating system is asked each time: no two threads, forks or machines share a state.
    return os.urandom(16).hex()


def packed_payload(payload: dict[str, Any], name: str) -> bytes:
    """The values of a sample's fields as one msgpack map; ``name`` is that of its type, for the error.

    Raises:
        SampleError: One cannot be kept.
    """
    try:
        return packb(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as why:
        raise SampleError(
            f"A {name} holds something that msgpack cannot keep: {why}. Integers have 64 bits at most; "
            "a dict holds plain values, and an array goes into an NDArray field.",
            type_name=name,
        ) from None


def sample_fields(sample_type: type) -> tuple[SampleField, ...]:
    """The fields of a sample type, in order.

    Raises:
        SchemaError: Not a dataclass, or an annotation that names nothing.
    """
    # In the class's own namespace, not in a cache of ours: a class made in a function can go away.
    described = sample_type.__dict__.get("__sample_fields__")
    if described is None:
        described = _describe(sample_type)
        sample_type.__sample_fields__ = described  # type: ignore[attr-defined]
    return described


def unpacker_with_views(sample_type: type[T], *, writable: bool = False) -> Callable[[bytes | memoryview], T]:
    """``sample_type.from_bytes``, but arrays are views on the bytes, or on a part that was copied once.

    Where ``writable``, arrays can be written to: they are views on a large sample that can be, which nobody else
    may have then, and copies otherwise. Where the type has a ``from_bytes`` or ``from_data`` of its own, it is
    that.
    """
    if not unpacks_as_ours(sample_type):
        theirs: Callable[[bytes], T] = cast("Any", sample_type).from_bytes
        return lambda data: theirs(bytes(data))
    return _unpacker(sample_type, "writable" if writable else "views")


def unpacks_as_ours(sample_type: type) -> bool:
    """Whether a type has no ``from_bytes`` or ``from_data`` of its own."""
    theirs = cast("Any", sample_type)
    ours = PackableSample.from_bytes.__func__, PackableSample.from_data.__func__
    return tuple(getattr(method, "__func__", None) for method in (theirs.from_bytes, theirs.from_data)) == ours


def packs_as_ours(sample_type: type) -> bool:
    """Whether a type has no ``packed`` of its own either: what it packs is then what its fields say."""
    return unpacks_as_ours(sample_type) and cast("Any", sample_type).packed is PackableSample.packed


_DECODERS: dict[str, Callable[[], Decode]] = {
    "own": lambda: decode_array,
    "views": array_view,
    "writable": writable_view,
}


def _unpacker(sample_type: type[T], memory: str) -> Callable[[bytes | memoryview], T]:
    kept = f"__sample_unpacker_{memory}__"
    made = sample_type.__dict__.get(kept)
    if made is None:
        described = sample_fields(sample_type)
        made = unpacker(sample_type, described, _DECODERS[memory], in_place=memory != "own")
        setattr(sample_type, kept, made)
    return made


def _describe(sample_type: type) -> tuple[SampleField, ...]:
    name = sample_type.__name__
    if not is_dataclass(sample_type):
        raise SchemaError(
            f"{name} is no sample type. Decorate it with @packable, or subclass PackableSample with @dataclass.",
            type_name=name,
        )
    declared = fields(sample_type)
    hints: dict[str, Any] = {}
    if any(isinstance(each.type, str) for each in declared):
        try:
            hints = get_type_hints(sample_type)
        except Exception as why:
            raise SchemaError(
                f"An annotation of {name} cannot be understood: {why}. "
                "Import or define what it names before the class.",
                type_name=name,
            ) from None
    return tuple(describe_field(each.name, hints.get(each.name, each.type)) for each in declared)


def _prepare(cls: type, frame: FrameType | None) -> None:
    """Resolve string annotations where the class is defined, and let any field follow any other.

    Names of the defining function, which called the one of ``frame``, are gone later: this is the moment
    to look them up.
    """
    # Asked before @dataclass adds one.
    cls.__has_own_init__ = "__init__" in cls.__dict__  # type: ignore[attr-defined]
    annotations = inspect.get_annotations(cls)
    for name, annotation in annotations.items():
        if isinstance(annotation, str):
            annotations[name] = _resolved(annotation, frame)
    if annotations:
        cls.__annotations__ = annotations
    defaults_begun = any(
        has_default(each) and not each.kw_only
        for base in cls.__mro__[1:]
        for each in base.__dict__.get("__dataclass_fields__", {}).values()
    )
    for name, annotation in annotations.items():
        if annotation is KW_ONLY:
            return
        if get_origin(annotation) is ClassVar or annotation is ClassVar:
            continue
        default = cls.__dict__.get(name, MISSING)
        if default is MISSING and defaults_begun:
            setattr(cls, name, field(kw_only=True))
        elif default is not MISSING and (not isinstance(default, Field) or has_default(cast("Any", default))):
            defaults_begun = True


def _resolved(annotation: str, frame: FrameType | None) -> Any:
    caller = frame and frame.f_back
    if caller is None:
        return annotation
    holder = type("holder", (), {"__annotations__": {"it": annotation}})
    try:
        return get_type_hints(holder, caller.f_globals, dict(caller.f_locals), include_extras=True)["it"]
    except Exception:
        # A name that comes later: sample_fields() tries again, and names it if it never came.
        return annotation
