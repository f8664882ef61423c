"""The sandbox of a first run, and in it the 1,797 handwritten digits of UCI.

They are as scikit-learn's package carries them (CC BY 4.0).
"""

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import EntryNotFoundError
from atdata_core.local import LocalDatasetEntry, LocalIndex, Repo
from atdata_core.samples.metadata import pack
from atdata_core.shards.tar_samples import ShardWriter
from atdata_pipelines.config.sandbox_lab import FOLDER, LAB, PUBLIC, lab_environ
from atdata_pipelines.sandbox import Sandbox, SandboxError

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
    # The file alone: to import scikit-learn takes longer than all the rest of storing.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise SandboxError("The digits are a file of scikit-learn. Do: pip install 'atdata-pipelines[demo]'")
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    for row in table:
        yield Digit(image=row[:64].reshape(8, 8), label=int(row[64]))


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


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """The sandbox in ``.sandbox/``, its variables set. Those of the shell are put aside: they may name the real
    network.
    """
    for name in [name for name in os.environ if name.startswith(("ATDATA_", "AWS_"))]:
        del os.environ[name]
    with Sandbox(FOLDER, buckets=(LAB, PUBLIC)) as box:
        os.environ.update(lab_environ(box))
        yield box


def store_digits(box: Sandbox) -> tuple[LocalDatasetEntry, bool]:
    """The digits in the lab's index, and whether they were put there now."""
    index = LocalIndex()
    try:
        return index.get_entry_by_name(NAME), False
    except EntryNotFoundError:
        pass
    index.publish_schema(Digit, version="1.0.0")
    with TemporaryDirectory() as folder:
        about = Path(folder, "metadata.msgpack")
        about.write_bytes(pack(METADATA))
        dataset = atdata.Dataset[Digit](write_shards(Path(folder)), metadata_url=str(about))
        repo = Repo(s3_credentials=box.s3, hive_path=f"{LAB}/{NAME}", redis=index.redis)
        return repo.insert(dataset, name=NAME, maxcount=SAMPLES_PER_SHARD)[0], True
