"""``DatasetDict``: the splits of a dataset by their names, and how they are told apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from ..common.names import near, quoted
from ..errors import MetadataError, RefusedError
from ..shards.dataset import Dataset

T = TypeVar("T")

SPLITS = "splits"
"""Where an entry's metadata name its splits: ``{"splits": {"train": ["train-*.tar"], "test": [2, 3]}}``."""

_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "development": "validation",
}
_BETWEEN = re.compile(r"[^a-z0-9]+")


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


def splits_of(shards: Sequence[str], metadata: Mapping[Any, Any] | None = None) -> dict[str, list[str]]:
    """The shards of each split; nothing where there are no splits.

    The metadata tell (``SPLITS``), else the names of the files, else those of the folders that they lie in, where
    these name two at least: see ``split_name``. Shards that name none are then for training.

    Raises:
        MetadataError: The metadata name a shard that is not there.
    """
    if told := _told(metadata):
        return {name: list(_named(name, wanted, shards)) for name, wanted in told.items()}
    for of_folder in (False, True):
        splits: dict[str, list[str]] = {}
        for shard in shards:
            splits.setdefault(split_name(shard, of_folder=of_folder) or "train", []).append(shard)
        if len(splits) > 1:
            return splits
    return {}


def split_name(shard: str, *, of_folder: bool) -> str | None:
    """``train``, ``test`` or ``validation``, also where it says ``val`` or ``dev``; None where it says none.

    Of a file's name each word counts, that of a folder counts as a whole.
    """
    *folders, file = _parts(shard.lower())
    words = folders[-1:] if of_folder else _BETWEEN.split(file)
    return next((_WORDS[word] for word in words if word in _WORDS), None)


def chosen(splits: Mapping[str, T], split: str, where: str) -> T:
    """One of the splits; ``RefusedError`` (a ``ValueError``) names those that there are."""
    if split in splits:
        return splits[split]
    raise RefusedError(
        f"Split {quoted(split)} not found: {where} has {', '.join(splits)}.{near(split, splits)}", split=split
    )


def _told(metadata: Mapping[Any, Any] | None) -> dict[str, list[str | int]]:
    """What the metadata say of splits; nothing where they say other things under that name."""
    told: Any = (metadata or {}).get(SPLITS)
    if not isinstance(told, dict) or not told:
        return {}
    splits: dict[str, list[str | int]] = {}
    for name, wanted in cast("dict[Any, Any]", told).items():
        shards = cast("list[Any]", wanted if isinstance(wanted, list) else [wanted])
        if not isinstance(name, str) or not all(isinstance(each, str | int) for each in shards):
            return {}
        splits[name] = shards
    return splits


def _named(name: str, wanted: Sequence[str | int], shards: Sequence[str]) -> Iterator[str]:
    """The shards that metadata name for a split, by their number or file name."""
    for each in wanted:
        if isinstance(each, int):
            found = [shard for number, shard in enumerate(shards) if number == each]
        else:
            found = [shard for shard in shards if fnmatchcase(_parts(shard)[-1], each)]
        if not found:
            raise MetadataError(
                f"The metadata name {each!r} as a shard of the split {quoted(name)}, and there is none. Ask the "
                "publisher, or read all shards: AtmosphereIndex.open_dataset, or LocalIndex.get_dataset.",
                name=name,
            )
        yield from found


def _parts(shard: str) -> list[str]:
    """The parts of a path or URL, the file's name last."""
    return shard.partition("?")[0].replace("\\", "/").split("/")
