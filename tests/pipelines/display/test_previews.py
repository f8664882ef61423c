import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from atdata_core.shards.tar_samples import ShardWriter
from atdata_pipelines.display.pictures import picture
from atdata_pipelines.display.previews import Tally, preview, read_some, shapes


def decoded(png):
    return Image.open(io.BytesIO(png))


def noise(*shape, dtype=np.uint8):
    return (np.random.default_rng(0).random(shape) * 255).astype(dtype)


def encoded(kind):
    file = io.BytesIO()
    Image.fromarray(noise(20, 30, 3)).save(file, kind)
    return file.getvalue()


def tar_of(count, packed):
    file = io.BytesIO()
    with ShardWriter(file) as shard:
        for number in range(count):
            shard.write({"__key__": str(number), "msgpack": packed})
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "value",
    [
        noise(8, 8),
        noise(28, 28, dtype=np.float32),
        noise(28, 28, dtype=bool),
        noise(30, 40, 3),
        noise(30, 40, 4),
        noise(30, 40, 1),
        noise(30, 40, 3, dtype=np.float16),
        np.full((8, 8), np.nan),
        np.where(np.eye(8) == 1, np.inf, 1.0),
        np.zeros((8, 8), np.int64),
        noise(128, dtype=np.float32),
        np.array([np.nan, 1.0, 2.0]),
        encoded("PNG"),
        encoded("JPEG"),
    ],
    ids=lambda value: f"{value[:4]!r}" if isinstance(value, bytes) else f"{value.dtype}{value.shape}",
)
def test_images_and_vectors_become_pictures(value):
    image = decoded(picture([value, value]))
    assert image.format == "PNG"
    assert image.width > image.height


@pytest.mark.parametrize(
    "value",
    [
        noise(2, 2),
        noise(3, 3, 3),
        noise(2, 8, 8, 3),
        np.array(5.0),
        np.array([], np.float32),
        np.array(["a", "b"]),
        np.array([1j, 2j]),
        np.zeros((20_000, 10), np.uint8),
        b"plain bytes",
        b"\x89PNG and nothing more",
        "text",
        7,
        None,
    ],
    ids=str,
)
def test_other_values_are_no_pictures(value):
    assert picture([value]) is None


@given(
    arrays.arrays(
        st.sampled_from(["u1", "i8", "f2", "f8", "?", "c8", "U3", "M8[s]"]),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
    )
)
def test_any_array_can_be_shown(array):
    assert isinstance(preview([("key", SimpleNamespace(field=array))], ["field"]), str)


def test_pictures_stay_below_200_kilobytes_together():
    sample = SimpleNamespace(**{f"f{number}": noise(600, 600, 3) for number in range(6)})
    markdown = preview([(str(number), sample) for number in range(8)], list(vars(sample)))
    assert 0 < markdown.count("data:image/png") <= 3
    assert len(markdown.encode()) < 200_000


def test_text_from_data_stays_text():
    hostile = "<script>|`code`![x](javascript:1)\n# heading"
    table = preview([(hostile, SimpleNamespace(word=hostile * 50))], ["word"])
    assert table.count("\n") == 2
    assert len(table) < 2_000


def test_many_fields_are_counted_instead_of_shown():
    fields = [f"field{number}" for number in range(40)]
    table = preview([("k", SimpleNamespace(**dict.fromkeys(fields, 1)))], fields)
    assert "and 32 more fields" in table


def test_arrays_tell_the_shape_that_they_have_in_common():
    samples = [
        SimpleNamespace(image=noise(8, 9, 3), wave=noise(n), mixed=noise(*[4] * n), none=None, mean=np.array(1.0))
        for n in (1, 2)
    ]
    found = shapes(samples, ["image", "wave", "mixed", "none", "mean"])
    assert found == {"image": "8×9×3", "wave": "any", "mean": "scalar"}


@pytest.fixture
def tallied():
    """A tally of samples whose fields have these values."""

    def make(**columns):
        tally = Tally(list(columns))
        for values in zip(*columns.values(), strict=True):
            tally.add(SimpleNamespace(**dict(zip(columns, values, strict=True))))
        return tally

    return make


def test_labels_are_counted_as_bars_numbers_in_order_and_words_by_frequency(tallied):
    digit, split = tallied(digit=[3, 1, 3, 3, None, 1], split=["b", "a", "b", "b", "a", "c"]).markdown(60)
    assert digit.splitlines() == [
        "**digit**, counted in 6 of 60 samples",
        "",
        "| digit | samples |  |",
        "| --- | ---: | --- |",
        f"| 1 | 2 | {'█' * 20} |",
        f"| 3 | 3 | {'█' * 30} |",
        f"| none | 1 | {'█' * 10} |",
    ]
    assert [line.split(" | ")[0] for line in split.splitlines()[4:]] == ["| b", "| a", "| c"]
    assert split.startswith("**split**, counted in 6 of 60")


@pytest.mark.parametrize(
    "values",
    [range(50), ["x" * 41] * 50, [[1]] * 50, [{}] * 50, [1.5] * 50, [float("nan")] * 50, [b"x"] * 50],
    ids=["many", "long", "lists", "dicts", "floats", "nan", "bytes"],
)
def test_what_is_no_label_is_not_counted(tallied, values):
    tally = tallied(field=values)
    assert tally.markdown(None) == []
    assert not tally.counts_some


def test_values_that_occur_once_each_say_nothing(tallied):
    assert tallied(label=[1, 2, 3]).markdown(3) == []
    assert tallied(label=[]).markdown(0) == []


@pytest.mark.parametrize(
    ("shard_size", "fields", "read"),
    [(2_000, ["label"], 500), (2_000, [], 8), (20, ["label"], 20), (2_000, ["number"], 21)],
    ids=["bounded", "no labels", "all", "turned out to be none"],
)
def test_no_more_samples_are_read_than_are_worth_it(shard_size, fields, read):
    taken = []

    class Sample:
        @staticmethod
        def from_bytes(packed):
            taken.append(packed)
            return SimpleNamespace(label=len(taken) % 3, number=len(taken))

    samples = read_some(tar_of(shard_size, b"\x80"), "a.tar", Sample, Tally(fields))
    assert (len(taken), len(samples)) == (read, 8)


def test_large_samples_are_counted_up_to_a_size(monkeypatch):
    monkeypatch.setattr("atdata_pipelines.display.previews.COUNTED_BYTES", 50_000)
    tally = Tally(["label"])
    type_ = SimpleNamespace(from_bytes=lambda packed: SimpleNamespace(label=1))
    assert len(read_some(tar_of(100, bytes(5_000)), "a.tar", type_, tally)) == 8
    assert tally.samples == 11


def test_the_labels_of_a_dataset_stand_below_its_pictures(lab, run):
    lab.insert("pictures", start=0, labels=[1, 1, 2, 2, 2, 3])
    [mark] = run("pictures", stages=["local_dataset"]).asset_materializations_for_node("local_dataset")
    shown = mark.metadata["preview"].value
    assert shown.index("data:image/png") < shown.index("**label**, counted in 3 of 6 samples")
    assert f"| 1 | 2 | {'█' * 30} |" in shown


@pytest.mark.parametrize("text", ["&" * 5_000, "𐍈" * 5_000, "|" * 5_000], ids=["entities", "wide", "bars"])
def test_the_worst_samples_make_a_preview_below_200_kilobytes(text):
    fields = {
        **{f"image{number}": noise(600, 600, 3) for number in range(3)},
        "empty": np.zeros((0, 4)),
        "nan": np.full(3, np.nan),
        **{f"text{number}": text for number in range(6)},
        **{("é" * 3_000) + str(number): text[:40] for number in range(3)},
    }
    sample = SimpleNamespace(**fields)
    tally = Tally([name for name in fields if name.startswith("é")])
    for number in range(40):
        tally.add(SimpleNamespace(**dict.fromkeys(fields, text[: 20 + number // 2])))
    shown = "\n\n".join([preview([(text, sample)] * 8, list(fields)), *tally.markdown(None)])
    assert shown.count("data:image/png") == 3
    assert shown.count(", counted in 40 samples") == 3
    assert len(shown.encode()) < 200_000
