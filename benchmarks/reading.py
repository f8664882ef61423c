"""Samples from local shards, as typed samples."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
import webdataset as wds

from atdata_core import Dataset
from benchmarks.data import Shards
from benchmarks.frame import Bench, Measured, NotInstalled, Reach, expect, row, seconds
from benchmarks.samples import Picture, Vector

BATCH = 256
UNDECODED = "webdataset, undecoded"
SPDL = "SPDL's `iter_tarfile` (C++), undecoded"


class Reader(NamedTuple):
    """What a reader of datasets does besides reading, in the version that was looked at."""

    name: str
    reads: str
    verifies: str
    decodes: str
    random_access: str


READERS = (
    Reader(
        "`Dataset` and `load_dataset` here",
        "tar: local, http, S3, blobs",
        "checksums of headers, the end of the archive, SHA-256 of the shards of a record",
        "to typed samples",
        "no",
    ),
    Reader(
        "WebDataset 1.0.2",
        "tar: local, and what `curl` and the like fetch",
        "nothing; it ends in silence at a damaged header, and where an archive is cut short",
        "where asked to; no arrays in msgpack",
        "no",
    ),
    Reader(
        "SPDL 0.8.0, `iter_tarfile`",
        "tar: bytes, or a file",
        "nothing; a damaged header and an archive that is cut short pass in silence",
        "no (pictures and sound by its other parts)",
        "no",
    ),
    Reader(
        "`wids` 0.1.11, no longer a part of WebDataset 1.0.2",
        "tar: local or fetched whole, listed in a JSON file",
        "MD5 where that file gives it",
        "by suffix; no arrays in msgpack",
        "yes",
    ),
    Reader(
        "MosaicML Streaming 0.13.0",
        "formats of its own; needs numpy before 2.2",
        "hashes where asked to",
        "yes",
        "yes",
    ),
    Reader(
        "LitData 0.2.76", "a format of its own, Parquet, MDS; needs torchvision", "no digests found", "yes", "yes"
    ),
    Reader(
        "Grain 0.2.18", "ArrayRecord, Parquet, TFRecord", "not looked at", "by one's own functions", "ArrayRecord"
    ),
)
"""Those of the field of today; only readers of plain tars can be peers here."""


def read_vectors(stream: Iterable[Any]) -> int:
    """How many typed vectors come; each is looked at."""
    count = 0
    for sample in stream:
        _ = sample.vec, sample.label
        count += 1
    return count


def read_batches(stream: Iterable[Any]) -> int:
    """How many vectors come in batches; those of each batch are stacked."""
    count = 0
    for batch in stream:
        count += batch.vec.shape[0]
    return count


def read_pictures(stream: Iterable[Any]) -> int:
    """How many typed pictures come; each is looked at."""
    count = 0
    for sample in stream:
        _ = sample.image, sample.caption
        count += 1
    return count


def read_undecoded(urls: list[str]) -> int:
    """How many samples webdataset gives, their bytes as they are."""
    count = 0
    for sample in wds.WebDataset(urls, shardshuffle=False):
        _ = sample["msgpack"]
        count += 1
    return count


def _decoded(shards: Shards) -> str:
    """What webdataset reaches where the samples are decoded as well, the way that one does it by hand."""

    def run() -> None:
        for sample in wds.WebDataset(shards.paths[:1], shardshuffle=False):
            values = msgpack.unpackb(sample["msgpack"])
            for name, value in values.items():
                if isinstance(value, bytes):
                    values[name] = np.load(io.BytesIO(value))

    each = shards.samples // len(shards.paths)
    return f"webdataset and then msgpack and numpy.load: {each / seconds(run):,.0f} samples/s"


def _walk(shards: Shards) -> None:
    """Walk tars of plain files without a look at anything but sizes, and unpack each."""
    count = 0
    for path in shards.paths:
        data, at = Path(path).read_bytes(), 0
        while data[at]:
            size = int(data[at + 124 : at + 135], 8)
            msgpack.unpackb(data[at + 512 : at + 512 + size])
            at += 512 + size + -size % 512
            count += 1
    expect(count, shards.samples, "samples of the walk")


def _rest(shards: Shards) -> str:
    """What the reading of small samples takes beyond a walk."""
    dataset = Dataset[Vector](shards.paths[:1])
    packed, unpack = [sample.packed for sample in dataset.ordered()], dataset.unpacker(writable=True)

    def made() -> None:
        for each in packed:
            unpack(each)

    walked, objects = shards.samples / seconds(lambda: _walk(shards)), len(packed) / seconds(made)
    return (
        f"an unchecked walk over the same bytes with msgpack.unpackb gives {walked:,.0f} samples/s. Most of the "
        f"rest makes typed samples, {objects:,.0f} a second of bytes in memory: unpacking, an array with memory of "
        "its own, an object, a look at the type of each field. What is left checks headers and keys"
    )


def _compared(bench: Bench, shards: Shards, read: Any, stream: Iterable[Any], note: str = "") -> Measured:
    def ours() -> None:
        expect(read(stream), shards.samples, "samples of ours")

    def peer() -> None:
        expect(read_undecoded(shards.paths), shards.samples, "samples of webdataset's")

    return Measured(bench.race(ours, peer, amount=shards.samples, unit="samples/s"), note=note)


@row("read `ordered()`, float32[128] + int, webdataset's own tars", peer=UNDECODED, reach=Reach(ratio=8))
def ordered_on_their_tars(bench: Bench) -> Measured:
    """Typed samples, PAX headers."""
    shards = bench.data.their_vectors
    return _compared(bench, shards, read_vectors, Dataset[Vector](shards.paths).ordered(), _decoded(shards))


@row("read `ordered()`, float32[128] + int, our tars", peer=UNDECODED, reach=Reach(ratio=5))
def ordered_on_our_tars(bench: Bench) -> Measured:
    """Typed samples."""
    shards = bench.data.our_vectors
    return _compared(bench, shards, read_vectors, Dataset[Vector](shards.paths).ordered(), _decoded(shards))


@row(
    "read `ordered()`, float32[128] + int, our tars, beside a faster reader",
    peer=SPDL,
    reach=Reach(ratio=0.35),
    optional=True,
)
def ordered_beside_spdl(bench: Bench) -> Measured:
    """The peer checks nothing and decodes nothing."""
    if importlib.util.find_spec("spdl") is None:
        raise NotInstalled("SPDL is not installed; `make bench` installs it (pip install --group bench)")
    from spdl.io import iter_tarfile

    shards = bench.data.our_vectors

    def ours() -> None:
        expect(read_vectors(Dataset[Vector](shards.paths).ordered()), shards.samples, "samples of ours")

    def peer() -> None:
        files = (file for path in shards.paths for file in iter_tarfile(Path(path).read_bytes()))
        expect(sum(1 for _, content in files if content), shards.samples, "samples of SPDL's")

    return Measured(bench.race(ours, peer, amount=shards.samples, unit="samples/s"), note=_rest(shards))


@row("read `ordered(256)` with `batch.vec` stacked, webdataset's own tars", peer=UNDECODED, reach=Reach(ratio=10))
def batches_on_their_tars(bench: Bench) -> Measured:
    """Batches, PAX headers."""
    shards = bench.data.their_vectors
    return _compared(bench, shards, read_batches, Dataset[Vector](shards.paths).ordered(BATCH))


@row("read `ordered(256)` with `batch.vec` stacked, our tars", peer=UNDECODED, reach=Reach(ratio=6))
def batches_on_our_tars(bench: Bench) -> Measured:
    """Batches."""
    shards = bench.data.our_vectors
    return _compared(bench, shards, read_batches, Dataset[Vector](shards.paths).ordered(BATCH))


@row(
    "read shuffled batches of 256 with `batch.vec` stacked, webdataset's own tars",
    peer=UNDECODED,
    reach=Reach(ratio=10),
)
def shuffled_on_their_tars(bench: Bench) -> Measured:
    """Shuffled batches, PAX headers; the peer does not shuffle."""
    shards = bench.data.their_vectors
    return _compared(bench, shards, read_batches, Dataset[Vector](shards.paths).shuffled(batch_size=BATCH))


@row("read shuffled batches of 256 with `batch.vec` stacked, our tars", peer=UNDECODED, reach=Reach(ratio=6))
def shuffled_on_our_tars(bench: Bench) -> Measured:
    """Shuffled batches; the peer does not shuffle."""
    shards = bench.data.our_vectors
    return _compared(bench, shards, read_batches, Dataset[Vector](shards.paths).shuffled(batch_size=BATCH))


@row("read `ordered()`, 224x224x3 uint8 + str", peer=UNDECODED, reach=Reach(ratio=2))
def pictures(bench: Bench) -> Measured:
    """Large samples."""
    shards = bench.data.our_pictures
    return _compared(bench, shards, read_pictures, Dataset[Picture](shards.paths).ordered(), _decoded(shards))


ROWS = (
    ordered_on_their_tars,
    ordered_on_our_tars,
    ordered_beside_spdl,
    batches_on_their_tars,
    batches_on_our_tars,
    shuffled_on_their_tars,
    shuffled_on_our_tars,
    pictures,
)
