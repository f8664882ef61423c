"""What a promotion would do: everything is looked at, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Unpack

from ..atmosphere.publishers import Listing
from ..atmosphere.record_format.record_keys import SCHEMA, schema_rkey
from ..common.byte_progress import Progress
from ..protocols import ShardFacts
from ..samples.schema import full_name
from ..state.index_state import state_of
from .copies.layout import claim_of
from .copies.repack import still_there
from .options import PromotionKeywords, PromotionOptions, Values, takes_options
from .overrides import ResolvedValue
from .prepare import validate
from .records.upsert import run_effects
from .stages.copy_stage import earlier_copies, find_copies
from .stages.inventory_stage import shard_facts
from .stages.publish import DatasetRecords
from .stages.resolved_values import Resolved, resolve
from .stages.schema_stage import find_schema, known_compatibility
from .stages.visibility import AnonymousReader, Unreadable, Visibility, readable_share, readers, refuse_to_hide

if TYPE_CHECKING:
    from ..atmosphere.client import AtmosphereClient
    from ..protocols import AbstractIndex, IndexEntry
    from ..state.facts import Inventory

PUT_POINTS = 2
"""Write points of one putRecord (https://docs.bsky.app/docs/advanced-guides/rate-limits)."""

UNFORESEEN = "known once they are copied"
"""Who can read shards, where their address does not tell beforehand."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``promote_to_atmosphere`` with the same arguments would do now.

    ``schema``, ``entry``, ``label`` and ``version_label`` are ``create``, ``update`` or ``keep``. ``shards`` and
    ``size`` (bytes) are of the whole dataset, ``destination`` says where copies go, None where URLs are kept.
    ``copies`` are the shards that would be written, as they would be published; ``bytes_to_copy`` is their size.
    ``unreadable`` are URL and reason of the shards that cannot be read anonymously; of a copy that is not made yet
    no more is known than whether they reach its address. ``values`` are description, tags, license, the place of
    the shards and who can read them: what is given now and was before, what is published, and why.
    """

    uri: str
    schema: str
    entry: str
    label: str
    copies: tuple[ShardFacts, ...]
    warnings: tuple[str, ...]
    version_label: str = "keep"
    shards: int = 0
    size: int = 0
    destination: str | None = None
    unreadable: tuple[Unreadable, ...] = ()
    values: tuple[ResolvedValue, ...] = ()

    @property
    def bytes_to_copy(self) -> int:
        """Bytes that would be sent to the data store."""
        return sum(shard.size for shard in self.copies)

    @property
    def records(self) -> int:
        """Records that would be written."""
        return sum(1 for what in (self.schema, self.entry, self.label, self.version_label) if what != "keep")

    @property
    def write_points(self) -> int:
        """Of the account's write points, how many that costs."""
        return self.records * PUT_POINTS

    def to_json(self) -> dict[str, Any]:
        """The plan as a JSON object."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "copies": [shard.to_json() for shard in self.copies],
            "unreadable": [{"url": url, "reason": reason} for url, reason in self.unreadable],
            "values": [asdict(value) for value in self.values],
            "bytes_to_copy": self.bytes_to_copy,
            "records": self.records,
            "write_points": self.write_points,
        }


@takes_options(PromotionKeywords)
def plan_promotion(
    entry: IndexEntry,
    index: AbstractIndex,
    client: AtmosphereClient,
    *,
    data_store: Any = None,
    defaults: Values = Values(),  # noqa: B008 - frozen
    progress: Progress | None = None,
    **keywords: Unpack[PromotionKeywords],
) -> Plan:
    """Say what ``promote_to_atmosphere`` would write and copy; raises what it would raise before that.

    Takes the same arguments; ``progress`` is told of the shards that are looked at.
    """
    ledger = state_of(index).ledger
    options = PromotionOptions.of(defaults=defaults, **keywords)
    did = client.did
    resolved = resolve(entry, did, ledger, data_store=data_store, options=options, find=client.find_record)
    inventory = shard_facts(
        entry, index, destination=resolved.location.store, progress=progress, ledger=ledger, did=did
    )
    planned = validate(inventory, resolved, client)
    planned, missing, warnings = _copies(planned, inventory, resolved)
    anonymous = AnonymousReader(client.base_url)
    store = resolved.location.store
    # What a store does not show yet cannot be looked at either.
    unseen = missing if store is None or store.shows_copies else planned
    to_be_written = {shard.url for shard in unseen}
    there = [shard for shard in planned if shard.url not in to_be_written]
    far = anonymous.out_of_reach(unseen)
    unreadable = (*anonymous.unreadable(there, doubtless=options.require_public), *far)
    visibility = Visibility(len(planned), unreadable)
    if options.require_public:
        visibility.refuse()
    refuse_to_hide(visibility, planned, resolved, anonymous)

    listing = Listing()
    schema = find_schema(inventory.schema, client, ledger, listing)
    if schema is None or options.require_compatible:
        known = known_compatibility(inventory.schema, client, ledger, listing)
        if options.require_compatible:
            known.refuse()
        warnings += [] if known.kept else [str(known)]
    schema_key = schema_rkey(full_name(inventory.schema), inventory.schema["version"])
    schema_uri = schema.uri if schema else f"at://{did}/{SCHEMA}/{schema_key}"

    records = DatasetRecords(resolved, planned, claim_of(inventory.shards), schema_uri, client)
    record, label, version_label = run_effects(records.dry_run(), client, index)
    return Plan(
        resolved.publication.uri,
        "keep" if schema else "create",
        record,
        label,
        tuple(missing),
        (*inventory.warnings, *warnings),
        version_label,
        len(inventory.shards),
        inventory.size,
        resolved.location.destination,
        unreadable,
        (
            *resolved.rows,
            _readers(visibility, planned, resolved, anonymous, [] if far or unseen is planned else missing),
        ),
    )


def _readers(
    visibility: Visibility,
    planned: Sequence[ShardFacts],
    resolved: Resolved,
    anonymous: AnonymousReader,
    missing: Sequence[ShardFacts],
) -> ResolvedValue:
    """Who can read the shards: now, and afterwards; of those that are missing one stands for all."""
    published, before = resolved.published_now(), None
    if published is not None and published.shards:
        same = {shard.url for shard in published.shards} == {shard.url for shard in planned}
        before = visibility.readers if same else readers(readable_share(published.shards, anonymous))
    unforeseen = any(map(anonymous.is_unforeseen, missing[:1]))
    return ResolvedValue(
        "readers", None, before, UNFORESEEN if unforeseen else visibility.readers, "where the shards lie"
    )


def _copies(
    planned: list[ShardFacts], inventory: Inventory, resolved: Resolved
) -> tuple[list[ShardFacts], list[ShardFacts], list[str]]:
    """The shards as they would be published, those of them that are to be written, and what is to be said."""
    store, ledger = resolved.location.store, resolved.ledger
    if store is None:
        return planned, [], []
    if not store.foresees_copies:
        earlier = earlier_copies(inventory, store, ledger)
        if earlier is not None and still_there(earlier.shards, store, inventory):
            return planned, [], []
        warning = (
            f"{store.kind} does not copy shards byte for byte: their number, names and digests are "
            "its own, and are known once they are written."
        )
        return planned, planned, [warning]
    pairs = list(zip(planned, find_copies(inventory, store, ledger), strict=True))
    return [found or shard for shard, found in pairs], [shard for shard, found in pairs if found is None], []
