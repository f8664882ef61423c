"""The samples of a batch, unpacked field by field: what all of them have in common is looked at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, TypeVar, cast

from numpy.typing import NDArray

from .arrays import array_view, decode_array, of_one_layout, stack_packed
from .errors import SampleError
from .fields import SampleField, plain_type, unpack_value
from .unpacking import packed_maps

T = TypeVar("T")


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
