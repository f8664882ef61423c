"""A look at a few samples: a table, pictures where a field is an image or a vector, and how labels are spread.

Everything comes from data: text is escaped, and every size has a bound.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from atdata_core.common.urls import displayed
from atdata_core.errors import AtdataError, SampleError
from atdata_core.promotion.copies.sources import Sources
from atdata_core.samples.arrays import shape_name
from atdata_core.samples.sample_types import sample_fields
from atdata_core.samples.schema import decode
from atdata_core.shards.tar_samples import read_samples
from atdata_core.state.facts import Inventory

from .markdown import TEXT, row, shown
from .pictures import data_uri, picture

SAMPLES = 8
BYTES_READ = 16 << 20
"""Of large samples fewer are shown, but always one."""
COUNTED = 500
COUNTED_BYTES = 4 << 20
"""Samples of the first shard whose labels are counted, while they are not more bytes than these."""

COLUMNS = 8
PICTURES = 3


LABELS = 20
"""Distinct values from which on a field is no label."""
LABEL_TEXT = 40
"""Characters from which on a text is no label."""
SHOWN = 3
"""Fields that are shown."""
BAR = 30
"""Characters of the longest bar."""

_KINDS = ("int", "bool", "str")


def label_fields(schema: Mapping[str, Any]) -> list[str]:
    """The fields of a local schema record that may be labels."""
    return [
        field["name"]
        for field in schema["fields"]
        if field["fieldType"].get("primitive") in _KINDS and "holds" not in field["fieldType"]
    ]


class Tally:
    """Counts the values of fields, and gives those up that turn out to be no labels."""

    def __init__(self, fields: Sequence[str]) -> None:
        self.samples = 0
        self._counts: dict[str, Counter[Any]] = {field: Counter() for field in fields}

    @property
    def counts_some(self) -> bool:
        """Whether another sample would tell more."""
        return bool(self._counts)

    def add(self, sample: Any) -> None:
        """Count a sample."""
        self.samples += 1
        for field in list(self._counts):
            value, counts = getattr(sample, field), self._counts[field]
            if _may_be_label(value):
                counts[value] += 1
            if not _may_be_label(value) or len(counts) > LABELS:
                del self._counts[field]

    def markdown(self, total: int | None) -> list[str]:
        """A table for each field, of which some value occurs twice.

        Args:
            total: Samples of the dataset, where that is known.
        """
        told = [(field, counts) for field, counts in self._counts.items() if len(counts) < self.samples]
        return [self._table(field, counts, total) for field, counts in told[:SHOWN]]

    def _table(self, field: str, counts: Counter[Any], total: int | None) -> str:
        most = max(counts.values())
        lines = [row([field, "samples", ""]), "| --- | ---: | --- |"]
        # Numbers in their order, words by how often they occur; what is absent last.
        for value, count in sorted(counts.items(), key=_order):
            bar = "█" * -(-BAR * count // most)
            lines.append(row(["none" if value is None else str(value), f"{count:,}", bar]))
        of = f"{self.samples:,} samples" if total is None else f"{self.samples:,} of {total:,} samples"
        return "\n".join([f"**{shown(field, 'markdown', length=TEXT)}**, counted in {of}\n", *lines])


def _may_be_label(value: Any) -> bool:
    return value is None or isinstance(value, int) or (isinstance(value, str) and len(value) <= LABEL_TEXT)


def _order(item: tuple[Any, int]) -> tuple[Any, ...]:
    value, count = item
    if value is None:
        return (2,)
    return (0, value) if isinstance(value, int) else (1, -count, value)


class Preview(NamedTuple):
    """What a few samples show: Markdown, and of fields that hold arrays the shape, such as ``32×32×3``."""

    markdown: str
    shapes: Mapping[str, str]


def preview_of(entry: Any, index: Any, inventory: Inventory, store: Any) -> Preview:
    """The first samples of a dataset; why there is nothing to see, where there is not.

    A preview is worth no failed promotion.
    """
    shards = inventory.shards
    try:
        sample_type = decode(inventory.schema)
        sources = Sources(entry, index, store, {shard.url: shard for shard in shards})
        first = next((shard for shard in shards if shard.samples != 0), shards[0])
        with sources.open_shard(first.url) as stream:
            labels = Tally(label_fields(inventory.schema))
            samples = read_some(stream, first.url, sample_type, labels)
        if not samples:
            return Preview(f"No preview: {shown(displayed(first.url), 'markdown')} has no samples.", {})
        fields = [field.name for field in sample_fields(sample_type)]
        markdown = [preview(samples, fields), *labels.markdown(inventory.samples)]
        return Preview("\n\n".join(markdown), shapes([sample for _, sample in samples], fields))
    except AtdataError as error:
        return Preview(f"No preview: {shown(error.message, 'markdown')}", {})


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
    columns = fields[:COLUMNS]
    lines = [row(["key", *columns]), "|" + " --- |" * (len(columns) + 1)]
    lines += [row([key, *(text_of(getattr(sample, field)) for field in columns)]) for key, sample in samples]
    if len(fields) > len(columns):
        lines.append(f"\n… and {len(fields) - len(columns)} more fields.")
    pictures: list[str] = []
    for field in fields:
        if len(pictures) == PICTURES:
            break
        png = picture([getattr(sample, field) for _, sample in samples])
        if png is not None:
            name = shown(field, "markdown", length=TEXT)
            pictures.append(f"**{name}**\n\n![{name}]({data_uri(png)})")
    return "\n\n".join(["\n".join(lines), *pictures])


def shapes(samples: Sequence[Any], fields: Sequence[str]) -> dict[str, str]:
    """The shape that the arrays of each field have in common; a length that differs is ``any``."""
    found: dict[str, str] = {}
    for field in fields:
        values = (getattr(sample, field) for sample in samples)
        of_field = [value.shape for value in values if isinstance(value, np.ndarray)]
        if len({len(shape) for shape in of_field}) == 1:
            lengths = zip(*of_field, strict=True)
            found[field] = shape_name([each[0] if len(set(each)) == 1 else None for each in lengths])
    return found


def text_of(value: object) -> str:
    """A value for people: an array by its type, shape and first items, bytes by their number."""
    if isinstance(value, np.ndarray):
        shape = shape_name(value.shape)
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
