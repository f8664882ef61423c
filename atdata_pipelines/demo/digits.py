"""The 1,797 handwritten digits of UCI, as scikit-learn's package carries them (CC BY 4.0)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.shards.tar_samples import ShardWriter

NAME = "digits"
SAMPLES_PER_SHARD = 500

METADATA = {
    "description": "1,797 images of handwritten digits, 8 x 8 pixels in 17 shades of grey, with labels.",
    "tags": ["images", "handwriting", "classification"],
    "license": "CC-BY-4.0",
    "source": "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    "authors": ["E. Alpaydin", "C. Kaynak"],
    "doi": "10.24432/C50P49",
}


@atdata.packable
class Digit:
    """One handwritten digit: an 8 x 8 image with values 0 to 16, and which digit it is."""

    image: NDArray[np.uint8]
    label: int


def digits() -> Iterator[Digit]:
    """All digits, in the order of the original file."""
    from sklearn.datasets import load_digits

    loaded: Any = load_digits()
    for image, label in zip(loaded.images, loaded.target, strict=True):
        yield Digit(image=image.astype(np.uint8), label=int(label))


def write_shards(folder: Path) -> list[str]:
    """Write the digits as tars of ``SAMPLES_PER_SHARD`` samples; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = list(digits())
    paths: list[str] = []
    for start in range(0, len(samples), SAMPLES_PER_SHARD):
        path = folder / f"digits-{len(paths):06d}.tar"
        with path.open("wb") as file, ShardWriter(file) as shard:
            for number, sample in enumerate(samples[start : start + SAMPLES_PER_SHARD], start):
                shard.write({**sample.as_wds, "__key__": f"{number:06d}"})
        paths.append(str(path))
    return paths


def drawn(image: NDArray[Any]) -> str:
    """An image of a digit, two characters a pixel."""
    shades = " .:-=+*#%@"
    rows = (np.asarray(image, dtype=float) / 16 * (len(shades) - 1)).round().astype(int)
    return "\n".join("".join(shades[value] * 2 for value in row).rstrip() for row in rows)
