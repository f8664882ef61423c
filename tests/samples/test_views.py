"""Arrays as views on what was read, and batches whose arrays are stacked from the packed samples."""

import dataclasses
import pickle
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import SampleError, ShardCorruptError
from atdata_core.samples.arrays import encode_array
from atdata_core.samples.sample_batches import unpacks_by_field
from atdata_core.samples.sample_types import unpacker_with_views
from atdata_core.shards.tar_samples import ShardWriter


@atdata.packable
class Picture:
    image: NDArray[np.uint8]
    name: str


@atdata.packable
class Row:
    n: int
    vector: NDArray[np.float32]


@atdata.packable
class Mixed:
    before: str
    large: NDArray
    nested: list[NDArray]
    facts: dict
    raw: bytes
    small: NDArray[np.int16]
    share: float
    maybe: NDArray | None = None


def picture(n: int) -> Picture:
    return Picture(image=np.full((224, 224, 3), n, np.uint8), name=f"number {n}")


def shard(path: Path, samples: list) -> str:
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        for sample in samples:
            writer.write({"msgpack": sample.packed})
    return str(path)


def mixed(large: int, maybe: NDArray | None = None) -> Mixed:
    return Mixed(
        before="ü" * 300,
        large=np.arange(large, dtype=">f8"),
        nested=[np.arange(3), np.zeros((2, 2), order="F")],
        facts={"a": [1, None, {"b": b"\0"}]},
        raw=bytes(1000),
        small=np.arange(7, dtype=np.int16),
        share=0.5,
        maybe=maybe,
    )


def test_the_array_of_a_large_sample_is_a_writable_view_on_its_bytes_and_nothing_else(tmp_path):
    url = shard(tmp_path / "p.tar", [picture(n) for n in range(20)])
    samples = list(atdata.Dataset[Picture](url).ordered())
    assert samples == [picture(n) for n in range(20)]
    # Not the few that came with the first piece of the shard.
    views = [sample.image for sample in samples if not isinstance(sample.image.base, bytearray)]
    assert len(views) >= 12
    # What it lives on: the packed sample, not the piece of the shard that came with it.
    assert {len(view.base) for view in views} <= {len(sample.packed) for sample in samples}


def arrays_of(sample) -> list[np.ndarray]:
    values = [getattr(sample, field.name) for field in dataclasses.fields(sample)]
    flat = [each for value in values for each in (value if isinstance(value, list) else [value])]
    return [each for each in flat if isinstance(each, np.ndarray)]


@pytest.mark.parametrize("large", [3, 5_000, 20_000])
@pytest.mark.parametrize("read", ["ordered", "shuffled", "batches", "batches after their fields"])
def test_arrays_from_a_reader_can_be_written_to_and_no_two_share_memory(tmp_path, large, read):
    url = shard(tmp_path / "m.tar", [mixed(large, np.zeros(large)) for _ in range(6)])
    dataset = atdata.Dataset[Mixed](url)
    if read == "shuffled":
        samples = list(dataset.shuffled(buffer_samples=4))
    elif read == "ordered":
        samples = list(dataset.ordered())
    else:
        batches = list(dataset.ordered(4))
        if "fields" in read:
            for batch in batches:
                batch.large[...] = -1
        samples = [sample for batch in batches for sample in batch.samples]
    for n, sample in enumerate(samples):
        for array in arrays_of(sample):
            array[...] = n
    for n, sample in enumerate(samples):
        assert all((array == n).all() for array in arrays_of(sample))
    assert list(dataset.ordered()) == [mixed(large, np.zeros(large)) for _ in range(6)]


def test_arrays_of_bytes_that_somebody_else_has_are_copies(tmp_path):
    packed = bytearray(mixed(20_000).packed)
    first, second = Mixed.from_bytes(packed), Mixed.from_bytes(memoryview(packed))
    first.large[...] = 7
    assert second == mixed(20_000)
    assert packed == mixed(20_000).packed


def test_a_large_sample_is_read_without_a_second_copy(tmp_path):
    count = 5 << 20
    url = shard(tmp_path / "p.tar", [Picture(image=np.zeros(count, np.uint8), name="one")] * 3)
    tracemalloc.start()
    (one,) = [sample for n, sample in enumerate(atdata.Dataset[Picture](url).ordered()) if n == 2]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert one.image.flags.writeable
    # The last one, the one before it that waits for its turn, and the first that the loop still holds.
    assert peak < 3 * count + (2 << 20)


def test_large_samples_take_the_memory_of_one_of_them(tmp_path):
    url = shard(tmp_path / "p.tar", [picture(n) for n in range(60)])
    stream = atdata.Dataset[Picture](url).ordered()
    next(iter(stream))
    tracemalloc.start()
    count = sum(1 for _ in stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60
    # A piece of the shard, what was cut out of it, and the sample that somebody holds.
    assert peak < 4 << 20


def test_a_shard_of_small_samples_takes_bounded_memory_whatever_its_size(tmp_path):
    url = shard(tmp_path / "r.tar", [Row(n=n, vector=np.zeros(128, np.float32)) for n in range(20_000)])
    tracemalloc.start()
    count = sum(1 for _ in atdata.Dataset[Row](url).ordered())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 5 << 20


def test_views_outlive_the_reader_and_the_file(tmp_path):
    url = shard(tmp_path / "p.tar", [picture(n) for n in range(8)])
    samples = list(atdata.Dataset[Picture](url).ordered())
    Path(url).write_bytes(b"")
    Path(url).unlink()
    assert samples == [picture(n) for n in range(8)]


def test_a_shard_that_is_cut_while_it_is_read_is_refused_and_does_not_end_the_process(tmp_path):
    url = shard(tmp_path / "p.tar", [picture(n) for n in range(40)])
    stream = iter(atdata.Dataset[Picture](url).ordered())
    first = next(stream)
    with open(url, "r+b") as file:
        file.truncate(700)
    with pytest.raises(ShardCorruptError, match="cut short"):
        list(stream)
    assert first == picture(0)


@pytest.mark.parametrize("large", [0, 10, 20_000])
@pytest.mark.parametrize("maybe", [None, np.zeros(40_000)])
def test_a_sample_of_every_kind_is_the_same_with_views(large, maybe):
    sample = mixed(large, maybe)
    unpack = unpacker_with_views(Mixed)
    for _ in range(2):
        viewed = unpack(sample.packed)
        assert viewed == sample == Mixed.from_bytes(sample.packed)
        arrays = [viewed.large, viewed.small, *viewed.nested, *([] if maybe is None else [viewed.maybe])]
        # Whatever stands before an array in its sample.
        assert all(array.flags.aligned for array in arrays)


@given(st.data())
def test_damaged_bytes_are_the_same_sample_with_views_or_refused_for_the_same_reason(data):
    packed = bytearray(mixed(data.draw(st.sampled_from([3, 20_000]))).packed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 1500) | st.integers(0, len(packed) - 1))
        packed[at] = data.draw(st.integers(0, 255))
    damaged = bytes(packed[: data.draw(st.integers(0, len(packed)) | st.just(len(packed)))])

    def read(unpack):
        try:
            return unpack(damaged), None
        except SampleError as error:
            return None, (str(error), error.facts)

    assert read(unpacker_with_views(Mixed)) == read(Mixed.from_bytes)


def test_headers_that_change_from_sample_to_sample_are_each_read(tmp_path):
    arrays = [np.arange(n % 3 + 1, dtype=dtype) for n in range(4) for dtype in ("f4", "i4", ">f4", "f8")]
    url = shard(tmp_path / "r.tar", [Row(n=n, vector=array) for n, array in enumerate(arrays)])
    for sample, array in zip(atdata.Dataset[Row](url).ordered(), arrays, strict=True):
        assert sample.vector.dtype == array.dtype
        assert sample.vector.tolist() == array.tolist()


def test_threads_that_read_different_arrays_do_not_mix_them_up():
    unpack, wrong = unpacker_with_views(Row), []

    def read(dtype: str) -> None:
        array = np.arange(16, dtype=dtype)
        packed = Row(n=1, vector=array).packed
        wrong.extend(dtype for _ in range(2000) if unpack(packed).vector.dtype != array.dtype)

    threads = [threading.Thread(target=read, args=(dtype,)) for dtype in ("f4", "i4", "u4")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def rows(count: int) -> list[Row]:
    return [Row(n=n, vector=np.full((2, 3), n, np.float32)) for n in range(count)]


def test_a_batch_stacks_from_the_packed_samples_and_makes_samples_when_asked(tmp_path):
    url = shard(tmp_path / "r.tar", rows(10))
    for batch in (next(iter(atdata.Dataset[Row](url).ordered(10))), atdata.SampleBatch(rows(10))):
        assert len(batch) == 10
        assert batch.vector.shape == (10, 2, 3)
        assert batch.vector.dtype == np.float32
        assert batch.vector.flags.writeable
        assert batch.vector.flags.c_contiguous
        assert batch.n == list(range(10))
        assert batch.vector is batch.vector
        assert batch.samples == rows(10)
        assert repr(batch) == "SampleBatch(10 x Row)"
        with pytest.raises(AttributeError, match="nothing"):
            batch.nothing  # noqa: B018


def test_what_is_changed_in_the_samples_of_a_batch_is_found_in_its_fields(tmp_path):
    url = shard(tmp_path / "r.tar", rows(3))
    batch = next(iter(atdata.Dataset[Row](url).ordered(3)))
    batch.samples[1].n = 7
    assert batch.n == [0, 7, 2]


@pytest.mark.parametrize("large", [2, 20_000])
def test_a_batch_survives_pickling_before_and_after_it_was_looked_at(tmp_path, large):
    url = shard(tmp_path / "m.tar", [mixed(large) for _ in range(3)])
    batch = next(iter(atdata.Dataset[Mixed](url).ordered(3)))
    assert pickle.loads(pickle.dumps(batch)).large.tolist() == [list(range(large))] * 3
    assert batch.large.tolist() == [list(range(large))] * 3
    assert batch.maybe == [None] * 3
    assert pickle.loads(pickle.dumps(batch)).samples == batch.samples == [mixed(large)] * 3


@pytest.mark.parametrize(
    "arrays",
    [
        [np.ones((2, 3), order="F"), np.zeros((2, 3), order="F")],
        [np.ones((2, 3), order="F"), np.zeros((2, 3))],
        [np.ones(3, ">i2"), np.zeros(3, ">i2")],
        [np.ones(3, ">i2"), np.zeros(3, "<i2")],
        [np.ones(3, "f4"), np.zeros(3, "f8")],
        [np.zeros((0, 2)), np.zeros((0, 2))],
        [np.array(5), np.array(6)],
        [np.array(["2020-01-01"], "M8[D]"), np.array(["2021-01-01"], "M8[D]")],
        [np.ones(2, "i4,f8"), np.zeros(2, "i4,f8")],
        [np.array(["ab", "c"]), np.array(["d", "ef"])],
        [np.ones(20_000), np.zeros(20_000)],
    ],
)
def test_arrays_of_any_layout_are_stacked_as_numpy_stacks_them(tmp_path, arrays):
    url = shard(tmp_path / "r.tar", [Row(n=n, vector=array) for n, array in enumerate(arrays)])
    stacked = next(iter(atdata.Dataset[Row](url).ordered(2))).vector
    expected = np.stack(arrays)
    assert stacked.dtype == expected.dtype
    assert stacked.tolist() == expected.tolist()
    stacked[...] = stacked


def test_arrays_of_unequal_shapes_in_a_shard_cannot_be_stacked(tmp_path):
    url = shard(tmp_path / "r.tar", [Row(n=n, vector=np.zeros(n + 1, np.float32)) for n in range(2)])
    batch = next(iter(atdata.Dataset[Row](url).ordered(2)))
    assert [len(sample.vector) for sample in batch.samples] == [1, 2]
    with pytest.raises(SampleError, match=r"'vector'.*\(1,\), \(2,\)"):
        batch.vector  # noqa: B018


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        msgpack.packb([1]),
        msgpack.packb({"n": 1}),
        msgpack.packb({"n": "x", "vector": encode_array(np.ones(4))}),
    ],
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_batch_with_a_sample_of_another_type_is_refused_and_the_sample_is_named(tmp_path, payload, shuffled):
    path = tmp_path / "r.tar"
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        for n in range(8):
            writer.write({"__key__": f"{n}", "msgpack": payload if n == 5 else rows(1)[0].packed})
    dataset = atdata.Dataset[Row](str(path))
    with pytest.raises(SampleError, match=r"r\.tar, sample '5'") as caught:
        list(dataset.shuffled(batch_size=8) if shuffled else dataset.ordered(8))
    assert caught.value.key == "5"


@atdata.packable
class Doubled:
    n: int

    def __post_init__(self):
        self.n *= 2


@atdata.packable
class Counted:
    n: int

    def __init__(self, n: int):
        self.n = n + 1


@dataclasses.dataclass
class Derived(atdata.PackableSample):
    n: int
    twice: int = dataclasses.field(init=False, default=0)


@atdata.packable
class Translated:
    n: int

    @classmethod
    def from_data(cls, data):
        return cls(n=data["n"] + 100)


class Guarded(Row):
    def __setattr__(self, name, value):
        super().__setattr__(name, value + 1 if name == "n" else value)


@dataclasses.dataclass(slots=True)
class Slotted(atdata.PackableSample):
    n: int


@dataclasses.dataclass(frozen=True)
class Frozen(atdata.PackableSample):
    n: int


@pytest.mark.parametrize(
    ("sample_type", "expected"),
    [(Doubled, 10), (Counted, 6), (Translated, 105), (Slotted, 5), (Frozen, 5)],
)
def test_a_type_that_has_a_say_in_its_values_has_it_in_batches_too(tmp_path, sample_type, expected):
    path = tmp_path / "n.tar"
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        writer.write({"msgpack": msgpack.packb({"n": 5})})
    dataset = atdata.Dataset[sample_type](str(path))
    assert [sample.n for sample in dataset.ordered()] == [expected]
    (batch,) = dataset.ordered(2)
    assert batch.n == [expected]


def test_only_types_that_are_nothing_but_their_values_are_read_as_columns():
    for sample_type in (Row, Picture, Mixed, Frozen):
        assert unpacks_by_field(sample_type)
    for sample_type in (Doubled, Counted, Derived, Translated, Guarded):
        assert not unpacks_by_field(sample_type)


def test_threads_that_ask_a_batch_for_its_samples_together_get_the_same_ones(tmp_path):
    url = shard(tmp_path / "rows.tar", rows(64))
    for batch in atdata.Dataset[Row](url).ordered(8):
        together = threading.Barrier(4)

        def ask(batch=batch, together=together):
            together.wait()
            return batch.samples

        with ThreadPoolExecutor(4) as pool:
            found = [each.result() for each in [pool.submit(ask) for _ in range(4)]]
        assert all(samples is found[0] for samples in found)
