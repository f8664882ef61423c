"""Samples of a type that the reader does not know."""

import copy
import pickle

import numpy as np
import pytest

import atdata_core
from atdata_core import Dataset, DictSample, LensNetwork, SampleBatch, packable
from atdata_core.errors import SampleError, SchemaError
from atdata_core.samples import NDArray
from atdata_core.samples.schema import schema_of
from atdata_core.shards.tar_samples import ShardWriter


@packable
class Row:
    text: str
    label: int
    pixels: NDArray


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "rows.tar"
    with path.open("wb") as stream, ShardWriter(stream) as writer:
        for number in range(5):
            row = Row(text=f"row {number}", label=number, pixels=np.full((2, 2), number))
            writer.write({**row.as_wds, "__key__": f"{number:03d}"})
    return str(path)


def test_a_sample_is_read_by_attribute_and_by_key():
    sample = DictSample(text="hello", label=1)
    assert (sample.text, sample["label"], sample.get("nothing", "else")) == ("hello", 1, "else")
    assert (list(sample), "text" in sample, len(sample)) == (["text", "label"], True, 2)
    assert repr(sample) == "DictSample(text='hello', label=1)"
    assert sample == DictSample(_data={"text": "hello", "label": 1})
    with pytest.raises(AttributeError, match="has no field 'nothing'"):
        _ = sample.nothing
    with pytest.raises(KeyError):
        _ = sample["nothing"]


def test_what_is_changed_outside_of_a_sample_does_not_change_it():
    given = {"text": "hello"}
    sample = DictSample(given)
    given["text"] = sample.to_dict()["text"] = "changed"
    assert sample.text == "hello"
    with pytest.raises(AttributeError):
        sample.text = "changed"


def test_a_sample_is_packed_copied_and_pickled():
    sample = DictSample(text="hello", label=1)
    assert DictSample.from_bytes(sample.as_wds["msgpack"]) == sample
    assert copy.deepcopy(sample) == sample
    assert pickle.loads(pickle.dumps(sample)) == sample
    assert isinstance(sample, atdata_core.Packable)
    with pytest.raises(SampleError, match="msgpack cannot keep"):
        _ = DictSample(value=object()).packed


@pytest.mark.parametrize("data", [b"\x93\x01\x02\x03", b"\x01", b"\x81\x01\x02", b"\xc1"])
def test_bytes_that_are_no_map_of_fields_are_no_sample(data):
    with pytest.raises(SampleError):
        DictSample.from_bytes(data)


def test_shards_are_read_without_their_type(shard):
    samples = list(Dataset[DictSample](shard).ordered())
    assert [sample.text for sample in samples] == [f"row {number}" for number in range(5)]
    assert isinstance(samples[0].pixels, bytes)
    first, *_ = Dataset[DictSample](shard).ordered(batch_size=3)
    assert isinstance(first, SampleBatch)
    assert first.label == [0, 1, 2]
    with pytest.raises(AttributeError, match="nothing"):
        _ = first.nothing


def test_every_sample_type_is_seen_through_a_lens_of_its_own(shard):
    dataset = Dataset[DictSample](shard).as_type(Row)
    rows = list(dataset.ordered())
    assert [(row.label, row.pixels.tolist()) for row in rows] == [(n, [[n, n], [n, n]]) for n in range(5)]
    assert list(pickle.loads(pickle.dumps(dataset)).ordered()) == rows
    lens = LensNetwork().transform(DictSample, Row)
    sample = DictSample.from_bytes(rows[0].packed)
    assert lens.broken_laws(sample, rows[1:3]) == []


def test_a_sample_of_another_type_is_not_seen_as_this_one(shard):
    @packable
    class Other:
        name: str

    with pytest.raises(SampleError, match=r"rows\.tar, sample '000'"):
        list(Dataset[DictSample](shard).as_type(Other).ordered())


def test_samples_without_a_type_have_no_schema():
    with pytest.raises(SchemaError, match="at least one field"):
        schema_of(DictSample)
