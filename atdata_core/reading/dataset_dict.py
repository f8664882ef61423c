"""``DatasetDict``: the splits of a dataset by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..common.names import near, quoted
from ..errors import RefusedError
from ..shards.dataset import Dataset

T = TypeVar("T")


class DatasetDict(dict[str, Dataset[T]]):
    """The splits of a dataset, each a ``Dataset``, as Hugging Face's ``DatasetDict`` is.

    Attributes:
        streaming: Whether samples are read when they are asked for; else they were read before.
    """

    def __init__(
        self,
        splits: Mapping[str, Dataset[T]] | None = None,
        sample_type: type[T] | None = None,
        streaming: bool = False,
    ) -> None:
        """Put datasets together; ``sample_type`` is that of the first one where it is not given."""
        super().__init__(splits or {})
        self.streaming = streaming
        self._sample_type = sample_type

    @property
    def sample_type(self) -> type[T] | None:
        """The type of the samples; None without any split."""
        return self._sample_type or next((each.sample_type for each in self.values()), None)

    @property
    def num_shards(self) -> dict[str, int]:
        """How many shards each split has."""
        return {name: len(each.shard_list) for name, each in self.items()}

    def __repr__(self) -> str:
        return f"DatasetDict({super().__repr__()})"


def chosen(splits: Mapping[str, T], split: str, where: str) -> T:
    """One of the splits; ``RefusedError`` (a ``ValueError``) names those that there are."""
    if split in splits:
        return splits[split]
    raise RefusedError(
        f"Split {quoted(split)} not found: {where} has {', '.join(splits)}.{near(split, splits)}", split=split
    )
