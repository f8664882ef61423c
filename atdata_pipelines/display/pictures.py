"""What of samples is a picture: a field of several side by side, as a PNG of bounded size, or each as a file."""

import base64
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

BYTES = 50_000
"""Characters of one picture as a data URI; three and the tables stay below 200 kB."""

TILES = (96, 64, 48, 32, 16)
"""Edge of one sample in a picture, in pixels: the first that is small enough."""

SIDE = 8_192
ENCODED_PIXELS = 40_000_000
_ENCODED = re.compile(
    rb"(?P<png>\x89PNG\r\n\x1a\n)|(?P<jpg>\xff\xd8\xff)|(?P<webp>RIFF.{4}WEBP)|(?P<gif>GIF8)", re.DOTALL
)
"""How an encoded picture begins; the groups are the endings of files."""


def picture(values: Sequence[Any]) -> bytes | None:
    """One field of several samples side by side, as a PNG of bounded size; None where it is nothing to see."""
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
        png = _encoded(_side_by_side(tiles, tile))
        if len(data_uri(png)) <= BYTES:
            return png
    return None


def is_file(value: Any) -> bool:
    """Whether ``file_of`` makes a file of a value."""
    return _ENCODED.match(value) is not None if isinstance(value, bytes) else _whole_pixels(value) is not None


def file_of(value: Any) -> tuple[str, bytes]:
    """A picture in full size: the ending of its file, and the bytes.

    A PNG of an array of ``uint8``, or of floats from 0 to 1, which are rounded to 8 bits; what is encoded stays so.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bytes) and (found := _ENCODED.match(value)):
        return str(found.lastgroup), value
    pixels = _whole_pixels(value)
    if pixels is None:
        raise ValueError("This is no picture.")
    return "png", _encoded(Image.fromarray(np.ascontiguousarray(pixels)))


def _is_number_array(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "uifb" and value.size > 0


def _is_vector(value: object) -> bool:
    return _is_number_array(value) and value.ndim == 1 and value.size > 1  # type: ignore[attr-defined]


def _as_image(value: Any) -> np.ndarray[Any, Any] | None:
    """(H, W) or (H, W, 3 | 4) of an array that is an image; None of what is none."""
    if not _is_number_array(value) or max(value.shape, default=0) > SIDE:
        return None
    if value.ndim == 3 and value.shape[2] == 1:
        value = value[:, :, 0]
    grey = value.ndim == 2 and min(value.shape) >= 4
    colour = value.ndim == 3 and value.shape[2] in (3, 4) and min(value.shape[:2]) >= 4
    return value if grey or colour else None


def _pixels(value: Any) -> Image.Image | None:
    """An image that a value is: (H, W), (H, W, 1 | 3 | 4), or an encoded file."""
    if isinstance(value, bytes):
        return _decoded(value)
    image = _as_image(value)
    if image is None:
        return None
    # More pixels than a tile shows cost time and nothing else.
    step = max(1, max(image.shape[:2]) // 256)
    return Image.fromarray(_stretched(image[::step, ::step], keep=image.ndim == 3 and image.dtype == np.uint8))


def _whole_pixels(value: Any) -> np.ndarray[Any, Any] | None:
    """An image as it is, in 8 bits; None of numbers that mean no brightness by themselves."""
    image = _as_image(value)
    if image is None or image.dtype == np.uint8:
        return image
    # Not so where one of them is no number.
    if image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1:
        return np.rint(image.astype(np.float64) * 255).astype(np.uint8)
    return None


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
    if not _ENCODED.match(data):
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


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    # Not `optimize`: it takes nine times as long, for 2 % of the bytes.
    image.save(file, "PNG")
    return file.getvalue()


def data_uri(png: bytes) -> str:
    """A picture as it stands in Markdown."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
