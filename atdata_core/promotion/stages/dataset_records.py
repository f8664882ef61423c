"""The records of one dataset: its entry, and the labels that point at it.

Making and asking them writes nothing, so that validating, planning and publishing go by the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ...atmosphere.record_format.build import entry_record
from ...atmosphere.record_format.record_keys import ENTRY
from ...common.licenses import refuse_unknown
from ...state.facts import ENTRY_NOTE
from ...state.ledger import Ledger, timestamp
from ..overrides import Overrides
from ..records.label import NameLabel, VersionLabel
from ..records.published_names import names_no_copies
from ..records.upsert import Created, RecordHistory, RecordUpsert, Steps
from ..scheduling.blocks import refuse_blocked

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import IndexEntry, ShardFacts
    from ..options import PromotionOptions, Values
    from .resolved_values import Resolved


class DatasetRecords:
    """Entry record, label of the name, and label of the version where one is asked for.

    Args:
        entry: The entry of the local index.
        resolved: What is to be published of it.
        shards: Its shards as they are published, or will be.
        schema_uri: At-uri of its schema record.
        client: A client that is logged in.
        ledger: The ledger of the index.
        options: What is asked of the promotion.
    """

    def __init__(
        self,
        entry: IndexEntry,
        resolved: Resolved,
        shards: Sequence[ShardFacts],
        schema_uri: str,
        client: AtmosphereClient,
        ledger: Ledger,
        options: PromotionOptions,
    ) -> None:
        publication, version = resolved.publication, options.version
        self.entry = EntryUpsert(entry, resolved, shards, schema_uri, client, ledger, options)
        self.label = NameLabel(entry, publication, client, ledger, options)
        self.version = (
            None if version is None else VersionLabel(entry, publication, version, client, ledger, options)
        )

    def check(self) -> None:
        """Refuse what the network would refuse, whatever stands there; raises ``PreflightError``."""
        self.entry.check()
        self.label.check()
        if self.version is not None:
            self.version.check()

    def look(self) -> Steps[None]:
        """Refuse, before the first of them is written, what cannot be written."""
        yield from self.entry.look()
        yield from self.label.look()
        if self.version is not None:
            yield from self.version.look()

    def dry_run(self) -> Steps[tuple[str, str, str]]:
        """What would be done to each: ``create``, ``update`` or ``keep``; raises what writing them would raise."""
        entry = yield from self.entry.dry_run()
        label = yield from self.label.dry_run()
        return entry, label, "keep" if self.version is None else (yield from self.version.dry_run())


class EntryUpsert:
    """The entry record as it shall be, by what people say now and what they said of it so far.

    ``order`` is the number of the last saying that went into the record that was written; ``before`` the record
    that stood in its place.
    """

    def __init__(
        self,
        entry: IndexEntry,
        resolved: Resolved,
        shards: Sequence[ShardFacts],
        schema_uri: str,
        client: AtmosphereClient,
        ledger: Ledger,
        options: PromotionOptions,
    ) -> None:
        publication = resolved.publication
        self._entry, self._resolved, self._publication = entry, resolved, publication
        self._shards, self._schema_uri = shards, schema_uri
        self._ledger, self._options = ledger, options
        self._history = RecordHistory(ledger, ENTRY_NOTE(entry.name, *publication))
        self._overrides = Overrides(entry, publication, ledger, options.defaults, resolved.earlier)
        self._record = RecordUpsert(publication.did, ENTRY, publication.rkey, self._history, options, client.now)
        self._run = options.run or uuid4().hex
        self._own_order: int | None = None
        self.order = 0

    @property
    def before(self) -> Record | None:
        """What stood where ``apply`` has written, or what it has left as it was."""
        return self._record.before

    # -- questions --------------------------------------------------------------------------------

    def check(self) -> None:
        """As ``DatasetRecords.check``; a license that SPDX does not know is refused where one is asked for."""
        self._record.check(self._built(self._resolved.values, timestamp))

    def look(self) -> Steps[Record | None]:
        """As ``RecordUpsert.look``."""
        return self._record.look(self._as_it_will_be)

    def dry_run(self) -> Steps[str]:
        """What ``apply`` would do: ``create``, ``update`` or ``keep``; raises what it would raise."""
        return self._record.dry_run(self._as_it_will_be)

    def _as_it_will_be(self, existing: Record | None, created: Created) -> Steps[dict[str, Any] | None]:
        """The record once people have said what they say now."""
        yield from ()  # nothing has to be asked for it
        refuse_blocked(self._ledger, self._entry.name, self._publication.did, self._options)
        witness = self._witness(existing)
        layers = self._overrides.layers(witness and witness.value, keep_urls=self._keeps_urls(witness))
        return self._built(self._overrides.resolve(layers, self._options.values), created)

    # -- commands ---------------------------------------------------------------------------------

    def keep_overrides(self) -> None:
        """Keep what people say now behind what they said before, and what they said of the name before that."""
        self._overrides.inherit()
        self._own_order = self._overrides.add(self._options.values, self._run)

    def drop_overrides(self) -> None:
        """What was refused is no override."""
        if self._own_order is not None:
            self._overrides.remove(self._run)

    def apply(self) -> Steps[tuple[Record | None, str | None]]:
        """As ``RecordUpsert.apply``; the record is left alone where somebody said other values since ``say``."""
        return self._record.apply(self._as_it_was_said)

    def _as_it_was_said(self, existing: Record | None, created: Created) -> Steps[dict[str, Any] | None]:
        """The record that shall stand; None where somebody gave other values since."""
        yield from ()  # nothing has to be asked for it
        refuse_blocked(self._ledger, self._entry.name, self._publication.did, self._options)
        witness = self._witness(existing)
        if witness is not None:
            self._overrides.recover(witness.value, keep_urls=self._keeps_urls(witness))
        layers = self._overrides.layers()
        if self._own_order is not None:
            if layers.order > self._own_order:
                return None
            if layers.order < self._own_order:
                # The ledger was lost on the way.
                self._own_order = self._overrides.add(self._options.values, self._run)
                layers = self._overrides.layers()
        self.order = layers.order
        return self._built(self._overrides.resolve(layers), created)

    def _witness(self, existing: Record | None) -> Record | None:
        """The record, where the ledger does not know it: then it tells what people said before.

        Raises ``DestinationError`` where it names shards elsewhere, and nobody says where they go.
        """
        if existing is None or self._history.last() is not None:
            return None
        self._resolved.location.refuse_unknown(existing, self._shards)
        return existing

    def _keeps_urls(self, witness: Record | None) -> bool:
        return witness is not None and self._resolved.location.store is None and names_no_copies(witness)

    def _built(self, values: Values, created: Created) -> dict[str, Any]:
        """The one place where an entry record is put together."""
        if self._options.require_license:
            refuse_unknown(values.license)
        return entry_record(
            name=self._publication.name,
            schema_uri=self._schema_uri,
            shards=self._shards,
            **values.of_record,
            metadata=self._entry.metadata,
            created_at=created(),
        )
