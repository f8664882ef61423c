"""``contentMetadata`` of an entry record: what a dataset is cited and found by, and what its shards hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, cast

from atdata_core.common.citation import CANONICAL, Creator
from atdata_core.errors import MetadataError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentMetadata:
    """What is known of a dataset beside the fields of its record.

    Attributes:
        creators: In the order in which they are cited.
        doi: ``10.5281/zenodo.1234567``, without an address before it.
        citation: How it wants to be cited, in words.
        homepage: The address of its own page.
        keywords: Also among the record's tags, as far as there is room.
        language: Tags of BCP 47.
        shard_sizes: Bytes of each shard, in the record's order; empty where they are not told.
        shapes: Of array fields whose arrays have one number of dimensions: lengths, None where they differ.
    """

    creators: tuple[Creator, ...] = ()
    doi: str | None = None
    citation: str | None = None
    homepage: str | None = None
    keywords: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    shard_sizes: tuple[int, ...] = ()
    shapes: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict[str, tuple[int | None, ...]])

    @classmethod
    def of_record(cls, record: Mapping[str, Any], metadata: Mapping[Any, Any] | None) -> Self:
        """What a record tells, whoever wrote it; what is not as it should be is left out.

        Args:
            record: An entry record.
            metadata: Its metadata, which tells what ``contentMetadata`` does not.
        """
        told = _mapping(record.get("contentMetadata"))
        given = {key: told.get(key, (metadata or {}).get(key)) for key in CANONICAL}
        shapes = {name: _shape(shape) for name, shape in _mapping(told.get("shapes")).items()}
        return cls(
            creators=_all(given["creators"], Creator.parse),
            doi=_one(given["doi"], CANONICAL["doi"]),
            citation=_one(given["citation"], CANONICAL["citation"]),
            homepage=_one(given["homepage"], CANONICAL["homepage"]),
            keywords=_all(given["keywords"], CANONICAL["keywords"]),
            language=_all(given["language"], CANONICAL["language"]),
            shard_sizes=_numbers(told.get("shardSizes")),
            shapes={name: shape for name, shape in shapes.items() if shape is not None},
        )

    def to_json(self) -> dict[str, Any]:
        """As a record holds it: what is empty is left out."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        said = {
            "creators": [creator.to_json() for creator in self.creators],
            "doi": self.doi,
            "citation": self.citation,
            "homepage": self.homepage,
            "keywords": list(self.keywords),
            "language": list(self.language),
            "shardSizes": list(self.shard_sizes),
            "shapes": shapes,
        }
        return {key: value for key, value in said.items() if value}


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _listed(value: Any) -> list[Any]:
    """A list, also where a single one stands for itself."""
    if isinstance(value, list | tuple):
        return list(cast("list[Any]", value))
    return [] if value is None else [value]


def _one(value: Any, read: Callable[[str], str]) -> str | None:
    return next(iter(_all(value if isinstance(value, str) else None, read)), None)


def _all(value: Any, read: Callable[[Any], _T]) -> tuple[_T, ...]:
    found: list[_T] = []
    for each in _listed(value):
        try:
            found.append(read(each))
        except (MetadataError, AttributeError, TypeError):
            continue
    return tuple(each for each in found if each)


def _numbers(value: Any) -> tuple[int, ...]:
    numbers = _listed(value)
    return tuple(numbers) if all(type(each) is int and each >= 0 for each in numbers) else ()


def _shape(value: Any) -> tuple[int | None, ...] | None:
    lengths = _listed(value)
    fits = isinstance(value, list) and all(each is None or (type(each) is int and each >= 0) for each in lengths)
    return tuple(lengths) if fits else None
