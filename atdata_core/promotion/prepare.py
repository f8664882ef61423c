"""Everything that comes before the records of a dataset: its shards, its schema, and a look at both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..state.facts import CopiedShards, Inventory
from .stages.copy_stage import copy_shards
from .stages.inventory_stage import take_inventory
from .stages.publish import begin_publishing, dropping_refused
from .stages.resolved_values import Finder, Resolved, resolve
from .stages.schema_stage import PublishedSchema, known_compatibility
from .stages.validate import validate
from .stages.visibility import Visibility, probe_published

if TYPE_CHECKING:
    from ..atmosphere.client import AtmosphereClient
    from ..protocols import AbstractIndex, IndexEntry
    from ..state.ledger import Ledger
    from .options import PromotionOptions
    from .scheduling.retry_policy import Attempt

Done = Callable[[str, Any], None]
"""Called after each stage with its name and what it gave: an Inventory, a PublishedSchema, CopiedShards."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset whose shards lie where the record will say, and were seen there."""

    entry: IndexEntry
    schema: PublishedSchema
    copies: CopiedShards
    seen: Visibility
    resolved: Resolved


def prepare(
    entry: IndexEntry,
    index: AbstractIndex,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    publish_schema: Callable[[Inventory], PublishedSchema],
    current_attempt: Attempt,
    data_store: Any,
    options: PromotionOptions,
    done: Done,
    find: Finder | None = None,
) -> Prepared:
    """Stages 1 to 3 of a promotion, and the look at the shards with which the last one begins.

    All records are checked before the first of them, the schema's, is written. ``current_attempt`` has
    the stage that begins; it is that of the records in the end.

    Args:
        entry: The entry of the local index.
        index: The index that has its schema.
        client: A client that is logged in.
        ledger: The ledger of the index.
        publish_schema: Stage 2, as ``publish_schema_of``.
        current_attempt: Where the promotion stands.
        data_store: Where shards are copied to; None keeps their URLs.
        options: What is asked of the promotion.
        done: Told of each stage.
        find: Reads a record of the account; the client by default.

    Raises:
        NotLoggedInError: The client is not logged in.
        AtdataError: What the stages raise.
    """
    resolved = resolve(
        entry, client.did, ledger, data_store=data_store, options=options, find=find or client.find_record
    )
    data_store = resolved.location.store
    inventory = take_inventory(entry, index, ledger, destination=data_store, did=client.did)
    done("local_dataset", inventory)
    current_attempt.stage = "published_schema"
    validate(entry, inventory, resolved, client, ledger, options=options)
    begin_publishing(entry, resolved.publication, ledger, options)
    with dropping_refused(entry, resolved.publication, ledger, options):
        copies = None
        if data_store is not None and not data_store.takes_copies:
            # What such a store writes is known, and can be refused, only once it is written.
            if options.require_compatible:
                known_compatibility(inventory.schema, client, ledger).refuse()
            current_attempt.stage = "copied_shards"
            copies = copy_shards(entry, inventory, index, ledger, data_store=data_store, run=options.run)
            current_attempt.stage = "published_schema"
        schema = publish_schema(inventory)
        done("published_schema", schema)
        if copies is None:
            current_attempt.stage = "copied_shards"
            published = resolved.published_copies(inventory, ledger)
            copies = copy_shards(
                entry, inventory, index, ledger, data_store=data_store, published=published, run=options.run
            )
        done("copied_shards", copies)
        current_attempt.stage = "atmosphere_record"
        seen = probe_published(entry, copies, index, client.base_url, resolved=resolved, options=options)
        return Prepared(entry, schema, copies, seen, resolved)
