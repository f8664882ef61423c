import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from atdata_pipelines.previews import escaped, picture, preview


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def noise(*shape, dtype=np.uint8):
    return (np.random.default_rng(0).random(shape) * 255).astype(dtype)


def encoded(kind):
    file = io.BytesIO()
    Image.fromarray(noise(20, 30, 3)).save(file, kind)
    return file.getvalue()


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
    assert "\n" not in escaped(hostile)
    assert "<script>" not in escaped(hostile)
    table = preview([(hostile, SimpleNamespace(word=hostile * 50))], ["word"])
    assert table.count("\n") == 2
    assert len(table) < 2_000


def test_many_fields_are_counted_instead_of_shown():
    fields = [f"field{number}" for number in range(40)]
    table = preview([("k", SimpleNamespace(**dict.fromkeys(fields, 1)))], fields)
    assert "and 32 more fields" in table
