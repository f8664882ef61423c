"""A PyTorch DataLoader with several processes."""

from __future__ import annotations

import importlib.util
from typing import Any

import webdataset as wds

from atdata_core import Dataset
from benchmarks.data import Shards
from benchmarks.frame import Bench, Measured, NotInstalled, Reach, expect, row
from benchmarks.reading import BATCH, read_batches, read_vectors
from benchmarks.samples import Vector

WORKERS = 2


def _loader(samples: Any) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(samples, batch_size=None, num_workers=WORKERS)


def _shards(bench: Bench) -> Shards:
    if importlib.util.find_spec("torch") is None:
        raise NotInstalled("PyTorch is not installed; `make bench` installs it (pip install --group bench)")
    return bench.data.our_vectors


@row(
    f"`DataLoader` with {WORKERS} processes, single samples, float32[128] + int, our tars",
    peer="webdataset, undecoded, in the same DataLoader",
    reach=Reach(ratio=1),
    optional=True,
)
def single_samples(bench: Bench) -> Measured:
    """Each sample is sent from process to process by itself."""
    every = _shards(bench)
    # A shard for each process: one by one is slow.
    shards = Shards(every.paths[:WORKERS], every.samples * WORKERS // len(every.paths))

    def ours() -> None:
        loader = _loader(Dataset[Vector](shards.paths).ordered())
        expect(read_vectors(loader), shards.samples, "samples of ours")

    def peer() -> None:
        loader = _loader(wds.WebDataset(shards.paths, shardshuffle=False))
        expect(sum(1 for sample in loader if sample["msgpack"]), shards.samples, "samples of webdataset's")

    note = (
        "nearly all of the time is torch's: each sample goes through a queue by itself and is asked for by itself. "
        "What ours gains in reading it loses in pickling an object with an array in place of packed bytes"
    )
    return Measured(bench.race(ours, peer, amount=shards.samples, unit="samples/s", repeats=3), note=note)


@row(
    f"`DataLoader` with {WORKERS} processes, batches of {BATCH} with `batch.vec` stacked, our tars",
    peer=f"webdataset, undecoded, batches of {BATCH}, in the same DataLoader",
    reach=Reach(ratio=1),
    optional=True,
)
def batches(bench: Bench) -> Measured:
    """Batches are sent from process to process."""
    shards = _shards(bench)

    def ours() -> None:
        loader = _loader(Dataset[Vector](shards.paths).ordered(BATCH))
        expect(read_batches(loader), shards.samples, "samples of ours")

    def peer() -> None:
        loader = _loader(wds.WebDataset(shards.paths, shardshuffle=False).batched(BATCH))
        expect(sum(len(batch["msgpack"]) for batch in loader), shards.samples, "samples of webdataset's")

    return Measured(bench.race(ours, peer, amount=shards.samples, unit="samples/s", repeats=4))


ROWS = (single_samples, batches)
