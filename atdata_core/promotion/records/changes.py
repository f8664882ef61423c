"""What is other than the last time, in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...common.urls import displayed

if TYPE_CHECKING:
    from ...protocols import ShardFacts

NAMED = 3
"""Shards that are named; the others are counted."""

ARROW = "→"


def short_cid(cid: str) -> str:
    """The end of a CID: its beginning is the same for all."""
    return f"…{cid[-8:]}"


def changed_value(what: str, before: str | None, now: str | None) -> tuple[str, ...]:
    """One line where a value is another one, none where it is the same; None is no value."""
    return () if before == now else (f"{what} {before or 'none'} {ARROW} {now or 'none'}",)


def changed_number(what: str, before: int | None, now: int | None) -> tuple[str, ...]:
    """As ``changed_value``; None is a number that is not known."""
    known = ["unknown" if number is None else f"{number:,}" for number in (before, now)]
    return () if before == now else (f"{what} {known[0]} {ARROW} {known[1]}",)


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
        ([shard for shard in now if _differs(old.get(shard.url), shard)], "with other bytes"),
    )
    lines = [f"{_count(shards)} {what}: {_named(shards)}" for shards, what in counts if shards]
    totals = (
        changed_number("shards", len(before), len(now)),
        changed_number("samples", _samples(before), _samples(now)),
        changed_number("bytes", sum(shard.size for shard in before), sum(shard.size for shard in now)),
    )
    return (*lines, *(line for total in totals for line in total))


def _differs(before: ShardFacts | None, now: ShardFacts) -> bool:
    return before is not None and before.sha256 != now.sha256


def _count(shards: Sequence[ShardFacts]) -> str:
    return "1 shard" if len(shards) == 1 else f"{len(shards):,} shards"


def _named(shards: Sequence[ShardFacts]) -> str:
    names = ", ".join(displayed(shard.url) for shard in shards[:NAMED])
    return names + (f" and {len(shards) - NAMED:,} more" if len(shards) > NAMED else "")


def _samples(shards: Sequence[ShardFacts]) -> int | None:
    counts = [shard.samples for shard in shards]
    return None if None in counts else sum(count for count in counts if count is not None)
