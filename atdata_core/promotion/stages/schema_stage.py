"""Stage 2, ``published_schema``: one schema record for a class and version, whoever asks."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...atmosphere import schema_records
from ...errors import SchemaError
from ...state.facts import FOREIGN_SCHEMAS, SCHEMA_RESULT, SchemaComparison, SchemaListing, SchemaResult
from ..options import PromotionOptions
from ..records.changes import changed_value
from .schema_changes import Compatibility, as_kept, key_of, own_compatibility, recall_compatibility

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...state.facts import Inventory
    from ...state.ledger import Ledger

CODE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class PublishedSchema:
    """Where the schema record lies. ``created``: this call wrote it.

    ``compatible`` compares it with the version before it, None where that is not known. ``changed`` says for people
    what is other than the last time, where it is that of a dataset; None: there was no last time. These two are not
    kept with the others.
    """

    uri: str
    cid: str
    created: bool
    compatible: Compatibility | None = field(default=None, compare=False)
    changed: tuple[str, ...] | None = field(default=None, compare=False)


def publish_schema(
    schema: dict[str, Any], client: AtmosphereClient, ledger: Ledger, *, require_compatible: bool = False
) -> PublishedSchema:
    """Find the schema record of a local schema, or write it.

    Found under its own key it costs one request, however many schemas there are. Else another writer's
    record of the same class, version and fields is reused. One that is written is compared with the version
    before it, which the ledger knows from then on.

    Raises:
        SchemaConflictError: The same class and version is published with other fields.
        SchemaIncompatibleError: It breaks with the version before it, its own version does not say so, and
            ``require_compatible``.
        PreflightError: The network would refuse the record.
    """
    listing = schema_records.Listing()
    found = find_schema(schema, client, ledger, listing)
    if listing.listed is not None:
        ledger.put(FOREIGN_SCHEMAS(client.did), SchemaListing(**listing.listed))
    known = recall_compatibility(schema, client.did, ledger)
    if known is None and (found is None or require_compatible):
        known = own_compatibility(schema, client, listing)
        kept = SchemaComparison(known.type_name, known.version, known.previous, known.problems)
        ledger.put(key_of(schema, client.did), kept)
    if require_compatible and known is not None:
        known.refuse()
    record, created = (found, False) if found else schema_records.create_schema(schema, client)
    return PublishedSchema(record.uri, record.cid, created, known)


def publish_schema_of(
    inventory: Inventory,
    client: AtmosphereClient,
    ledger: Ledger,
    options: PromotionOptions = PromotionOptions(),  # noqa: B008 - frozen
) -> PublishedSchema:
    """As ``publish_schema``, for a dataset; the ledger keeps the result, and the run that it is of."""
    result = publish_schema(inventory.schema, client, ledger, require_compatible=options.require_compatible)
    return note_schema(inventory, result, client, ledger, run=options.run)


def note_schema(
    inventory: Inventory,
    result: PublishedSchema,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    run: str | None = None,
) -> PublishedSchema:
    """Keep in the ledger which schema record a dataset has, and the run that it is of.

    Returns:
        The same, with what is other than the last time.
    """
    seen = SchemaResult(result.uri, result.cid, result.created, inventory.cid, client.did, run)
    before = ledger.exchange(SCHEMA_RESULT(inventory.name), seen)
    changed = None if before is None else changed_value("schema", before.uri, result.uri)
    return replace(result, changed=changed)


def schema_of_run(
    inventory: Inventory, client: AtmosphereClient, ledger: Ledger, options: PromotionOptions
) -> PublishedSchema:
    """The schema record that this run has just seen; looked for again where an earlier run did."""
    wanted, comparison = SCHEMA_RESULT(inventory.name), key_of(inventory.schema, client.did)
    found = ledger.get_many([wanted, comparison])
    kept = found[wanted]
    seen = inventory.cid, client.did, options.run, CODE_VERSION
    if (
        kept is not None
        and options.run is not None
        and (kept.entry_cid, kept.did, kept.run, kept.code_version) == seen
    ):
        return PublishedSchema(kept.uri, kept.cid, kept.created, as_kept(found[comparison]))
    return publish_schema_of(inventory, client, ledger, options)


class Schemas:
    """Publishes each distinct schema once, however many datasets have it and threads ask."""

    def __init__(self, client: AtmosphereClient, ledger: Ledger, options: PromotionOptions) -> None:
        self._client = client
        self._ledger = ledger
        self._options = options
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._found: dict[str, PublishedSchema | SchemaError] = {}

    def publish_of(self, inventory: Inventory) -> PublishedSchema:
        """As ``publish_schema_of``; ``created`` for the first dataset of a schema alone."""
        same = json.dumps(inventory.schema, sort_keys=True)
        with self._lock:
            lock = self._locks.setdefault(same, threading.Lock())
        with lock:
            found = self._found.get(same)
            if found is None:
                found = self._publish(inventory)
                self._found[same] = replace(found, created=False) if isinstance(found, PublishedSchema) else found
        if isinstance(found, SchemaError):
            raise found
        return note_schema(inventory, found, self._client, self._ledger)

    def _publish(self, inventory: Inventory) -> PublishedSchema | SchemaError:
        try:
            return publish_schema(
                inventory.schema, self._client, self._ledger, require_compatible=self._options.require_compatible
            )
        except SchemaError as error:
            return error  # as it would be for the next dataset


def find_schema(
    schema: dict[str, Any],
    client: AtmosphereClient,
    ledger: Ledger,
    listing: schema_records.Listing | None = None,
) -> Record | None:
    """The published record of a local schema, or None; nothing is written. Raises ``SchemaConflictError``.

    Only what was added since ``publish_schema`` has listed the account's schemas is listed.
    """

    def recall() -> schema_records.Listed | None:
        kept = ledger.get(FOREIGN_SCHEMAS(client.did))
        return None if kept is None else {"cursor": kept.cursor, "found": kept.found}

    return schema_records.find_schema(schema, client, recall, listing)
