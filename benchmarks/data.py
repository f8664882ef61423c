"""Shards of vectors and of pictures in local files, written by webdataset and by us."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import webdataset as wds

from atdata_core.shards.tar_samples import ShardWriter
from benchmarks.samples import pictures, vectors

SHARDS = 4


class Shards(NamedTuple):
    """Paths of shards, and the samples in all of them."""

    paths: list[str]
    samples: int


class Data:
    """Shards in files of a folder, each kind made when it is first asked for."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self._folder = folder / "data"
        self._vectors = 4_000 if quick else 24_000
        self._pictures = 200 if quick else 2_000

    @cached_property
    def their_vectors(self) -> Shards:
        """As webdataset's own writer makes them: each member has a PAX header, for its time of modification."""
        return self._written("theirs", vectors(self._vectors), self._vectors, wds.TarWriter)

    @cached_property
    def our_vectors(self) -> Shards:
        """As this project writes them."""
        return self._written("ours", vectors(self._vectors), self._vectors, ShardWriter)

    @cached_property
    def our_pictures(self) -> Shards:
        """As this project writes them."""
        return self._written("pictures", pictures(self._pictures), self._pictures, ShardWriter)

    def _written(self, name: str, samples: Iterable[Any], count: int, writer: Any) -> Shards:
        folder = self._folder / name
        folder.mkdir(parents=True)
        paths: list[str] = []
        remaining = iter(samples)
        for shard in range(SHARDS):
            path = folder / f"data-{shard:03d}.tar"
            with path.open("wb") as file, writer(file) as sink:
                for number in range(count // SHARDS):
                    sample = next(remaining)
                    sink.write({"__key__": f"{shard:03d}{number:06d}", "msgpack": sample.packed})
            paths.append(str(path))
        return Shards(paths, count)
