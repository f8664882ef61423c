"""The samples of a batch, unpacked field by field: what all of them have in common is looked at once."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from types import CodeType
from typing import Any, Generic, TypeVar, cast

from numpy.typing import NDArray

from ..errors import SampleError
from .arrays import array_view, decode_array, of_one_layout, stack_packed
from .field_types import SampleField, plain_type, unpack_value
from .sample_types import sample_fields, unpacks_as_ours
from .unpacking import packed_maps

T = TypeVar("T")


def column_type(sample_type: type[T]) -> ColumnType[T] | None:
    """How to unpack many samples field by field; None where a sample may be more than the values of its fields.

    It may be where anything but ``@dataclass`` has a say in what becomes of the values: an ``__init__`` or
    ``__post_init__``, a property, a ``from_bytes``.
    """
    maker: Any = next(each for each in sample_type.__mro__ if "__init__" in each.__dict__)
    generated = (
        maker.__dict__.get("__has_own_init__") is False
        # Where @dataclass compiles what it makes, and nobody has put another one in its place.
        and _compiled_from(maker.__init__) == "<string>"
        and all(each.init for each in fields(cast("Any", sample_type)))
        and not hasattr(sample_type, "__post_init__")
    )
    plain = (
        sample_type.__new__ is object.__new__
        and sample_type.__getattribute__ is object.__getattribute__
        and (sample_type.__setattr__ is object.__setattr__ or cast("Any", sample_type).__dataclass_params__.frozen)
        and not hasattr(sample_type, "__getattr__")
        and not any(
            hasattr(inspect.getattr_static(sample_type, each.name, None), "__set__")
            for each in sample_fields(sample_type)
        )
    )
    if not (generated and plain and unpacks_as_ours(sample_type)):
        return None
    return ColumnType(sample_type, sample_fields(sample_type))


def _compiled_from(function: Any) -> str:
    code: CodeType | None = getattr(function, "__code__", None)
    return code.co_filename if code else ""


@dataclass(frozen=True)
class ColumnType(Generic[T]):
    """A sample type of which a sample is nothing but the values of its fields."""

    sample_type: type[T]
    described: Sequence[SampleField]

    def unpack(self, packed: Sequence[Any], *, writable: bool) -> Columns[T] | None:
        """Packed samples as columns; None where they differ from each other in more than their values.

        Whether each is a sample of this type has then to be found one by one. What comes back is checked.

        Args:
            packed: At least one.
            writable: The arrays of single samples are to have memory of their own.
        """
        name = self.sample_type.__name__
        in_place = frozenset(each.name for each in self.described if each.kind == "ndarray")
        view = decode_array if writable else array_view()
        columns: dict[str, list[Any]] = {}
        arrays: set[str] = set()
        try:
            rows = packed_maps(packed, name, in_place)
            if set(map(type, rows)) != {dict} or set(map(len, rows)) != {len(self.described)}:
                return None
            for field in self.described:
                values = list(map(itemgetter(field.name), rows))
                kinds = set(map(type, values))
                plain = plain_type(field)
                if plain:
                    if kinds != {plain}:
                        return None
                elif field.kind == "ndarray" and kinds <= {bytes, memoryview}:
                    if not of_one_layout(values):
                        return None
                    arrays.add(field.name)
                else:
                    values = [unpack_value(field, value, name, view) for value in values]
                columns[field.name] = values
        except (KeyError, SampleError):
            return None
        return Columns(self.sample_type, columns, frozenset(arrays), writable)


@dataclass(frozen=True)
class Columns(Generic[T]):
    """The values of each field, in the order of the samples; those of ``arrays`` still packed, of one layout."""

    sample_type: type[T]
    values: dict[str, list[Any]]
    arrays: frozenset[str]
    writable: bool

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def column(self, name: str) -> list[Any] | NDArray[Any] | None:
        """The values of a field, those of ``arrays`` stacked in memory of their own; None where there is none."""
        if name in self.arrays:
            return stack_packed(self.values[name])
        return list(self.values[name]) if name in self.values else None

    def samples(self) -> list[T]:
        """The samples themselves."""
        columns = [
            list(map(decode_array if self.writable else array_view(), values)) if name in self.arrays else values
            for name, values in self.values.items()
        ]
        make = cast("Any", self.sample_type)
        return [make(**dict(zip(self.values, row, strict=True))) for row in zip(*columns, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        # A view on a part of a shard cannot be sent to another process.
        values = {
            name: list(map(bytes, values)) if name in self.arrays else values
            for name, values in self.values.items()
        }
        return {**self.__dict__, "values": values}
