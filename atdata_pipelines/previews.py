"""A look at a few samples: a table, pictures where a field is an image or a vector, and how labels are spread.

Everything comes from data: text is escaped, and every size has a bound.
"""

import base64
import io
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageDraw

from atdata_core.errors import AtdataError, SampleError
from atdata_core.promotion.sources import Sources
from atdata_core.samples import sample_fields
from atdata_core.schema import decode
from atdata_core.tar_samples import read_samples
from atdata_core.urls import displayed

from .histograms import Tally, label_fields
from .markdown import TEXT, escaped, row, short

if TYPE_CHECKING:
    from atdata_core.promotion.inventory import Inventory

SAMPLES = 8
BYTES_READ = 16 << 20
"""Of large samples fewer are shown, but always one."""
COUNTED = 500
COUNTED_BYTES = 4 << 20
"""Samples of the first shard whose labels are counted, while they are not more bytes than these."""

COLUMNS = 8
PICTURES = 3
PICTURE_BYTES = 50_000
"""Characters of one picture as a data URI; three and the tables stay below 200 kB."""

TILES = (96, 64, 48, 32, 16)
"""Edge of one sample in a picture, in pixels: the first that is small enough."""

SIDE = 8_192
ENCODED_PIXELS = 40_000_000
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")


def preview_of(entry: Any, index: Any, inventory: "Inventory", store: Any) -> str:
    """The first samples of a dataset as Markdown; why there is nothing to see, where there is not.

    A preview is worth no failed promotion.
    """
    shards = inventory.shards
    try:
        sample_type = decode(inventory.schema)
        sources = Sources(entry, index, store, {shard.url: shard for shard in shards})
        with sources.open_shard(shards[0].url) as stream:
            labels = Tally(label_fields(inventory.schema))
            samples = read_some(stream, shards[0].url, sample_type, labels)
        shown = preview(samples, [field.name for field in sample_fields(sample_type)])
        return "\n\n".join([shown, *labels.markdown(inventory.samples)])
    except AtdataError as error:
        return f"No preview: {escaped(error.message)}"


def read_some(stream: BinaryIO, url: str, sample_type: Any, labels: Tally) -> list[tuple[str, Any]]:
    """The first samples of a shard, with their keys; the labels of some more are counted."""
    found: list[tuple[str, Any]] = []
    size = 0
    for number, each in enumerate(read_samples(stream, url=url), 1):
        packed = each.get("msgpack")
        if not isinstance(packed, bytes):
            raise SampleError(f"The samples of {displayed(url)} are in another format than msgpack.", url=url)
        sample = sample_type.from_bytes(packed)
        labels.add(sample)
        if number <= SAMPLES and size <= BYTES_READ:
            found.append((str(each["__key__"]), sample))
        size += len(packed)
        enough = number >= SAMPLES or size > BYTES_READ
        if enough and (number >= COUNTED or size > COUNTED_BYTES or not labels.counts_some):
            break
    return found


def preview(samples: Sequence[tuple[str, Any]], fields: Sequence[str]) -> str:
    """Samples as a Markdown table, pictures below it."""
    shown = fields[:COLUMNS]
    lines = [row(["key", *shown]), "|" + " --- |" * (len(shown) + 1)]
    lines += [row([key, *(_text(getattr(sample, field)) for field in shown)]) for key, sample in samples]
    if len(fields) > len(shown):
        lines.append(f"\n… and {len(fields) - len(shown)} more fields.")
    pictures: list[str] = []
    for field in fields:
        if len(pictures) == PICTURES:
            break
        uri = picture([getattr(sample, field) for _, sample in samples])
        if uri is not None:
            name = escaped(short(field))
            pictures.append(f"**{name}**\n\n![{name}]({uri})")
    return "\n\n".join(["\n".join(lines), *pictures])


def _text(value: object) -> str:
    if isinstance(value, np.ndarray):
        shape = "×".join(str(length) for length in value.shape) or "scalar"
        first = ", ".join(
            f"{item:.4g}" if isinstance(item, float) else str(item) for item in value.flat[:4].tolist()
        )
        return f"{value.dtype} {shape}: {first}{', …' if value.size > 4 else ''}"
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, str):
        return value[:TEXT]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | dict):
        few: Any = value[:4] if isinstance(value, list) else dict(islice(value.items(), 4))
        return f"{few}{f' … {len(value)} items' if len(value) > 4 else ''}"
    return "" if value is None else str(value)


def picture(values: Sequence[Any]) -> str | None:
    """One field of several samples side by side, as a PNG data URI; None where it is nothing to see."""
    pixels = [_pixels(value) for value in values]
    images = [found for found in pixels if found is not None]
    vectors = [value for value in values if _is_vector(value)]
    for tile in TILES:
        if images:
            tiles = [_image_tile(image, tile) for image in images]
        elif vectors:
            tiles = [_vector_tile(vector, tile) for vector in vectors]
        else:
            return None
        uri = _data_uri(_side_by_side(tiles, tile))
        if len(uri) <= PICTURE_BYTES:
            return uri
    return None


def _is_number_array(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "uifb" and value.size > 0


def _is_vector(value: object) -> bool:
    return _is_number_array(value) and value.ndim == 1 and value.size > 1  # type: ignore[attr-defined]


def _pixels(value: Any) -> Image.Image | None:
    """An image that a value is: (H, W), (H, W, 1 | 3 | 4), or an encoded file."""
    if isinstance(value, bytes):
        return _decoded(value)
    if not _is_number_array(value) or max(value.shape, default=0) > SIDE:
        return None
    if value.ndim == 3 and value.shape[2] == 1:
        value = value[:, :, 0]
    grey = value.ndim == 2 and min(value.shape) >= 4
    colour = value.ndim == 3 and value.shape[2] in (3, 4) and min(value.shape[:2]) >= 4
    if not (grey or colour):
        return None
    # More pixels than a tile shows cost time and nothing else.
    step = max(1, max(value.shape[:2]) // 256)
    return Image.fromarray(_stretched(value[::step, ::step], keep=colour and value.dtype == np.uint8))


def _stretched(array: np.ndarray[Any, Any], *, keep: bool) -> np.ndarray[Any, Any]:
    """Values as 0..255: smallest black, largest white."""
    if keep:
        return np.ascontiguousarray(array)
    values = array.astype(np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    with np.errstate(all="ignore"):
        spread = (np.where(finite, values, low) - low) / (high - low or 1.0)
    # The largest floats lie further apart than a float can say.
    return (np.nan_to_num(spread, posinf=1.0) * 255).astype(np.uint8)


def _decoded(data: bytes) -> Image.Image | None:
    if not data.startswith(_MAGIC):
        return None
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF"))
        if image.width * image.height > ENCODED_PIXELS:
            return None
        image.draft("RGB", (256, 256))
        return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # it only looked like an image


def _image_tile(image: Image.Image, tile: int) -> Image.Image:
    scale = tile / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _vector_tile(vector: np.ndarray[Any, Any], tile: int) -> Image.Image:
    image = Image.new("RGB", (tile, tile), "white")
    heights = _stretched(vector[:: max(1, vector.size // 512)], keep=False).astype(float)
    across = np.linspace(2, tile - 3, len(heights))
    points = list(zip(across.tolist(), (tile - 3 - heights / 255 * (tile - 6)).tolist(), strict=True))
    ImageDraw.Draw(image).line(points, fill=(79, 67, 221), width=1)
    return image


def _side_by_side(tiles: Sequence[Image.Image], tile: int) -> Image.Image:
    sheet = Image.new("RGB", (len(tiles) * (tile + 4) - 4, tile), "white")
    for number, image in enumerate(tiles):
        sheet.paste(image.convert("RGB"), (number * (tile + 4), 0))
    return sheet


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
