"""The samples that rows read and write."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from atdata_core import packable


@packable
class Vector:
    """A small sample: 128 float32 and a number, 538 bytes packed or a few less."""

    vec: NDArray[np.float32]
    label: int


@packable
class Picture:
    """A large sample: a picture of 224 x 224 pixels, 150 kB, and what it shows."""

    image: NDArray[np.uint8]
    caption: str


def vectors(count: int) -> Iterator[Vector]:
    """The same so many samples each time."""
    draw = np.random.default_rng(0)
    for number in range(count):
        yield Vector(vec=draw.standard_normal(128, np.float32), label=number)


def pictures(count: int) -> Iterator[Picture]:
    """The same so many samples each time."""
    draw = np.random.default_rng(0)
    for number in range(count):
        image = draw.integers(0, 256, (224, 224, 3), np.uint8)
        yield Picture(image=image, caption=f"a picture of the number {number}")
