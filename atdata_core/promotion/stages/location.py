"""Where the shards of a publication will lie: a value that stays until somebody says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...common.urls import displayed
from ...errors import DestinationError, RefusedError
from ...protocols import ShardFacts
from ...state.facts import CopiedShards
from ...stores.data_store import DataStore, as_data_store
from ..copies.layout import claim_of
from ..copies.usage import shards_of
from ..overrides import BEFORE, EARLIER, NOW, ResolvedValue
from .copy_stage import HERE, earlier_copies_at

if TYPE_CHECKING:
    from ...atmosphere.client import Record
    from ...state.facts import Inventory
    from ...state.ledger import Ledger
    from ..options import PromotionOptions
    from ..overrides import OverrideLayers
    from ..publication import Publication
    from ..records.published_names import PublishedName

PUBLISHED = "published so before"
CONFIGURED = "the data store"
OWN = "the index"
WAYS_OUT = (
    "Name the data store that strangers can read (data_store=, in the pipeline ATDATA_PUBLISH_BUCKET and what "
    "belongs to it), or say that the index's own URLs are to be published: keep_urls=True, or --keep-urls."
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where the shards will lie, and who decided that.

    Attributes:
        store: Copies go there; None: nothing is copied.
        stays: Where nobody names a store: the publication whose copies stay as they are.
        source: Who decided it, in words for people.
        earlier: What is published under the name already.
        explicit: Whether this promotion says that the index's own URLs are to be published.
    """

    store: DataStore | None = None
    stays: PublishedName | None = None
    source: str = OWN
    earlier: PublishedName | None = None
    explicit: bool = False

    @property
    def destination(self) -> str | None:
        """A name for where copies lie; None where the shards stay at the index's own URLs."""
        if self.stays is not None:
            return self.stays.destination
        return None if self.store is None else self.store.destination

    def explain(self, layers: OverrideLayers) -> ResolvedValue:
        """The place as a row of a plan."""
        now = HERE if self.explicit else None
        said = layers.values.over(layers.inherited).keep_urls
        before = HERE if said else None if self.earlier is None else self.earlier.destination or HERE
        return ResolvedValue("shards", now, before, self.destination or HERE, self.source)

    def refuse_unknown(self, existing: Record, planned: Sequence[ShardFacts]) -> None:
        """Refuse to move the shards of a record that nobody knew of, where nobody says where they go.

        Raises:
            DestinationError: It names other shards than are planned.
        """
        if self.store is not None or self.stays is not None or self.explicit or self.earlier is not None:
            return
        try:
            named = [shard.url for shard in shards_of(existing)]
        except RefusedError:
            return
        if named and named != [shard.url for shard in planned]:
            raise DestinationError(
                f"{existing.uri} is published already, with its shards somewhere else: {displayed(named[0])}. "
                f"atdata-pipelines reconcile tells the ledger. {WAYS_OUT}",
                name=str(existing.value.get("name")),
                destination=displayed(named[0]),
            )

    def published_copies(self, inventory: Inventory, ledger: Ledger) -> CopiedShards:
        """The copies that are published and stay, for shards that hold the same bytes.

        Raises:
            DestinationError: The shards hold other bytes now, or nobody knows which copy is of which.
        """
        assert self.stays is not None
        claim, destination = claim_of(inventory.shards), self.stays.destination or ""
        known = earlier_copies_at(destination, inventory, ledger, exact=False)
        if known is not None:
            return replace(known, copied=0, bytes_written=0)
        named = self.stays.shards
        if [shard.sha256 for shard in named] != [shard.sha256 for shard in inventory.shards]:
            raise DestinationError(
                f"{inventory.name!r} is published with copies at {destination}, which are not known to hold what "
                f"its shards hold now. {WAYS_OUT}",
                name=inventory.name,
                destination=destination,
            )
        shards = tuple(
            replace(shard, url=there.url, etag=None, endpoint=there.endpoint, region=there.region)
            for shard, there in zip(inventory.shards, named, strict=True)
        )
        return CopiedShards(inventory.cid, claim, destination, shards, (PUBLISHED,) * len(shards))


def choose_location(
    publication: Publication,
    store: Any,
    options: PromotionOptions,
    layers: OverrideLayers,
    earlier: PublishedName | None,
) -> Location:
    """Decide where the shards of a publication will lie.

    In this order: the option and the override of the name (``keep_urls``); the data store that is named or
    configured; where the same data were copied to before; the index's own URLs.
    """
    said = layers.values.over(layers.inherited).keep_urls
    if options.values.keep_urls or (options.values.keep_urls is None and said):
        source = NOW if options.values.keep_urls else BEFORE if layers.values.keep_urls is not None else EARLIER
        return Location(source=source, earlier=earlier, explicit=bool(options.values.keep_urls))
    if store is not None:
        return Location(as_data_store(store), source=CONFIGURED, earlier=earlier)
    if earlier is None or earlier.destination is None or earlier.cid != publication.cid:
        # New data that strangers cannot read are refused once they are seen, where strangers can read the earlier.
        return Location(earlier=earlier)
    return Location(stays=earlier, source=PUBLISHED, earlier=earlier)
