"""Samples whose fields are read together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import numpy as np

from ..errors import SampleError

if TYPE_CHECKING:
    from .columns import Columns

T = TypeVar("T")


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
        if values is None:
            raise AttributeError(f"The samples of this batch have no field {name!r}.")
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
        if not samples or name not in {each.name for each in fields(cast("Any", samples[0]))}:
            return None
        return [getattr(sample, name) for sample in samples]

    def __len__(self) -> int:
        return len(self.__dict__.get("_columns") or self.samples)

    def __repr__(self) -> str:
        kind = type(self.samples[0]).__name__ if self.samples else "nothing"
        return f"SampleBatch({len(self.samples)} x {kind})"
