"""Dataset[T]: typed samples of shards, for one reader and for many."""

import copy
import io
import pickle
import typing
from pathlib import Path

import msgpack
import numpy as np
import pytest
import webdataset
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import (
    MetadataError,
    RefusedError,
    SampleError,
    SchemaError,
    ShardCorruptError,
    ShardMissingError,
    StorageError,
)
from atdata_core.shards.packed_samples import shard_records
from atdata_core.shards.tar_samples import ShardWriter


@atdata.packable
class Row:
    n: int
    vector: NDArray[np.float32]


@atdata.packable
class Other:
    text: str


def row(n: int) -> Row:
    return Row(n=n, vector=np.full(4, n, np.float32))


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Five shards of 10, 11, ... 14 samples: a pattern."""
    n = 0
    for shard in range(5):
        with (tmp_path / f"rows-{shard:03d}.tar").open("wb") as stream, ShardWriter(stream) as writer:
            for _ in range(10 + shard):
                writer.write({**row(n).as_wds, "__key__": f"{n:06d}"})
                n += 1
    return f"{tmp_path}/rows-{{000..004}}.tar"


def numbers(stream) -> list[int]:
    return [sample.n for sample in stream]


def test_samples_come_typed_and_in_order(shards: str):
    dataset = atdata.Dataset[Row](shards)
    samples = list(dataset.ordered())
    assert samples == [row(n) for n in range(60)]
    assert dataset.sample_type is Row
    assert dataset.url == shards
    assert [Path(url).name for url in dataset.shard_list] == [f"rows-{n:03d}.tar" for n in range(5)]


def test_a_list_of_urls_is_read_in_its_order(shards: str):
    urls = atdata.Dataset[Row](shards).shard_list
    dataset = atdata.Dataset[Row]([urls[1], urls[0]])
    assert numbers(dataset.ordered()) == [*range(10, 21), *range(10)]
    assert dataset.url == [urls[1], urls[0]]


def test_the_page_writes_with_webdataset_and_we_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with webdataset.writer.TarWriter("features.tar") as sink:
        for n in range(20):
            sink.write({**row(n).as_wds, "__key__": f"{n:06d}"})
    assert list(atdata.Dataset[Row]("features.tar").ordered()) == [row(n) for n in range(20)]


def test_webdataset_reads_what_we_write(shards: str):
    seen = []
    for url in atdata.Dataset[Row](shards).shard_list:
        with open(url, "rb") as stream:
            files = webdataset.tariterators.tar_file_expander([{"url": url, "stream": stream}])
            seen += [Row.from_bytes(each["msgpack"]).n for each in webdataset.tariterators.group_by_keys(files)]
    assert seen == list(range(60))


def test_batches_have_the_size_asked_for_and_a_smaller_last_one(shards: str):
    batches = list(atdata.Dataset[Row](shards).ordered(batch_size=25))
    assert [len(batch.samples) for batch in batches] == [25, 25, 10]
    assert batches[0].vector.shape == (25, 4)
    assert batches[2].n == list(range(50, 60))


def test_shuffled_gives_every_sample_once_in_another_order(shards: str):
    dataset = atdata.Dataset[Row](shards)
    seen = numbers(dataset.shuffled())
    assert seen != list(range(60))
    assert sorted(seen) == list(range(60))
    assert sorted(n for batch in dataset.shuffled(batch_size=7) for n in batch.n) == list(range(60))


def test_numbers_of_shuffled_are_buffers_of_shards_and_of_samples_before_the_batch(shards: str):
    dataset = atdata.Dataset[Row](shards)
    assert numbers(dataset.shuffled(1, 1)) == list(range(60))
    assert sorted(numbers(dataset.shuffled(100))) == list(range(60))
    assert [len(batch) for batch in dataset.shuffled(100, 10, 32)] == [32, 28]


def test_a_dataset_is_iterated_in_order_and_lists_its_shards(shards: str):
    dataset = atdata.Dataset[Row](shards)
    assert numbers(dataset) == list(range(60))
    assert dataset.list_shards() == dataset.shard_list


def test_a_batch_knows_the_type_of_its_samples(shards: str):
    batch = next(iter(atdata.Dataset[Row](shards).ordered(batch_size=7)))
    assert batch.sample_type is Row
    assert batch.samples
    assert batch.sample_type is Row
    assert atdata.SampleBatch([row(1)]).sample_type is Row
    assert atdata.SampleBatch[Row]([]).sample_type is Row
    with pytest.raises(AttributeError, match="does not know its sample_type"):
        atdata.SampleBatch([]).sample_type  # noqa: B018

    @atdata.packable
    class Typed:
        sample_type: str

    assert atdata.SampleBatch([Typed(sample_type="leaf")]).sample_type == ["leaf"]


def test_what_webdataset_read_is_wrapped_as_samples_and_batches(shards: str):
    ds = atdata.Dataset[Row](shards)
    one, two = ({"__key__": str(n), "msgpack": row(n).packed} for n in range(2))
    assert ds.wrap(one) == row(0)
    batch = ds.wrap_batch({"__key__": ["0", "1"], "msgpack": [one["msgpack"], two["msgpack"]]})
    assert (batch.sample_type, batch.n, batch.vector.shape) == (Row, [0, 1], (2, 4))
    assert (typing.get_origin(ds.batch_type), typing.get_args(ds.batch_type)) == (atdata.SampleBatch, (Row,))
    for wrong, message in (
        ({"__key__": "0", "txt": b""}, "missing 'msgpack' key, and only __key__, txt"),
        ({"msgpack": "text"}, "to be bytes"),
        ({"msgpack": b"\xff\xfe"}, "Row"),
    ):
        with pytest.raises(SampleError, match=message):
            ds.wrap(wrong)


def test_a_seed_repeats_an_order_and_none_does_not(shards: str):
    dataset = atdata.Dataset[Row](shards)
    stream = dataset.shuffled(seed=1)
    assert numbers(stream) == numbers(stream) == numbers(dataset.shuffled(seed=1))
    assert numbers(stream) != numbers(dataset.shuffled(seed=2))
    unseeded = dataset.shuffled()
    assert numbers(unseeded) != numbers(unseeded)


def test_small_buffers_shuffle_locally(shards: str):
    dataset = atdata.Dataset[Row](shards)
    assert numbers(dataset.shuffled(buffer_shards=1, buffer_samples=1)) == list(range(60))
    near = numbers(dataset.shuffled(buffer_shards=1, buffer_samples=4, seed=3))
    # A sample leaves a buffer of four at the earliest three places before its turn.
    assert near != list(range(60))
    assert all(place >= n - 3 for place, n in enumerate(near))


@pytest.mark.parametrize("name", ["batch_size", "buffer_shards", "buffer_samples"])
def test_a_number_below_one_is_refused(shards: str, name: str):
    with pytest.raises(RefusedError, match=name):
        atdata.Dataset[Row](shards).shuffled(**{name: 0})


def test_a_stream_starts_again_each_time_and_several_run_at_once(shards: str):
    stream = atdata.Dataset[Row](shards).ordered()
    pairs = list(zip(stream, stream, strict=True))
    assert all(one == two for one, two in pairs)
    assert len(pairs) == 60


def test_datasets_and_streams_survive_pickling_and_copying(shards: str):
    dataset = atdata.Dataset[Row](shards)
    for make in (lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy, copy.copy):
        assert numbers(make(dataset).ordered()) == list(range(60))
        assert numbers(make(dataset.ordered())) == list(range(60))
        assert make(dataset).sample_type is Row
    assert pickle.loads(pickle.dumps(atdata.Dataset[Row]))(shards).sample_type is Row


def test_types_of_datasets_do_not_mix(shards: str):
    rows, others = atdata.Dataset[Row], atdata.Dataset[Other]
    assert (rows(shards).sample_type, others(shards).sample_type) == (Row, Other)
    assert isinstance(rows(shards), atdata.Dataset)
    assert rows == atdata.Dataset[Row]
    assert typing.get_args(rows) == (Row,)


def test_a_dataset_without_a_type_says_how_to_give_one(shards: str):
    with pytest.raises(TypeError, match=r"Dataset\[MySample\]"):
        atdata.Dataset(shards)
    with pytest.raises(SchemaError, match="@packable"):
        atdata.Dataset[dict](shards)


def test_a_dataset_has_no_length(shards: str):
    with pytest.raises(TypeError):
        len(atdata.Dataset[Row](shards))
    with pytest.raises(TypeError):
        len(atdata.Dataset[Row](shards).ordered())


def test_metadata_are_read_from_their_own_file(shards: str, tmp_path: Path):
    metadata = {"licence": "CC", 3: [1.5, b"\0", 2**60]}
    (tmp_path / "meta.msgpack").write_bytes(msgpack.packb(metadata))
    dataset = atdata.Dataset[Row](shards, metadata_url=str(tmp_path / "meta.msgpack"))
    assert dataset.metadata == metadata
    (tmp_path / "meta.msgpack").unlink()
    assert dataset.metadata == metadata
    assert atdata.Dataset[Row](shards).metadata is None


@pytest.mark.parametrize("data", [b"", b"\xc1", msgpack.packb([1]), b"\xdd\xff\xff\xff\xff"])
def test_metadata_that_are_no_map_are_refused(shards: str, tmp_path: Path, data: bytes):
    (tmp_path / "meta.msgpack").write_bytes(data)
    with pytest.raises(MetadataError, match="meta"):
        atdata.Dataset[Row](shards, metadata_url=str(tmp_path / "meta.msgpack")).metadata  # noqa: B018


def test_metadata_without_end_are_refused_before_they_fill_the_memory(shards: str):
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size)
            return bytes(1 << 24)  # more than was asked for, as a store of one's own may

    class Store:
        def open_shard(self, url: str) -> Endless:
            return Endless()

    asked: list[int | None] = []
    dataset = atdata.Dataset[Row](shards, metadata_url="m.msgpack", data_store=Store())
    with pytest.raises(MetadataError, match=r"m\.msgpack has more than 67,108,864 bytes"):
        _ = dataset.metadata
    assert len(asked) == 5
    assert set(asked) == {1 << 20}


def test_shards_are_opened_with_the_data_store(shards: str):
    class Store:
        opened: typing.ClassVar[list[str]] = []

        def read_url(self, url: str) -> str:
            self.opened.append(url)
            return url.replace("mine://", "")

    dataset = atdata.Dataset[Row](f"mine://{shards}", data_store=Store())
    assert len(numbers(dataset.ordered())) == 60
    assert Store.opened == dataset.shard_list


def test_one_shard_can_be_read_with_its_keys(shards: str):
    url = atdata.Dataset[Row](shards).shard_list[1]
    assert [record["__key__"] for record in shard_records(url)] == [f"{n:06d}" for n in range(10, 21)]
    assert numbers(atdata.Dataset[Row](url).ordered()) == list(range(10, 21))


def test_a_sample_of_another_type_names_shard_and_key(shards: str):
    with pytest.raises(SampleError, match=r"rows-000\.tar, sample '000000'") as caught:
        next(iter(atdata.Dataset[Other](shards).ordered()))
    assert caught.value.key == "000000"
    assert caught.value.url.endswith("rows-000.tar")
    assert caught.value.type_name == "Other"


def test_a_sample_without_msgpack_says_what_is_there(tmp_path: Path):
    with (tmp_path / "images.tar").open("wb") as stream, ShardWriter(stream) as writer:
        writer.write({"__key__": "cat", "jpg": b"", "cls": b""})
    with pytest.raises(SampleError, match=r"no cat\.msgpack, only cls, jpg"):
        list(atdata.Dataset[Row](str(tmp_path / "images.tar")).ordered())


def test_a_sample_of_many_members_is_told_in_few_words(tmp_path: Path):
    members = {f"{number:04d}" + "x" * 70: b"" for number in range(500)}
    with (tmp_path / "many.tar").open("wb") as stream, ShardWriter(stream) as writer:
        writer.write({"__key__": "cat", **members})
    with pytest.raises(SampleError, match=r"only 0000x+, 0001x+, .* and 490 more") as caught:
        list(atdata.Dataset[Row](str(tmp_path / "many.tar")).ordered())
    assert len(caught.value.message) < 1_000


def test_a_shard_that_is_cut_or_missing_is_named(shards: str, tmp_path: Path):
    dataset = atdata.Dataset[Row](shards)
    path = Path(dataset.shard_list[2])
    path.write_bytes(path.read_bytes()[:-1024])
    with pytest.raises(ShardCorruptError, match=r"rows-002\.tar"):
        list(dataset.ordered())
    path.unlink()
    with pytest.raises(ShardMissingError, match=r"rows-002\.tar"):
        list(dataset.ordered())


def test_a_pattern_that_names_nothing_is_refused_when_the_dataset_is_made():
    for url in ("", [], "a-{0..2.tar"):
        with pytest.raises(StorageError):
            atdata.Dataset[Row](url)


def test_secrets_of_urls_are_not_shown():
    dataset = atdata.Dataset[Row](["https://h/a.tar?X-Amz-Signature=hunter2", "https://u:hunter2@h/b.tar"])
    assert "hunter2" not in f"{dataset!r} {dataset.ordered()!r}"


def read_as(monkeypatch: pytest.MonkeyPatch, dataset: atdata.Dataset, shuffled: bool, **place: int) -> list[int]:
    for name, value in place.items():
        monkeypatch.setenv(name, str(value))
    return numbers(dataset.shuffled() if shuffled else dataset.ordered())


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 7])
def test_ranks_read_every_sample_exactly_once(
    shards: str, monkeypatch: pytest.MonkeyPatch, ranks: int, shuffled: bool
):
    dataset = atdata.Dataset[Row](shards)
    parts = [read_as(monkeypatch, dataset, shuffled, RANK=rank, WORLD_SIZE=ranks) for rank in range(ranks)]
    assert sorted(sum(parts, [])) == list(range(60))  # noqa: RUF017
    assert sum(not part for part in parts) == max(0, ranks - 5)


def test_workers_of_each_rank_read_every_sample_exactly_once(shards: str, monkeypatch: pytest.MonkeyPatch):
    dataset = atdata.Dataset[Row](shards)
    seen = []
    for rank in range(2):
        for worker in range(3):
            place = {"RANK": rank, "WORLD_SIZE": 2, "WORKER": worker, "NUM_WORKERS": 3}
            seen += read_as(monkeypatch, dataset, True, **place)
    assert sorted(seen) == list(range(60))


def test_ranks_get_the_shards_that_webdataset_gives_them(shards: str, monkeypatch: pytest.MonkeyPatch):
    from webdataset.shardlists import split_by_node, split_by_worker

    dataset = atdata.Dataset[Row](shards)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "WORKER": "0", "NUM_WORKERS": "2"}.items():
        monkeypatch.setenv(name, value)
    theirs = split_by_worker(split_by_node(iter(dataset.shard_list)))
    assert numbers(dataset.ordered()) == [
        Row.from_bytes(record["msgpack"]).n for url in theirs for record in shard_records(url)
    ]


@pytest.mark.parametrize(("rank", "size"), [("x", "2"), ("2", "2"), ("-1", "2"), ("0", "0")])
def test_a_rank_that_is_none_is_refused(shards: str, monkeypatch: pytest.MonkeyPatch, rank: str, size: str):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(RefusedError, match="RANK"):
        list(atdata.Dataset[Row](shards).ordered())
