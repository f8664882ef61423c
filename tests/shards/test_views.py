"""Looking at a dataset without reading it all, and as the tables of other libraries."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import RefusedError, SampleError
from atdata_core.shards import conversions
from atdata_core.shards.data_sources import ListedShards
from atdata_core.shards.tar_samples import ShardWriter
from libraries import library


@atdata.packable
class Row:
    n: int
    word: str | None
    image: NDArray[np.uint8]


class Shards(ListedShards):
    """Shards in memory; ``read`` counts the bytes that were taken of each."""

    def __init__(self, count=5, samples=10, size=2):
        self.tars, self.read = {}, {}
        for number in range(count):
            stream = io.BytesIO()
            with ShardWriter(stream, first=number * samples) as writer:
                for n in range(number * samples, (number + 1) * samples):
                    word = None if n % 3 else str(n)
                    writer.write({"msgpack": Row(n, word, np.full((size, size), n % 256, np.uint8)).packed})
            self.tars[f"{number}.tar"] = stream.getvalue()

    def list_shards(self):
        return list(self.tars)

    def open_shard(self, url):
        shards, self.read[url] = self, 0

        class Counted(io.BytesIO):
            def read(self, size=-1, /):
                data = super().read(size)
                shards.read[url] += len(data)
                return data

        return Counted(self.tars[url])


@pytest.fixture
def ds():
    return atdata.Dataset[Row](Shards(), count=50)


def is_even(row):
    return row.n % 2 == 0


def numbered(row):
    return {"n": row.n, "mean": float(row.image.mean())}


def of(rows):
    return [row.n for row in rows]


def test_the_first_samples_are_read_and_no_more():
    shards = Shards(samples=100, size=300)
    assert of(atdata.Dataset[Row](shards).head(3)) == [0, 1, 2]
    assert list(shards.read) == ["0.tar"]
    assert shards.read["0.tar"] < len(shards.tars["0.tar"]) / 2


def test_the_number_of_samples_is_told_where_it_is_known_and_else_as_of_an_iterator(ds):
    assert (len(ds), len(ds.map(numbered)), len(ds.select(range(5, 9)))) == (50, 50, 4)
    for unknown in (atdata.Dataset[Row](Shards()), ds.filter(is_even)):
        with pytest.raises(TypeError, match=r"is not known before they are read\. sum\(1 for _ in ds\)"):
            len(unknown)
        assert unknown
        assert list(unknown)


def test_samples_are_selected_by_their_places_in_the_order_that_is_asked_for(ds):
    for places in (range(3, 47, 4), [7], [], [40, 2, 2, 41, 0], np.array([30, 1])):
        assert of(ds.select(places)) == list(places)
    assert of(ds.filter(is_even).select([3, 1])) == [6, 2]
    assert of(ds.select(range(10)).filter(is_even)) == [0, 2, 4, 6, 8]
    with pytest.raises(IndexError, match="There is no sample 50: there are 50"):
        list(ds.select([3, 50]))
    with pytest.raises(RefusedError, match="-1 is before it"):
        ds.select([3, -1])
    shards = Shards()
    assert of(atdata.Dataset[Row](shards).select([12])) == [12]
    assert list(shards.read) == ["0.tar", "1.tar"]


def test_a_sample_that_is_selected_twice_is_two_samples(ds):
    first, again, last = ds.select([3, 3, 3])
    first.image[:] = 9
    again.word = "changed"
    assert [row.image.max() for row in (first, again, last)] == [9, 3, 3]
    assert [row.word for row in (first, again, last)] == ["3", "changed", "3"]


def test_positions_are_whole_numbers_of_any_kind(ds):
    assert of(ds.select(np.array([2, 1], np.uint8))) == [2, 1]
    for wrong in (1.5, "1", None):
        with pytest.raises(TypeError, match=rf"whole numbers, and not {wrong!r}\."):
            ds.select([1, wrong])


def test_a_filter_and_a_map_are_kept_in_batches_and_when_shuffled(ds):
    even = ds.filter(is_even)
    assert of(even) == list(range(0, 50, 2))
    batches = list(even.ordered(batch_size=4))
    assert [len(batch) for batch in batches] == [4] * 6 + [1]
    assert batches[0].image.shape == (4, 2, 2)
    shuffled = of(even.shuffled(seed=3))
    assert shuffled != sorted(shuffled) == list(range(0, 50, 2))
    assert of(even.shuffled(seed=3)) == shuffled
    assert sorted(n for batch in even.shuffled(batch_size=4) for n in batch.n) == sorted(shuffled)
    means = list(even.map(numbered).ordered(batch_size=10))
    assert (means[0].mean[1], means[0].n[1]) == (2.0, 2)
    assert next(iter(ds.map(lambda row: (row.n, row.word)).ordered(2))) == [(0, "0"), (1, None)]
    chosen = of(ds.select(range(20)).shuffled(seed=1))
    assert chosen != sorted(chosen) == list(range(20))


def test_nothing_is_asked_of_a_view_before_it_is_read_and_each_pass_asks_anew(ds):
    asked = []
    view = ds.filter(lambda row: asked.append(row.n) or row.n < 2)
    assert not asked
    assert [of(view), of(view)] == [[0, 1], [0, 1]]
    assert len(asked) == 100


def test_a_view_is_no_dataset_that_an_entry_could_name(ds):
    # It has no shards: whoever took those of its dataset would lose the filter.
    assert not isinstance(ds.filter(is_even), atdata.Dataset)
    with pytest.raises(AttributeError, match=r"no 'shard_list'\. It has no shards.*write its samples to tars"):
        ds.filter(is_even).shard_list  # noqa: B018


def test_samples_become_arrays_of_numpy(ds):
    found = ds.select(range(4)).to_numpy()
    assert found["n"].tolist() == [0, 1, 2, 3]
    assert (found["image"].shape, found["image"].dtype) == ((4, 2, 2), np.uint8)
    assert found["word"].tolist() == ["0", None, None, "3"]
    ragged = ds.select([1, 2]).map(lambda row: {"a": np.zeros(row.n), "big": 2**70}).to_numpy()
    assert [array.shape for array in ragged["a"]] == [(1,), (2,)]
    assert ragged["big"].tolist() == [2**70, 2**70]
    assert ds.select([]).to_numpy() == {}
    with pytest.raises(SampleError, match=r"not of a tuple\. Let map\(\) return a dict"):
        ds.map(lambda row: (row.n,)).to_numpy()


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32", "bool", "datetime64[s]"])
def test_numbers_of_numpy_keep_their_kind(ds, dtype):
    found = ds.select(range(4)).map(lambda row: {"m": np.array(row.n).astype(dtype)[()]}).to_numpy()["m"]
    assert (found.dtype, found.astype(int).tolist()) == (dtype, [0, 1, 1, 1] if dtype == "bool" else [0, 1, 2, 3])


def test_samples_become_a_table_of_pandas(ds):
    library("pandas")
    frame = ds.select(range(4)).to_pandas()
    assert list(frame.columns) == ["n", "word", "image"]
    assert frame["n"].sum() == 6
    assert frame["word"].isna().tolist() == [False, True, True, False]
    assert frame["image"][3].tolist() == [[3, 3], [3, 3]]


def test_samples_become_a_table_of_arrow_and_of_hugging_face(ds):
    arrow = library("pyarrow")
    table = ds.select(range(4)).to_arrow()
    assert table.schema.field("n").type == arrow.int64()
    assert table.schema.field("image").type == arrow.list_(arrow.list_(arrow.uint8(), 2), 2)
    assert table["image"][3].as_py() == [[3, 3], [3, 3]]
    assert table["word"].to_pylist() == ["0", None, None, "3"]
    with pytest.raises(SampleError, match=r"Arrow cannot hold the values of 'z'.*map\(\)"):
        ds.map(lambda row: {"z": 1j}).to_arrow()
    with pytest.raises(SampleError, match="Arrow cannot hold the values of 'z'"):
        ds.map(lambda row: {"z": 2**70}).to_arrow()
    library("datasets")
    rows = ds.select(range(4)).to_hf()
    assert rows[3] == {"n": 3, "word": "3", "image": [[3, 3], [3, 3]]}
    assert rows.features["image"].feature.feature.dtype == "uint8"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([np.ones((2, 1), np.uint8), None], "fixed_size_list<item: fixed_size_list<item: uint8>[1]>[2]"),
        ([None, np.ones(2, ">f4"), np.ones(1, ">f4")], "list<item: float>"),
        ([np.ones(2, np.int16), np.ones(1, np.int16)], "list<item: int16>"),
        ([np.zeros(0, np.uint8)] * 2, "fixed_size_list<item: uint8>[0]"),
        ([np.array([1, 2], object), None], "list<item: int64>"),
        ([np.ones(1, np.uint8), np.ones(1, np.int16)], "list<item: int64>"),
        ([np.uint8(1), None], "uint8"),
    ],
)
def test_arrays_that_are_missing_or_ragged_keep_their_kind_in_arrow(values, kind):
    library("pyarrow")
    column = conversions.to_arrow([{"m": value} for value in values])["m"]
    assert str(column.type) == kind
    assert column.to_pylist() == [value if value is None else value.tolist() for value in values]


@pytest.mark.parametrize(("method", "name", "extra"), [
    ("to_pandas", "pandas", "pandas"), ("to_arrow", "pyarrow", "arrow"), ("to_hf", "datasets", "hf"),
])  # fmt: skip
def test_a_library_that_is_not_there_is_named_with_its_extra(ds, monkeypatch, method, name, extra):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{method}\(\) needs {name}.*pip install 'atdata-core\[{extra}\]'"):
        getattr(ds, method)()


@pytest.fixture
def torch_data():
    return library("torch.utils.data")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataloader_makes_batches_of_a_dataset_in_one_line(tmp_path: Path, torch_data, workers):
    for name, tar in Shards().tars.items():
        (tmp_path / name).write_bytes(tar)
    ds = atdata.Dataset[Row](f"{tmp_path}/{{0..4}}.tar", count=50)
    loader = torch_data.DataLoader(ds, batch_size=8, num_workers=workers)
    first = next(iter(loader))
    assert (first["n"].tolist(), first["word"][:2]) == (list(range(8)), ["0", None])
    assert (first["image"].shape, str(first["image"].dtype)) == ((8, 2, 2), "torch.uint8")
    assert sorted(n for batch in loader for n in batch["n"].tolist()) == list(range(50))
    view = ds.filter(is_even).map(numbered)
    for items in (view, view.ordered(), view.shuffled()):
        batches = list(torch_data.DataLoader(items, batch_size=4, num_workers=workers))
        assert sorted(n for batch in batches for n in batch["n"].tolist()) == list(range(0, 50, 2))
        assert batches[0]["mean"].ndim == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_what_is_selected(tmp_path: Path, torch_data, workers):
    for name, tar in Shards().tars.items():
        (tmp_path / name).write_bytes(tar)
    ds = atdata.Dataset[Row](f"{tmp_path}/{{0..4}}.tar").filter(is_even).select(range(3, 20)).map(numbered)
    loader = torch_data.DataLoader(ds, batch_size=4, num_workers=workers)
    assert sorted(n for batch in loader for n in batch["n"].tolist()) == list(range(6, 40, 2))


# Over a second: a new process loads torch.
def test_a_worker_that_is_spawned_makes_batches_too(tmp_path: Path, torch_data):
    for name, tar in Shards().tars.items():
        (tmp_path / name).write_bytes(tar)
    ds = atdata.Dataset[Row](f"{tmp_path}/{{0..4}}.tar").filter(is_even)
    loader = torch_data.DataLoader(ds, batch_size=25, num_workers=1, multiprocessing_context="spawn")
    assert [batch["n"].tolist() for batch in loader] == [list(range(0, 50, 2))]
