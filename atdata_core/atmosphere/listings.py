"""The pages in which a PDS lists records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from atdata_core.errors import ServiceRefusedError

PAGE = 100
"""Records that a PDS gives at most in one answer."""
MAX_PAGES = 10_000
"""Pages of a listing: a million records. A hostile PDS may make up new ones for ever."""
MAX_EMPTY_PAGES = 100
"""Empty pages of a listing in a row: a PDS may leave out what it does not show, but not everything for ever."""


class Record(NamedTuple):
    """A record as a PDS gives it; ``value`` is plain JSON (``$bytes`` and ``$link`` are kept).

    ``record["name"]`` and ``record.get("name")`` read ``value``.
    """

    uri: str
    cid: str
    value: dict[str, Any]

    def __getitem__(self, place: Any) -> Any:
        """A field of ``value`` by its name; by a number, as of any tuple."""
        fields: tuple[Any, ...] = tuple(self)
        return self.value[place] if isinstance(place, str) else fields[place]

    def get(self, name: str, default: Any = None) -> Any:
        """A field of ``value``, as ``dict.get`` gives it."""
        return self.value.get(name, default)

    @property
    def created(self) -> tuple[datetime, str]:
        """Sorts records, the oldest first: the moment that ``createdAt`` tells, else before all; then the key."""
        return moment(self.get("createdAt")) or datetime.min.replace(tzinfo=UTC), self.uri.rpartition("/")[2]


def moment(said: object) -> datetime | None:
    """The moment that a record tells, in UTC; None where it tells none."""
    try:
        found = datetime.fromisoformat(said if isinstance(said, str) else "")
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def pages(
    page: Callable[[str | None], tuple[list[Record], str | None]],
    cursor: str | None,
    *,
    endless: Callable[[str], ServiceRefusedError],
) -> Iterator[tuple[list[Record], str | None]]:
    """The pages behind a cursor, each asked for by ``page``; ``endless`` makes the error where they never end."""
    seen: set[int] = set()
    empty = 0
    for _ in range(MAX_PAGES):
        asked = cursor
        records, cursor = page(cursor)
        empty = 0 if records else empty + 1
        if empty > MAX_EMPTY_PAGES:
            raise endless(f"gives more than {MAX_EMPTY_PAGES} empty pages in a row")
        if not records and cursor == asked:
            cursor = None  # nothing is behind it
        known = len(seen)
        seen.update(hash(record.uri) for record in records)
        if records and len(seen) == known:
            raise endless("gives records that it gave before, again and again")
        yield records, cursor
        if cursor is None:
            return
    raise endless(f"goes on after {MAX_PAGES:,} pages")


def is_last_page(records: Sequence[Record], cursor: str | None) -> bool:
    """Whether no page comes after one of ``PAGE`` records at most; spares the request for an empty one.

    The official PDS gives a cursor with its last page too: the key of the last record. Any other one stands for
    records that were left out.
    """
    return cursor is None or (0 < len(records) < PAGE and records[-1].uri.endswith(f"/{cursor}"))
