"""What can be said of a publication: description, tags, license, and where its shards lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Values:
    """Explicit values. None: nothing was said; ``""`` and ``()``: clear it.

    ``keep_urls``: whether the shards stay at the index's own URLs even where a data store is configured, or where
    copies of them are published.
    """

    description: str | None = None
    tags: tuple[str, ...] | None = None
    license: str | None = None
    keep_urls: bool | None = None

    @classmethod
    def of(
        cls,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        license: str | None = None,
        keep_urls: bool | None = None,
    ) -> Values:
        """Values from arguments as people give them; a single tag may come as a plain string."""
        if isinstance(tags, str):
            tags = [tags]
        return cls(description, None if tags is None else tuple(tags), license, keep_urls)

    def to_json(self) -> dict[str, Any]:
        """What was said, as a JSON object; what was not said is left out."""
        return {
            key: list(value) if key == "tags" else value
            for key in FIELDS
            if (value := getattr(self, key)) is not None
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Values:
        """The inverse of ``to_json``; also reads an entry record. What is of another type is left out."""
        keep_urls = data.get("keep_urls")
        return replace(from_metadata(data), keep_urls=keep_urls if isinstance(keep_urls, bool) else None)

    def over(self, earlier: Values) -> Values:
        """These values where something was said, the earlier ones elsewhere."""
        mine = {key: value for key in FIELDS if (value := getattr(self, key)) is not None}
        return replace(earlier, **mine)


FIELDS = tuple(each.name for each in fields(Values))
"""The names of the values."""


def from_metadata(metadata: Mapping[Any, Any] | None) -> Values:
    """The values that an entry's own metadata gives, where they have the right type."""
    metadata = metadata or {}
    description, tags, license = (metadata.get(key) for key in ("description", "tags", "license"))
    if not isinstance(tags, (list, tuple)) or not all(isinstance(tag, str) for tag in cast(list[Any], tags)):
        tags = None
    return Values.of(
        description if isinstance(description, str) else None,
        cast("list[str] | None", tags),
        license if isinstance(license, str) else None,
    )


def typed(published: Values, given: Values) -> Values:
    """What a person must have said for ``published`` to stand in a record whose entry gives ``given``."""

    def said(there: Any, otherwise: Any, cleared: Any) -> Any:
        return None if there == otherwise else cleared if there is None else there

    return Values(
        said(published.description or None, given.description or None, ""),
        said(published.tags or None, given.tags or None, ()),
        said(published.license or None, given.license or None, ""),
    )
