from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis as redis_py
from numpy.typing import NDArray

from atdata_core import Dataset, packable
from atdata_core.local import LocalIndex
from atdata_core.shards.tar_samples import ShardWriter


@packable
class Measured:
    """A vector and what it is."""

    features: NDArray[np.float32]
    label: int


@pytest.fixture
def client(redis_url: str) -> Iterator[redis_py.Redis]:
    with redis_py.Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def index(client: redis_py.Redis) -> LocalIndex:
    return LocalIndex(client)


@pytest.fixture
def sample_type() -> type[Measured]:
    return Measured


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset[Measured]]:
    """Writes shards of numbered samples into this test's folder."""

    def make(count: int = 5, shards: int = 1, name: str = "data") -> Dataset[Measured]:
        paths: list[str] = []
        for shard in range(shards):
            path = tmp_path / f"{name}-{shard:03d}.tar"
            with path.open("wb") as stream, ShardWriter(stream) as writer:
                for number in range(count):
                    sample: Any = Measured(features=np.full(3, number, np.float32), label=shard * count + number)
                    writer.write({"__key__": f"{shard}-{number:04d}", "msgpack": sample.packed})
            paths.append(str(path))
        return Dataset[Measured](paths if shards > 1 else paths[0])

    return make
