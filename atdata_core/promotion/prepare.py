"""Everything that comes before the records of a dataset: its shards, its schema, and what refuses them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..atmosphere.record_format.build import schema_record
from ..atmosphere.record_format.lexicon import check
from ..atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA, schema_rkey
from ..common.byte_progress import Progress
from ..errors import DatasetNameError, RefusedError
from ..protocols import ShardFacts
from ..samples.schema import full_name
from ..state.facts import ENTRY_NOTE, NAME_OWNER, CopiedShards, Inventory
from ..state.ledger import timestamp
from .copies.layout import as_published, claim_of, names_of
from .inventory import cid_of, publication_of, read_schema
from .records.early_finds import EarlyFinds
from .scheduling.retry_policy import refuse_blocked, retracted
from .stages.copy_stage import copy_shards, earlier_copies, find_copies
from .stages.inventory_stage import take_inventory
from .stages.publish import DatasetRecords, begin_publishing, dropping_refused
from .stages.resolved_values import Finder, Resolved, resolve
from .stages.schema_stage import PublishedSchema, known_compatibility
from .stages.visibility import AnonymousReader, Visibility, probe_published

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

    schema: PublishedSchema
    copies: CopiedShards
    visibility: Visibility
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
    progress: Progress | None = None,
) -> Prepared:
    """Stages 1 to 3 of a promotion, and the probe of the shards with which the last one begins.

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
        progress: Told of the shards that are looked at, then of those that are copied.

    Raises:
        NotLoggedInError: The client is not logged in.
        AtdataError: What the stages raise.
    """
    did = client.did
    resolved = resolve(entry, did, ledger, data_store=data_store, options=options, find=find or client.find_record)
    data_store = resolved.location.store
    inventory = take_inventory(entry, index, ledger, destination=data_store, progress=progress, did=did)
    done("local_dataset", inventory)
    current_attempt.stage = "published_schema"
    validate(inventory, resolved, client)
    begin_publishing(resolved)
    with dropping_refused(resolved):
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
            published = resolved.published_copies(inventory)
            copies = copy_shards(
                entry,
                inventory,
                index,
                ledger,
                data_store=data_store,
                published=published,
                progress=progress,
                run=options.run,
            )
        done("copied_shards", copies)
        current_attempt.stage = "atmosphere_record"
        return Prepared(schema, copies, probe_published(resolved, copies, index, client.base_url), resolved)


def early_finds(
    entry: IndexEntry, index: AbstractIndex, client: AtmosphereClient, ledger: Ledger, options: PromotionOptions
) -> EarlyFinds:
    """The records that a promotion of a dataset will ask for first, asked for before its shards are looked at."""
    keys: list[tuple[str, str]] = []
    # What is wrong with the entry is said in its turn.
    with suppress(RefusedError, KeyError):
        publication = publication_of(entry, cid_of(entry), client.did, options.name)
        schema = read_schema(entry, index)
        keys += [(LABEL, publication.label_rkey), (SCHEMA, schema_rkey(full_name(schema), schema["version"]))]
        if ledger.get(ENTRY_NOTE(entry.name, *publication)) is not None:
            keys.append((ENTRY, publication.rkey))
    return EarlyFinds(client, keys)


def validate(inventory: Inventory, resolved: Resolved, client: AtmosphereClient) -> list[ShardFacts]:
    """Check schema, entry and labels as they would be written; nothing is, so nothing is half done.

    Returns:
        The shards as they will be published, as far as that is known beforehand.

    Raises:
        BlockedError: The dataset was retracted or deleted, and no person asked.
        DatasetNameError, MetadataError, SchemaError: The entry cannot be published as it is, or another dataset
            is published under that name and nobody asked to take it over.
        StorageError: Its shards cannot be published from where they lie.
        PreflightError: The network would refuse a record; every problem is named.
        NotPublicError: Anonymous readers cannot read the shards where they are, and that was asked for.
        LicenseError: It has no license that SPDX knows, and one was asked for.
        ShardMissingError, ShardConflictError: The destination's bucket is not there, or something else lies where
            a copy should go.
    """
    ledger, options, data_store = resolved.ledger, resolved.options, resolved.location.store
    did = resolved.publication.did
    _check_owner(resolved)
    refuse_blocked(ledger, resolved.entry.name, did, options)
    schema_key = schema_rkey(full_name(inventory.schema), inventory.schema["version"])
    check(SCHEMA, schema_key, schema_record(inventory.schema, created_at=timestamp()), did=did)
    if data_store is not None:
        data_store.check_shards(inventory.shards)
    planned = _planned_shards(inventory, resolved)
    schema_uri = f"at://{did}/{SCHEMA}/{schema_key}"
    DatasetRecords(resolved, planned, claim_of(inventory.shards), schema_uri, client).check()
    if options.require_public:
        anonymous = AnonymousReader(client.base_url)
        kept = data_store is None
        unreadable = anonymous.unreadable(planned, doubtless=True) if kept else anonymous.out_of_reach(planned)
        Visibility(len(planned), unreadable).refuse()
    foreseen = data_store is not None and data_store.foresees_copies
    if data_store is not None and foreseen and earlier_copies(inventory, data_store, ledger) is None:
        # The bucket is there, and nothing else lies where a copy should go.
        find_copies(inventory, data_store, ledger)
    return planned


def _check_owner(resolved: Resolved) -> None:
    """Refuse the name of another dataset: its label would move, and its own next promotion would fail.

    A retracted name is free.
    """
    dataset, ledger = resolved.entry.name, resolved.ledger
    did, name, _ = resolved.publication
    known = ledger.get(NAME_OWNER(did, name))
    owner = dataset if known is None else known.dataset
    if owner != dataset and not resolved.options.take_over and retracted(ledger, did, name) is None:
        raise DatasetNameError(
            f"The name {name!r} is the published name of the dataset {owner!r}. Give {dataset!r} another one: "
            "name=, or --name. Or take it over from that dataset: take_over=True, or --take-over.",
            name=name,
        )


def _planned_shards(inventory: Inventory, resolved: Resolved) -> list[ShardFacts]:
    """As ``validate`` returns them.

    A store that does not tell its URLs gets stand-ins of the usual length: only sizes are checked then.
    """
    published, data_store, ledger = resolved.published_copies(inventory), resolved.location.store, resolved.ledger
    if published is not None:
        return list(published.shards)
    if data_store is None:
        return list(inventory.shards)
    if data_store.foresees_copies:
        pairs = zip(inventory.shards, names_of(inventory, ledger, data_store), strict=True)
        return [as_published(shard, data_store.shard_url(name), data_store) for shard, name in pairs]
    earlier = earlier_copies(inventory, data_store, ledger)
    if earlier is not None:
        return list(earlier.shards)
    return [
        replace(shard, url=f"https://store.invalid/{number}.tar") for number, shard in enumerate(inventory.shards)
    ]
