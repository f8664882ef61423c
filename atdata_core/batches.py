"""Samples whose fields are read together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar, cast

import numpy as np

from .errors import SampleError

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
