"""Dataset[T] under PyTorch, where PyTorch is installed."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.shards.tar_samples import ShardWriter

if os.environ.get("CI"):
    # What CI is to prove it must not pass over.
    torch_data = importlib.import_module("torch.utils.data")
else:
    torch_data = pytest.importorskip("torch.utils.data", reason="torch is not installed")


@atdata.packable
class Row:
    n: int
    vector: NDArray[np.float32]


@pytest.fixture
def dataset(tmp_path: Path) -> atdata.Dataset[Row]:
    for shard in range(5):
        with (tmp_path / f"{shard}.tar").open("wb") as stream, ShardWriter(stream, first=10 * shard) as writer:
            for n in range(10 * shard, 10 * shard + 10):
                writer.write({"msgpack": Row(n=n, vector=np.full(4, n, np.float32)).packed})
    return atdata.Dataset[Row](f"{tmp_path}/{{0..4}}.tar")


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("workers", [0, 1, 2, 7])
def test_workers_of_a_dataloader_read_every_sample_exactly_once(dataset, workers):
    for stream in (dataset.ordered(), dataset.shuffled()):
        loader = torch_data.DataLoader(stream, batch_size=None, num_workers=workers)
        assert sorted(sample.n for sample in loader) == list(range(50))


def test_batches_pass_through_a_dataloader(dataset):
    loader = torch_data.DataLoader(dataset.ordered(4), batch_size=None, num_workers=2)
    assert sorted(n for batch in loader for n in batch.n) == list(range(50))


@pytest.mark.parametrize("workers", [0, 1])
def test_torch_does_not_warn_of_the_arrays_that_a_dataloader_collates(dataset, workers):
    # Warnings are errors here; in a worker, one would end the loader with an error.
    convert = torch_data.default_convert

    def collate(samples):
        return torch_data.default_collate([{"n": sample.n, "vector": sample.vector} for sample in samples])

    for stream in (dataset.ordered(), dataset.shuffled()):
        loader = torch_data.DataLoader(stream, batch_size=10, num_workers=workers, collate_fn=collate)
        found = [int(n) for batch in loader for n in batch["vector"][:, 0]]
        assert sorted(found) == list(range(50))
    for stream in (dataset.ordered(10), dataset.shuffled(batch_size=10)):
        for batch in torch_data.DataLoader(stream, batch_size=None, num_workers=workers):
            assert convert(batch.vector).shape == (10, 4)
            assert convert(batch.samples[0].vector).shape == (4,)


def test_ranks_and_workers_together_read_every_sample_exactly_once(dataset, monkeypatch):
    seen = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        loader = torch_data.DataLoader(dataset.ordered(), batch_size=None, num_workers=2)
        seen += [sample.n for sample in loader]
    assert sorted(seen) == list(range(50))


# New processes that load torch: seconds each.
@pytest.mark.slow
def test_a_process_group_tells_the_rank(dataset, tmp_path):
    code = (
        "import sys, torch.distributed as d\n"
        "import atdata_core as atdata\n"
        "from numpy.typing import NDArray\n"
        "@atdata.packable\n"
        "class Row:\n    n: int\n    vector: NDArray\n"
        "rank = int(sys.argv[1])\n"
        "d.init_process_group('gloo', init_method='file://' + sys.argv[2], rank=rank, world_size=2)\n"
        "print([s.n for s in atdata.Dataset[Row](sys.argv[3]).ordered()])\n"
        "d.destroy_process_group()\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), str(tmp_path / "meet"), dataset.url], stdout=subprocess.PIPE
        )
        for rank in range(2)
    ]
    seen = [json.loads(run.communicate(timeout=60)[0]) for run in runs]
    assert [len(part) for part in seen] == [30, 20]
    assert sorted(seen[0] + seen[1]) == list(range(50))


# New processes that load torch: seconds each.
@pytest.mark.slow
def test_a_stream_made_before_torch_was_loaded_is_still_taken(dataset):
    code = (
        "import sys\n"
        "import atdata_core as atdata\n"
        "from numpy.typing import NDArray\n"
        "@atdata.packable\n"
        "class Row:\n    n: int\n    vector: NDArray\n"
        "stream = atdata.Dataset[Row](sys.argv[1]).ordered()\n"
        "assert 'torch' not in sys.modules\n"
        "from torch.utils.data import DataLoader\n"
        "print(len(list(DataLoader(stream, batch_size=None, num_workers=2))))\n"
    )
    run = subprocess.run([sys.executable, "-c", code, dataset.url], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "50"
