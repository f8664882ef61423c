"""``DatasetDict``: the splits of a dataset by their names, and how they are told apart."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from ..common.names import near, quoted
from ..errors import RefusedError
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
_log = logging.getLogger("atdata_core")
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
    these name two at least: see ``split_name``. Shards that name none are then for training. Metadata that tell
    splits which cannot be are told of in the log, and all shards are one dataset.
    """
    told: Any = (metadata or {}).get(SPLITS)
    if isinstance(told, dict) and told:
        try:
            return {_name(name): _named(wanted, shards) for name, wanted in cast("dict[Any, Any]", told).items()}
        except ValueError as error:
            _log.warning("The splits in the metadata are ignored, and all shards read as one dataset: %s.", error)
            return {}
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


def _name(given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{quoted(given)} is no name of a split")
    return given


def _named(wanted: object, shards: Sequence[str]) -> list[str]:
    """The shards that metadata name for a split by their number or file name, each once."""
    found: dict[int, str] = {}
    for each in cast("list[object]", wanted) if isinstance(wanted, list) else [wanted]:
        named = {number: shard for number, shard in enumerate(shards) if _is(each, number, shard)}
        if not named:
            raise ValueError(f"no shard is {quoted(each)}")
        found |= named
    if not found:
        raise ValueError("a split has no shards")
    return list(found.values())


def _is(wanted: object, number: int, shard: str) -> bool:
    if isinstance(wanted, str):
        return fnmatchcase(_parts(shard)[-1], wanted)
    return type(wanted) is int and wanted == number


def _parts(shard: str) -> list[str]:
    """The parts of a path or URL, the file's name last."""
    return shard.partition("?")[0].replace("\\", "/").split("/")
