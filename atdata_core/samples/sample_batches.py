"""Samples whose fields are read together: made of samples, or unpacked field by field.

What all samples of a batch have in common is then looked at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from types import CodeType
from typing import Any, Generic, Self, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import SampleError
from .arrays import of_one_layout, stack_packed, writable_view
from .dict_samples import DictSample
from .field_types import packed_maps, plain_type, unpack_value
from .sample_types import sample_fields, unpacks_as_ours

T = TypeVar("T")


class SampleBatch(Generic[T]):
    """Samples whose fields are read together.

    ``batch.field`` is the field of every sample: arrays stacked to ``(n, ...)``, all else (also arrays of
    which some are None) a list. It is made once and kept.

    Attributes:
        samples: The samples.
        sample_type: Their type, unless that is the name of a field.
    """

    samples: list[T]
    sample_type: type[T]

    def __init__(self, samples: Sequence[T]) -> None:
        self.samples = list(samples)

    @classmethod
    def of_columns(cls, columns: Columns[Any]) -> Self:
        """A batch whose samples are made when they are asked for: arrays are then stacked from the packed ones."""
        batch = cls.__new__(cls)
        batch.__dict__["_columns"] = columns
        return batch

    def __getattr__(self, name: str) -> Any:
        columns: Columns[T] | None = self.__dict__.get("_columns")
        if name == "samples" and columns is not None:
            # They may be changed: from now on they are what counts. Threads that come together get the same list.
            samples = self.__dict__.setdefault("samples", columns.samples())
            self.__dict__.pop("_columns", None)
            return samples
        values = self._values(name) if columns is None else columns.column(name)
        if values is None and name == "sample_type":
            return self._sample_type()
        if values is None:
            raise AttributeError(
                f"No sample attribute named {name!r}: the samples of this batch have no such field."
            )
        if isinstance(values, list) and all(isinstance(value, np.ndarray) for value in values):
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

    def _values(self, name: str) -> list[Any] | None:
        samples: list[T] = self.__dict__.get("samples", [])
        if not samples:
            return None
        first: Any = samples[0]
        if name not in (first if isinstance(first, DictSample) else {each.name for each in fields(first)}):
            return None
        return [getattr(sample, name) for sample in samples]

    def _sample_type(self) -> type[T]:
        columns: Columns[T] | None = self.__dict__.get("_columns")
        if columns is not None:
            return columns.sample_type
        # ``SampleBatch[T](samples)`` leaves T there.
        (stated,) = get_args(self.__dict__.get("__orig_class__")) or (None,)
        if stated is None and not self.samples:
            raise AttributeError("An empty batch does not know its sample_type. Write SampleBatch[MySample]([]).")
        return stated or type(self.samples[0])

    def __len__(self) -> int:
        return len(self.__dict__.get("_columns") or self.samples)

    def __repr__(self) -> str:
        kind = type(self.samples[0]).__name__ if self.samples else "nothing"
        return f"SampleBatch({len(self.samples)} x {kind})"


def unpacks_by_field(sample_type: type) -> bool:
    """Whether samples of a type are nothing but the values of their fields, so that ``unpack_columns`` can be used.

    One may be more where anything but ``@dataclass`` has a say in what becomes of the values: an ``__init__`` or
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
    return generated and plain and unpacks_as_ours(sample_type)


def _compiled_from(function: Any) -> str:
    code: CodeType | None = getattr(function, "__code__", None)
    return code.co_filename if code else ""


def unpack_columns(sample_type: type[T], packed: Sequence[Any]) -> Columns[T] | None:
    """Packed samples, one at least, as columns; None where they differ from each other in more than their values.

    Whether each is a sample of this type has then to be found one by one. What comes back is checked. Nobody else
    may have those of the packed samples that can be written to.
    """
    described, name = sample_fields(sample_type), sample_type.__name__
    in_place = frozenset(each.name for each in described if each.kind == "ndarray")
    view = writable_view()
    columns: dict[str, list[Any]] = {}
    arrays: set[str] = set()
    try:
        rows = packed_maps(packed, name, in_place)
        if set(map(type, rows)) != {dict} or set(map(len, rows)) != {len(described)}:
            return None
        for field in described:
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
    return Columns(sample_type, columns, frozenset(arrays))


@dataclass(frozen=True)
class Columns(Generic[T]):
    """The values of each field, in the order of the samples; those of ``arrays`` still packed, of one layout."""

    sample_type: type[T]
    values: dict[str, list[Any]]
    arrays: frozenset[str]

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
            list(map(writable_view(), values)) if name in self.arrays else values
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
