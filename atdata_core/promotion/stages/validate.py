"""The records that a promotion would write, checked before the first of them is written."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ...atmosphere.record_format.build import schema_record
from ...atmosphere.record_format.lexicon import check
from ...atmosphere.record_format.record_keys import SCHEMA, schema_rkey
from ...errors import DatasetNameError
from ...protocols import ShardFacts
from ...samples.schema import full_name
from ...state.facts import NAME_OWNER, Inventory
from ...state.ledger import Ledger, timestamp
from ..copies.layout import as_published, names_of
from ..inventory import Publication
from ..scheduling.blocks import refuse_blocked, retracted
from .copy_stage import earlier_copies, find_copies
from .dataset_records import DatasetRecords
from .visibility import AnonymousReader, Visibility

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient
    from ...protocols import IndexEntry
    from ..options import PromotionOptions
    from .resolved_values import Resolved


def validate(
    entry: IndexEntry,
    inventory: Inventory,
    resolved: Resolved,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    options: PromotionOptions,
) -> list[ShardFacts]:
    """Check schema, entry and labels as they would be written; nothing is, so nothing is half done.

    Returns:
        The shards as they will be published, as far as that is known beforehand.

    Raises:
        BlockedError: The dataset was retracted or deleted, and no person asked.
        DatasetNameError, MetadataError, SchemaError: The entry cannot be published as it is, or another dataset
            is published under that name and nobody asked to take it over.
        StorageError: Its shards cannot be published from where they lie.
        PreflightError: The network would refuse a record; every problem is named.
        NotPublicError: Strangers cannot read the shards where they are, and that was asked for.
        LicenseError: It has no license that SPDX knows, and one was asked for.
        ShardMissingError, ShardConflictError: The destination's bucket is not there, or something else lies where
            a copy should go.
    """
    publication, data_store = resolved.publication, resolved.location.store
    did = publication.did
    _check_owner(publication, entry.name, ledger, options)
    refuse_blocked(ledger, entry.name, did, options)
    schema_key = schema_rkey(full_name(inventory.schema), inventory.schema["version"])
    check(SCHEMA, schema_key, schema_record(inventory.schema, created_at=timestamp()), did=did)
    planned = _planned_shards(inventory, resolved, ledger)
    schema_uri = f"at://{did}/{SCHEMA}/{schema_key}"
    DatasetRecords(entry, resolved, planned, schema_uri, client, ledger, options).check()
    if options.require_public:
        strangers = AnonymousReader(client.base_url)
        look = partial(strangers.unreadable, doubtless=True) if data_store is None else strangers.out_of_reach
        Visibility(len(planned), look(planned)).refuse()
    if (
        data_store is not None
        and data_store.foresees_copies
        and earlier_copies(inventory, data_store, ledger) is None
    ):
        # The bucket is there, and nothing else lies where a copy should go.
        find_copies(inventory, data_store, ledger)
    return planned


def _check_owner(publication: Publication, dataset: str, ledger: Ledger, options: PromotionOptions) -> None:
    """Refuse the name of another dataset: its label would move, and its own next promotion would fail.

    A retracted name is free.
    """
    did, name = publication.did, publication.name
    known = ledger.get(NAME_OWNER(did, name))
    owner = dataset if known is None else known.dataset
    if owner != dataset and not options.take_over and retracted(ledger, did, name) is None:
        raise DatasetNameError(
            f"The name {name!r} is the published name of the dataset {owner!r}. Give {dataset!r} another one: "
            "name=, or --name. Or take it over from that dataset: take_over=True, or --take-over.",
            name=name,
        )


def _planned_shards(inventory: Inventory, resolved: Resolved, ledger: Ledger) -> list[ShardFacts]:
    """As ``validate`` returns them.

    A store that does not tell its URLs gets stand-ins of the usual length: only sizes are checked then.
    """
    published, data_store = resolved.published_copies(inventory, ledger), resolved.location.store
    if published is not None:
        return list(published.shards)
    if data_store is None:
        return list(inventory.shards)
    if data_store.foresees_copies:
        pairs = zip(inventory.shards, names_of(inventory, ledger), strict=True)
        return [as_published(shard, data_store.shard_url(name), data_store) for shard, name in pairs]
    earlier = earlier_copies(inventory, data_store, ledger)
    if earlier is not None:
        return list(earlier.shards)
    return [
        replace(shard, url=f"https://store.invalid/{number}.tar") for number, shard in enumerate(inventory.shards)
    ]
