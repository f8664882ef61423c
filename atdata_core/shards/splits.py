"""The splits of a dataset: how they are told by its metadata, and by the names of its shards."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

from ..common.names import quoted

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


def splits_of(shards: Sequence[str], metadata: Mapping[Any, Any] | None = None) -> dict[str, list[str]]:
    """The shards of each split; nothing where there are no splits.

    The metadata tell (``SPLITS``), else the names of the files, else those of the folders that they lie in, where
    these name two at least: see ``split_name``. Shards that name none are then for training. Metadata that tell
    splits which cannot be are told of in the log, and all shards are one dataset.
    """
    try:
        numbers = _numbers(shards, metadata)
    except ValueError as error:
        _log.warning("The splits in the metadata are ignored, and all shards read as one dataset: %s.", error)
        return {}
    return {name: [shards[number] for number in split] for name, split in numbers.items()}


def keeping_splits(
    metadata: dict[Any, Any] | None, shards: Sequence[str], copies: Sequence[str]
) -> dict[Any, Any] | None:
    """The metadata, by which the copies of shards have the splits of the shards.

    As they are where they and the copies' names tell these splits already; else they name them by number.

    Args:
        metadata: Of the shards.
        shards: Where these lie.
        copies: Where their copies lie, in the same order.
    """
    try:
        splits = _numbers(shards, metadata)
    except ValueError:
        return metadata
    try:
        told = _numbers(copies, metadata)
    except ValueError:
        told = {}
    return metadata if not splits or told == splits else {**(metadata or {}), SPLITS: splits}


def split_name(shard: str, *, of_folder: bool) -> str | None:
    """``train``, ``test`` or ``validation``, also where it says ``val`` or ``dev``; None where it says none.

    Of a file's name each word counts, that of a folder counts as a whole.
    """
    *folders, file = _parts(shard.lower())
    words = folders[-1:] if of_folder else _BETWEEN.split(file)
    return next((_WORDS[word] for word in words if word in _WORDS), None)


def _numbers(shards: Sequence[str], metadata: Mapping[Any, Any] | None) -> dict[str, list[int]]:
    """The shards of each split, by their numbers; ``ValueError`` where the metadata tell splits that cannot be."""
    told: Any = (metadata or {}).get(SPLITS)
    if isinstance(told, dict) and told:
        return {_name(name): _named(wanted, shards) for name, wanted in cast("dict[Any, Any]", told).items()}
    for of_folder in (False, True):
        splits: dict[str, list[int]] = {}
        for number, shard in enumerate(shards):
            splits.setdefault(split_name(shard, of_folder=of_folder) or "train", []).append(number)
        if len(splits) > 1:
            return splits
    return {}


def _name(given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{quoted(given)} is no name of a split")
    return given


def _named(wanted: object, shards: Sequence[str]) -> list[int]:
    """The shards that metadata name for a split by their number or file name, each once."""
    found: dict[int, None] = {}
    for each in cast("list[object]", wanted) if isinstance(wanted, list) else [wanted]:
        named = dict.fromkeys(number for number, shard in enumerate(shards) if _is(each, number, shard))
        if not named:
            raise ValueError(f"no shard is {quoted(each)}")
        found |= named
    if not found:
        raise ValueError("a split has no shards")
    return list(found)


def _is(wanted: object, number: int, shard: str) -> bool:
    if isinstance(wanted, str):
        return fnmatchcase(_parts(shard)[-1], wanted)
    return type(wanted) is int and wanted == number


def _parts(shard: str) -> list[str]:
    """The parts of a path or URL, the file's name last."""
    return shard.partition("?")[0].replace("\\", "/").split("/")
