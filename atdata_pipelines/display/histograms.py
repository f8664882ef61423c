"""How often each label occurs among some samples, as bars in Markdown.

Labels are the values of whole numbers, truth values and short words of which there are few.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .markdown import TEXT, row, shown

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
