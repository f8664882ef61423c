"""The overrides of a publication: values that people gave it, in the order in which they gave them.

Each run that gives values gets the next number. A run that finds a higher number than its own was
followed by somebody who knew better, and writes nothing. The overrides of a name hold for the entries that
follow under it: a new publication inherits them, and its entry's own metadata count more.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..atmosphere.record_format.record_metadata import unpack_metadata
from ..errors import MetadataError
from ..state.facts import OVERRIDES, OverrideLog
from ..state.ledger import Json, Ledger
from .options import CONTENT_FIELDS, RECORD_FIELDS, Values, explicit_values, from_metadata

if TYPE_CHECKING:
    from ..atmosphere.record_format.record_keys import Publication
    from ..protocols import IndexEntry

KEPT = 20
"""Overrides that are kept one by one, so that one that is refused can be removed."""


@dataclass(frozen=True)
class OverrideLayers:
    """All overrides, layer by layer; ``order`` is the number of the last one, 0 for none.

    ``values`` were given to this publication, ``inherited`` to its name while an earlier entry was published.
    """

    values: Values
    order: int
    inherited: Values = Values()  # noqa: RUF009 - frozen

    @cached_property
    def explicit(self) -> Values:
        """What people said so far, of the publication or of its name."""
        return self.values.over(self.inherited)


@dataclass(frozen=True, slots=True)
class ResolvedValue:
    """A value as it will be published, and who decided that.

    Attributes:
        name: ``description``, ``tags``, ``license``, ``shards`` or ``readers``.
        asked: What this promotion is given; None where that is nothing.
        before: The override of before, of this entry or of an earlier one of the name; None where there is none.
        value: As it is published; None where there is none.
        source: Where that comes from.
    """

    name: str
    asked: Any
    before: Any
    value: Any
    source: str


NOW, BEFORE, METADATA, EARLIER, DEFAULT, NOBODY = (
    "asked now",
    "said before",
    "the entry's metadata",
    "said before, of an earlier entry",
    "default of the pipeline",
    "nobody",
)
"""Where a value can come from, the first one that has it counts."""


class Overrides:
    """What people said of one publication so far.

    Args:
        entry: The entry that is published.
        publication: Of the entry.
        ledger: Of its index.
        defaults: What holds where neither a person nor the metadata say anything.
        earlier: Overrides of the name for an earlier entry; used until something is inherited.
    """

    def __init__(
        self,
        entry: IndexEntry,
        publication: Publication,
        ledger: Ledger,
        defaults: Values = Values(),  # noqa: B008 - frozen
        earlier: Values = Values(),  # noqa: B008 - frozen
    ) -> None:
        self._earlier = earlier
        self._metadata = from_metadata(entry.metadata)
        self._defaults = defaults
        self._key = OVERRIDES(entry.name, *publication)
        self._ledger = ledger

    def layers(self, published: Mapping[str, Any] | None = None, *, keep_urls: bool = False) -> OverrideLayers:
        """The overrides now; where a record is given, as they would be after ``recover`` with it."""
        return self.layers_of(self._ledger.get(self._key), published, keep_urls=keep_urls)

    def layers_of(
        self, log: OverrideLog | None, published: Mapping[str, Any] | None = None, *, keep_urls: bool = False
    ) -> OverrideLayers:
        """The same from what the ledger has of them."""
        if published is not None:
            log = self._recovered(log, published, keep_urls)
        if log is None:
            return OverrideLayers(Values(), 0, self._earlier)
        inherited = self._earlier if log.inherited is None else Values.from_json(log.inherited)
        return OverrideLayers(Values.from_json(log.values), log.order, inherited)

    def resolve(self, layers: OverrideLayers, given: Values = Values()) -> Values:  # noqa: B008 - frozen
        """The values of the record, where ``given`` is given now."""
        said = given.over(layers.values)
        return said.over(self._metadata).over(layers.inherited).over(self._defaults)

    def explain(self, layers: OverrideLayers, given: Values) -> list[ResolvedValue]:
        """Each value of the record as ``resolve`` gives it, with who decided it."""
        sources = (
            (NOW, given),
            (BEFORE, layers.values),
            (METADATA, self._metadata),
            (EARLIER, layers.inherited),
            (DEFAULT, self._defaults),
        )
        before = layers.explicit
        found: list[ResolvedValue] = []
        for name in RECORD_FIELDS:
            source, value = next(
                ((source, value) for source, of in sources if (value := getattr(of, name)) is not None),
                (NOBODY, None),
            )
            if source != NOBODY or name not in CONTENT_FIELDS:
                found.append(ResolvedValue(name, getattr(given, name), getattr(before, name), value, source))
        return found

    def inherit(self) -> None:
        """Keep the overrides of the name for earlier entries: later ones of those do not concern this one."""
        if self._earlier == Values():
            return

        def change(log: OverrideLog | None) -> OverrideLog:
            if log is not None and log.inherited is not None:
                return log
            return _joined(*_parts(log), self._earlier.to_json())

        self._ledger.update(self._key, change)

    def add(self, values: Values, run: str | None) -> int | None:
        """Put the values that a run gives behind all earlier ones; their number, or None where it gives none.

        ``run`` names the run: one that is tried again keeps its number.
        """
        if values == Values():
            return None
        run = run or uuid4().hex

        def change(log: OverrideLog | None) -> OverrideLog | None:
            base, said = _parts(log)
            if any(one["run"] == run for one in said):
                return log
            said.append({"order": _order(base, said) + 1, "run": run, **values.to_json()})
            while len(said) > KEPT:
                base = {**_over(said[0], base).to_json(), "order": said.pop(0)["order"]}
            return _joined(base, said, log and log.inherited)

        log = self._ledger.update(self._key, change)
        return next(one["order"] for one in _parts(log)[1] if one["run"] == run)

    def remove(self, run: str) -> None:
        """Remove what a run gave: what was refused was not given."""

        def change(log: OverrideLog | None) -> OverrideLog:
            base, said = _parts(log)
            return _joined(base, [one for one in said if one["run"] != run], log and log.inherited)

        self._ledger.update(self._key, change)

    def recover(self, published: Mapping[str, Any], *, keep_urls: bool = False) -> None:
        """Learn the overrides of before the ledger was lost, from the record: it is the best witness.

        What the metadata in the record gives is none; the entry may have other metadata by now. ``keep_urls``:
        its shards lie at the index's own URLs, so that may be one.
        """
        self._earlier = Values()
        self._ledger.update(self._key, lambda log: self._recovered(log, published, keep_urls))

    def _recovered(
        self, log: OverrideLog | None, published: Mapping[str, Any], keep_urls: bool
    ) -> OverrideLog | None:
        before = overrides_in(published, self._defaults, self._metadata)
        before = replace(before, keep_urls=True if keep_urls else None)
        base, said = _parts(log)
        if Values.from_json(base) != Values():
            return log
        # What it inherited cannot be told from its own overrides, and is as good.
        return _joined({**base, **before.to_json()}, said, {})


def overrides_in(
    record: Mapping[str, Any],
    defaults: Values,
    metadata: Values = Values(),  # noqa: B008 - frozen
) -> Values:
    """The overrides by which an entry record is as it is; ``metadata`` where its own cannot be read."""
    with suppress(MetadataError):
        metadata = from_metadata(unpack_metadata(record.get("metadata")))
    return explicit_values(replace(Values.from_json(record), keep_urls=None), metadata.over(defaults))


def overrides_of(log: OverrideLog | None) -> Values:
    """What was said of a publication and of its name before, as the ledger holds it."""
    return Values() if log is None else _over(log.values, log.inherited or {})


def order_of(log: OverrideLog | None) -> int:
    """The number of the last override that the ledger has, 0 for none."""
    return 0 if log is None else log.order


def _parts(log: OverrideLog | None) -> tuple[Json, list[Json]]:
    """The overrides of long ago as one, and those since."""
    return ({"order": 0}, []) if log is None else (log.base, list(log.said))


def _order(base: Json, said: list[Json]) -> int:
    return (said[-1] if said else base)["order"]


def _over(later: Json, earlier: Json) -> Values:
    return Values.from_json(later).over(Values.from_json(earlier))


def _joined(base: Json, said: list[Json], inherited: Json | None) -> OverrideLog:
    values = Values.from_json(base)
    for one in said:
        values = Values.from_json(one).over(values)
    return OverrideLog(values.to_json(), _order(base, said), base, tuple(said), inherited=inherited)
