"""``contentMetadata`` of an entry record: what a dataset is cited and found by, and what its shards hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar, cast

from atdata_core.common.citation import CANONICAL, Creator
from atdata_core.errors import MetadataError
from atdata_core.protocols import ShardFacts
from atdata_core.samples.sample_types import packable
from atdata_core.samples.schema import describe

_T = TypeVar("_T")

_ROOM = 800_000
"""Bytes that shards take in a record, about, up to which it also tells how large each is: with more there may be no
room for that, and no dataset is refused for it."""
_SHARD = 120
"""Bytes that a shard takes there beside its URL, about."""


@packable
class DatasetMetadata:
    """What a dataset is cited and found by, and what its shards hold.

    Attributes:
        creators: Who made it, in the order of a citation; name, and orcid or did.
        doi: A DOI, without an address before it.
        citation: How it wants to be cited, in words.
        homepage: The address of its own page.
        keywords: Also among the tags of the record, as far as there is room.
        language: Tags of BCP 47.
        shardSizes: Bytes of each shard, in the order of the record.
        shapes: Of array fields, by name: the lengths of their dimensions, null for any.
    """

    creators: list[dict] | None  # pyright: ignore[reportMissingTypeArgument]
    doi: str | None
    citation: str | None
    homepage: str | None
    keywords: list[str] | None
    language: list[str] | None
    shardSizes: list[int] | None
    shapes: dict | None  # pyright: ignore[reportMissingTypeArgument]


def content_schema() -> dict[str, Any]:
    """The schema of ``contentMetadata``, in the form of the local index: ``atdata.DatasetMetadata``."""
    return {**describe(DatasetMetadata), "module": "atdata"}


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

    @property
    def is_described(self) -> bool:
        """Whether people said anything of it."""
        return bool(self.shapes) or any(getattr(self, key) for key in CANONICAL)

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Self:
        """What people give, by the keys of ``CANONICAL``; empty is nothing.

        Raises:
            MetadataError: A value is malformed; the error names its key.
        """
        said: dict[str, Any] = {}
        for key, value in values.items():
            read: Callable[[str], Any] = Creator.parse if key == "creators" else CANONICAL[key]
            if value:
                said[key] = read(value) if isinstance(value, str) else tuple(dict.fromkeys(map(read, value)))
        return cls(**said)

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


def told_sizes(shards: Sequence[ShardFacts]) -> tuple[int, ...]:
    """The size of each shard, in bytes, where a record of them all has room for that; else none."""
    taken = sum(len(shard.url.encode()) + _SHARD for shard in shards)
    return tuple(shard.size for shard in shards) if taken <= _ROOM else ()


def given_shapes(metadata: Mapping[Any, Any] | None) -> dict[str, tuple[int | None, ...]]:
    """The shapes of array fields that an entry's metadata gives under ``shapes``.

    Raises:
        MetadataError: One is no list of lengths.
    """
    found: dict[str, tuple[int | None, ...]] = {}
    for name, given in _mapping((metadata or {}).get("shapes")).items():
        shape = _shape(given)
        if shape is None:
            raise MetadataError(
                f"shapes of the entry's metadata has {str(given)[:60]!r} for {str(name)[:60]!r}. A shape is a list "
                "of lengths such as [28, 28], with None for any length.",
                path="shapes",
            )
        found[str(name)] = shape
    return found


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
