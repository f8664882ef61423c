"""What an entry record says, in short, and what of it or of its shards has changed, a line each for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from ...common.citation import CANONICAL
from ...common.urls import displayed
from ..options import Values

if TYPE_CHECKING:
    from ...protocols import ShardFacts

TEXT = 300
"""Characters of a text that the ledger keeps, to compare it."""
SHOWN = 60
"""Characters of a text that is shown as one that has changed."""
NAMED = 3
"""Shards that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Summary:
    """An entry record in short.

    ``place`` is the folder of the first shard, or the bucket; ``size`` is in bytes; ``digests`` and ``metadata``
    are one digest each, of the digests of all shards and of the record's metadata; ``content`` is one of what it is
    cited and found by. A number that the record does not tell, or not as a number, is None.
    """

    account: str
    entry: str
    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    license: str | None = None
    schema: str | None = None
    place: str | None = None
    shards: int | None = None
    samples: int | None = None
    size: int | None = None
    digests: str | None = None
    metadata: str | None = None
    content: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any], *, account: str, entry: str) -> Summary:
        """The summary of an entry record, whoever wrote it: what has another shape than ours is left out.

        Args:
            record: As the PDS has it.
            account: DID of the account.
            entry: CID of the index entry that it was made from.
        """
        said, size = Values.from_json(record), _object(record.get("size"))
        storage = _object(record.get("storage"))
        given: Any = storage.get("shards", storage.get("blobs"))
        shards = [_object(shard) for shard in cast("list[Any]", given)] if isinstance(given, list) else []
        return cls(
            account,
            entry,
            _text(record.get("name")),
            said.description or None,
            said.tags or (),
            said.license or None,
            _text(record.get("schemaRef")),
            _place(storage, shards),
            _number(size.get("shards")),
            _number(size.get("samples")),
            _number(size.get("bytes")),
            _digest([shard.get("checksum") for shard in shards]),
            _digest(record.get("metadata")),
            _digest(
                {key: value for key, value in _object(record.get("contentMetadata")).items() if key in CANONICAL}
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """The summary as a JSON object of bounded size."""
        return {**asdict(self), "description": _short(self.description), "tags": [*self.tags]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Summary | None:
        """The inverse of ``to_json``, what it lacks as by default; None where it was not kept, or is damaged."""
        if data is None:
            return None
        known: dict[str, Any] = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        try:
            known["tags"] = tuple(known.get("tags", ()))
            return cls(**known)
        except TypeError:
            return None

    def changes(self, before: Summary | None) -> tuple[str, ...]:
        """What of this is other than ``before``, a line each; None: it was not kept what was before."""
        if before is None:
            return ("what it was before was not kept",)
        totals = (
            *changed_number("shards", before.shards, self.shards),
            *changed_number("samples", before.samples, self.samples),
            *changed_number("bytes", before.size, self.size),
        )
        return (
            *changed_value("account", before.account, self.account),
            *changed_value("entry", short_cid(before.entry), short_cid(self.entry)),
            *changed_value("name", _quoted(before.name), _quoted(self.name)),
            *_changed_text("description", before.description, self.description),
            *_changed_tags(before.tags, self.tags),
            *_changed_text("license", before.license, self.license),
            *changed_value("schema", before.schema, self.schema),
            *changed_value("shards at", before.place, self.place),
            *totals,
            *(() if totals or before.digests == self.digests else ("other bytes",)),
            *(() if before.metadata == self.metadata else ("other metadata",)),
            *(() if before.content == self.content else ("cited and found by other words",)),
        )


def _changed_text(what: str, before: str | None, now: str | None) -> tuple[str, ...]:
    if _short(before) == _short(now):
        return ()
    return changed_value(what, _quoted(before), _quoted(now)) or (f"{what} changed in its end",)


def _changed_tags(before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    if before == now:
        return ()
    moves = [f"+{_quoted(tag)}" for tag in now if tag not in before]
    moves += [f"-{_quoted(tag)}" for tag in before if tag not in now]
    return (f"tags {' '.join(moves) or 'in another order'}",)


def _short(text: str | None) -> str | None:
    """The same for the same text: what is cut off stands in a digest."""
    if text is None or len(text) <= TEXT:
        return text
    return f"{text[: TEXT - 17]}…{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _quoted(text: str | None) -> str | None:
    """On one line, and not longer than people read."""
    if text is None:
        return None
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")


def _place(storage: Mapping[str, Any], shards: list[dict[str, Any]]) -> str | None:
    if storage.get("blobs"):
        return "blobs of the account"
    bucket, first = _text(storage.get("bucket")), _text(shards[0].get("url")) if shards else None
    if bucket is not None:
        return f"s3://{bucket} at {displayed(_text(storage.get('endpoint')) or 'AWS')}"
    return None if first is None else displayed(first).rpartition("/")[0]


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if type(value) is int else None


def _digest(value: Any) -> str | None:
    if not value:
        return None
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def short_cid(cid: str) -> str:
    """The end of a CID: its beginning is the same for all."""
    return f"…{cid[-8:]}"


def changed_value(what: str, before: str | None, now: str | None) -> tuple[str, ...]:
    """One line where a value is another one, none where it is the same; None is no value."""
    return () if before == now else (f"{what} {before or 'none'} → {now or 'none'}",)


def changed_number(what: str, before: int | None, now: int | None) -> tuple[str, ...]:
    """As ``changed_value``; None is a number that is not known."""
    known = ["unknown" if number is None else f"{number:,}" for number in (before, now)]
    return () if before == now else (f"{what} {known[0]} → {known[1]}",)


def changed_shards(before: Sequence[ShardFacts], now: Sequence[ShardFacts]) -> tuple[str, ...]:
    """Which shards came, went, moved or hold other bytes, and what that made of the totals."""
    old, new = {shard.url: shard for shard in before}, {shard.url: shard for shard in now}
    gone = [shard for shard in before if shard.url not in new]
    added = [shard for shard in now if shard.url not in old]
    # The same bytes under another URL.
    moved = {shard.sha256 for shard in gone} & {shard.sha256 for shard in added}
    counts = (
        ([shard for shard in added if shard.sha256 not in moved], "added"),
        ([shard for shard in gone if shard.sha256 not in moved], "removed"),
        ([shard for shard in added if shard.sha256 in moved], "moved"),
        ([shard for shard in now if old.get(shard.url, shard).sha256 != shard.sha256], "with other bytes"),
    )
    return (
        *(_named(shards, what) for shards, what in counts if shards),
        *changed_number("shards", len(before), len(now)),
        *changed_number("samples", _samples(before), _samples(now)),
        *changed_number("bytes", sum(shard.size for shard in before), sum(shard.size for shard in now)),
    )


def _named(shards: Sequence[ShardFacts], what: str) -> str:
    count = "1 shard" if len(shards) == 1 else f"{len(shards):,} shards"
    names = ", ".join(displayed(shard.url) for shard in shards[:NAMED])
    more = f" and {len(shards) - NAMED:,} more" if len(shards) > NAMED else ""
    return f"{count} {what}: {names}{more}"


def _samples(shards: Sequence[ShardFacts]) -> int | None:
    counts = [shard.samples for shard in shards]
    return None if None in counts else sum(count for count in counts if count is not None)
