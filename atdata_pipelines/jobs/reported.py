"""What a sensor has told of datasets already: nobody reads the same reasons every thirty seconds."""

import hashlib
from collections.abc import Iterable
from typing import Any, Self

REMEMBERED = 1_000
"""Datasets of which it is known what was told; Dagster keeps the cursor of each tick."""

_DIGITS = 8


class ReportedReasons:
    """What was told of datasets last, as short digests: a part of a sensor's cursor.

    Args:
        digests: By the digest of a dataset's name that of what was told, the oldest first.
    """

    def __init__(self, digests: dict[str, str] | None = None) -> None:
        self._digests = digests or {}

    @classmethod
    def of(cls, said: Any) -> Self:
        """As a cursor says; nothing was told where a person edited it, and it says nothing."""
        if not isinstance(said, dict):
            return cls()
        digests: list[tuple[Any, Any]] = list(said.items())[-REMEMBERED:]
        return cls({str(name)[:_DIGITS]: str(what)[:_DIGITS] for name, what in digests})

    def has(self, name: str, what: str) -> bool:
        """Whether this was the last that was told of a dataset."""
        return self._digests.get(_digest(name)) == _digest(what)

    def keep(self, name: str, what: str) -> None:
        """Remember what is told of a dataset; of too many the oldest are forgotten."""
        self.forget([name])
        self._digests[_digest(name)] = _digest(what)
        for oldest in list(self._digests)[:-REMEMBERED]:
            del self._digests[oldest]

    def forget(self, names: Iterable[str]) -> None:
        """There is nothing to tell of datasets any more: what comes is news."""
        for name in names:
            self._digests.pop(_digest(name), None)

    def digests(self) -> dict[str, str]:
        """For the cursor."""
        return dict(self._digests)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_DIGITS]
