"""Samples into shards."""

from __future__ import annotations

from typing import Any

import webdataset as wds

from atdata_core.shards.tar_samples import ShardWriter
from benchmarks.frame import Bench, Measured, Race, Reach, row
from benchmarks.samples import vectors

TAR_WRITER = "webdataset.TarWriter"


def _compared(bench: Bench, samples: list[Any]) -> Race:
    path = bench.folder / "written.tar"

    def writing(writer: Any) -> None:
        with path.open("wb") as file, writer(file) as sink:
            for sample in samples:
                sink.write(sample if isinstance(sample, dict) else sample.as_wds)

    race = bench.race(
        lambda: writing(ShardWriter), lambda: writing(wds.TarWriter), amount=len(samples), unit="samples/s"
    )
    path.unlink()
    return race


@row("write `sample.as_wds` to a shard, float32[128] + int", peer=TAR_WRITER, reach=Reach(ratio=3))
def typed_samples(bench: Bench) -> Measured:
    """Samples are packed while they are written, by both the same way."""
    return Measured(
        _compared(bench, list(vectors(bench.size(20_000, 2_000)))),
        note="making `as_wds` of a sample is this project's work in both columns",
    )


@row("write packed samples to a shard, float32[128] + int", peer=TAR_WRITER, reach=Reach(ratio=3))
def packed_samples(bench: Bench) -> Measured:
    """The writers alone."""
    return Measured(_compared(bench, [sample.as_wds for sample in vectors(bench.size(20_000, 2_000))]))


ROWS = (typed_samples, packed_samples)
