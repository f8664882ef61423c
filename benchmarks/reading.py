"""Samples from local shards, as typed samples."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import msgpack
import numpy as np
import webdataset as wds

from atdata_core import Dataset
from benchmarks.data import Shards
from benchmarks.frame import Bench, Measured, Reach, expect, row, seconds
from benchmarks.samples import Picture, Vector

BATCH = 256
UNDECODED = "webdataset, undecoded"


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
    batches_on_their_tars,
    batches_on_our_tars,
    shuffled_on_their_tars,
    shuffled_on_our_tars,
    pictures,
)
