"""Sample types: dataclasses that become one msgpack map, and back."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, Field, dataclass, field, fields, is_dataclass
from types import FrameType, new_class
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, dataclass_transform, get_origin, get_type_hints

import msgpack
import numpy as np
from numpy.typing import NDArray

from .errors import SampleError, SchemaError
from .fields import SampleField, describe_field, pack_value, unpack_value

__all__ = ["PackableSample", "SampleBatch", "SampleField", "packable", "sample_fields"]

T = TypeVar("T")


class PackableSample:
    """What every sample type is: a dataclass whose fields msgpack can hold.

    Use ``@packable``, or subclass this and add ``@dataclass``.
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
            SchemaError: A field is annotated with something that a sample cannot hold.
        """
        name = type(self).__name__
        payload = {
            each.name: pack_value(each, getattr(self, each.name), name) for each in sample_fields(type(self))
        }
        try:
            return msgpack.packb(payload, default=_pack_numpy_scalar)
        except (TypeError, ValueError, OverflowError, RecursionError) as why:
            raise SampleError(
                f"A {name} holds something that msgpack cannot keep: {why}. Integers have 64 bits at most; "
                "a dict holds plain values, and an array goes into an NDArray field.",
                type_name=name,
            ) from None

    @property
    def as_wds(self) -> dict[str, Any]:
        """``{"__key__": a new unique key, "msgpack": the packed sample}``, as webdataset writes it."""
        # The operating system is asked each time: no two threads, forks or machines share a state.
        return {"__key__": os.urandom(16).hex(), "msgpack": self.packed}

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of ``packed``; arrays may be in either form that the field knows.

        Raises:
            SampleError: The bytes are no sample of this type.
        """
        try:
            # msgpack takes its limits from the length of the buffer, so a claimed size allocates nothing.
            payload = msgpack.unpackb(data, strict_map_key=False)
        except (msgpack.UnpackException, TypeError, ValueError, OverflowError, RecursionError) as why:
            raise SampleError(
                f"The bytes are no {cls.__name__}: they are no msgpack ({why}). "
                "The sample is damaged or was written by another program.",
                type_name=cls.__name__,
            ) from None
        return cls.from_data(payload)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """A sample from its msgpack map; an absent optional field is its default or None.

        Raises:
            SampleError: A required field is missing, an unknown one is there, or a value is of another kind.
        """
        name = cls.__name__
        if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SampleError(
                f"A {name} is a map of its fields, but a {type(data).__name__} is there. "
                "Use the sample type that the data was written with.",
                type_name=name,
            )
        values: dict[str, Any] = {}
        for each in sample_fields(cls):
            if each.name in data:
                values[each.name] = unpack_value(each, data[each.name], name)
        if len(values) != len(data):
            extra = next(str(key) for key in data if key not in values)
            raise SampleError(
                f"The data has a field {extra!r} that {name} has not. "
                "Use the sample type that it was written with, or add the field.",
                type_name=name,
                field=extra,
            )
        return _construct(cls, values)

    def __eq__(self, other: object) -> bool:
        """Same type and same values; arrays by shape and elements, NaN equal to NaN."""
        if type(other) is not type(self):
            return NotImplemented
        return all(
            _same(getattr(self, each.name), getattr(other, each.name))
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
    body = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }
    made = new_class(cls.__name__, (dataclass(eq=False)(cls), PackableSample), {}, lambda names: names.update(body))
    made.__annotations__ = inspect.get_annotations(cls)
    return cast("type[T]", made)


def sample_fields(sample_type: type) -> tuple[SampleField, ...]:
    """The fields of a sample type, in order.

    Raises:
        SchemaError: Not a dataclass, an annotation that names nothing, or one that a sample cannot hold.
    """
    # In the class's own namespace, not in a cache of ours: a class made in a function can go away.
    described = sample_type.__dict__.get("__sample_fields__")
    if described is None:
        described = _describe(sample_type)
        sample_type.__sample_fields__ = described  # type: ignore[attr-defined]
    return described


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
    return tuple(describe_field(each.name, hints.get(each.name, each.type), name) for each in declared)


def _prepare(cls: type, frame: FrameType | None) -> None:
    """Resolve string annotations where the class is defined, and let any field follow any other.

    Names of the defining function, which called the one of ``frame``, are gone later: this is the moment
    to look them up.
    """
    annotations = inspect.get_annotations(cls)
    for name, annotation in annotations.items():
        if isinstance(annotation, str):
            annotations[name] = _resolved(annotation, frame)
    if annotations:
        cls.__annotations__ = annotations
    defaults_begun = any(
        _has_default(each) and not each.kw_only
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
        elif default is not MISSING and (not isinstance(default, Field) or _has_default(cast("Any", default))):
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


def _has_default(declared: Field[Any]) -> bool:
    return declared.default is not MISSING or declared.default_factory is not MISSING


def _construct(cls: type[T], values: dict[str, Any]) -> T:
    """A sample of these values; the fields that are absent have a default or are optional."""
    after: dict[str, Any] = {}
    for declared, described in zip(fields(cast("Any", cls)), sample_fields(cls), strict=True):
        name = described.name
        if name in values:
            if not declared.init:
                after[name] = values.pop(name)
        elif not _has_default(declared):
            if not described.optional:
                raise SampleError(
                    f"The data has no field {name!r}, which {cls.__name__} needs. "
                    f"Use the sample type that it was written with, or give {name!r} a default.",
                    type_name=cls.__name__,
                    field=name,
                )
            values[name] = None
    made = cls(**values)
    for name, value in after.items():
        object.__setattr__(made, name, value)
    return made


def _pack_numpy_scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        return cast("np.generic[Any]", value).item()
    raise TypeError(f"a {type(value).__name__} inside a dict or list")


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            return False
        return _same_arrays(cast("NDArray[Any]", a), cast("NDArray[Any]", b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        ours, theirs = cast("Sequence[Any]", a), cast("Sequence[Any]", b)
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    if isinstance(a, dict) and isinstance(b, dict):
        left, right = cast("dict[Any, Any]", a), cast("dict[Any, Any]", b)
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return bool(a == b or (a != a and b != b))


def _same_arrays(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if a.shape != b.shape or a.dtype.names != b.dtype.names:
        return False
    if a.dtype.names:
        return all(_same_arrays(a[name], b[name]) for name in a.dtype.names)
    return bool(np.all((a == b) | ((a != a) & (b != b))))


class SampleBatch(Generic[T]):
    """Samples whose fields are read together.

    ``batch.field`` is the field of every sample: arrays stacked to ``(n, ...)``, all else (also arrays of
    which some are None) a list. It is made once and kept.

    Attributes:
        samples: The samples.
    """

    samples: list[T]

    def __init__(self, samples: Sequence[T]) -> None:
        self.samples = list(samples)

    def __getattr__(self, name: str) -> Any:
        samples: list[T] = self.__dict__.get("samples", [])
        if not samples or name not in {each.name for each in fields(cast("Any", samples[0]))}:
            raise AttributeError(f"The samples of this batch have no field {name!r}.")
        values = [getattr(sample, name) for sample in samples]
        if all(isinstance(value, np.ndarray) for value in values):
            try:
                values = np.stack(values)
            except (ValueError, TypeError):
                shapes = sorted({str(value.shape) for value in values})
                raise SampleError(
                    f"The arrays of {name!r} differ in shape ({', '.join(shapes[:5])}) and cannot be stacked. "
                    "Read samples one by one, or bring them to one shape before.",
                    field=name,
                ) from None
        # Found by normal attribute access from now on.
        self.__dict__[name] = values
        return values

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        kind = type(self.samples[0]).__name__ if self.samples else "nothing"
        return f"SampleBatch({len(self.samples)} x {kind})"
