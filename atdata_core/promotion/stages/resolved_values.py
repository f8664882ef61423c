"""What a promotion will publish and where, from options, overrides and what is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...atmosphere.record_format.record_keys import ENTRY, Publication
from ...common.cid import entry_cid
from ...common.urls import displayed
from ...errors import DestinationError, RefusedError, StorageError
from ...local.entry import LocalDatasetEntry
from ...state.facts import OVERRIDES, CopiedShards
from ...stores.data_store import DataStore, as_data_store
from ..copies.layout import BLOB, claim_of
from ..copies.usage import shards_of
from ..inventory import cid_of, publication_of, shard_urls
from ..options import PromotionOptions, Values
from ..overrides import BEFORE, EARLIER, NOW, OverrideLayers, Overrides, ResolvedValue, overrides_of
from ..records.published_names import PublishedName, name_keys, name_state, names_no_copies, published_name
from ..records.upsert import Effects, Find
from .copy_stage import HERE, earlier_copies_at

if TYPE_CHECKING:
    from ...atmosphere.listings import Record
    from ...protocols import IndexEntry, ShardFacts
    from ...state.facts import Inventory
    from ...state.ledger import Ledger

Finder = Callable[[str, str], "Record | None"]
"""The own record of a collection under a record key, or None."""

PUBLISHED = "published so before"
CONFIGURED = "the data store"
OWN = "the index"
WAYS_OUT = (
    "Name the data store that anybody can read (data_store=, in the pipeline ATDATA_PUBLISH_BUCKET and what "
    "belongs to it), or say that the index's own URLs are to be published: keep_urls=True, or --keep-urls."
)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A promotion with everything settled that people can say; what all stages after that go by.

    Attributes:
        entry: The entry of the local index.
        publication: Account, published name and entry CID.
        ledger: The ledger of the index.
        options: What is asked of the promotion.
        values: Of the record.
        rows: The same for people: each value, and the place of the shards, with who decided it.
        location: Where the shards will lie.
        earlier: The overrides of the name, for an earlier entry.
        find: Reads a record of the account.
    """

    entry: IndexEntry
    publication: Publication
    ledger: Ledger = field(compare=False, repr=False)
    options: PromotionOptions
    values: Values
    rows: tuple[ResolvedValue, ...]
    location: Location
    earlier: Values
    find: Finder = field(compare=False, repr=False)

    def overrides(self) -> Overrides:
        """What people said of the publication so far, in the ledger that the promotion has now."""
        return Overrides(self.entry, self.publication, self.ledger, self.options.defaults, self.earlier)

    def published_copies(self, inventory: Inventory) -> CopiedShards | None:
        """The copies that are published and stay; None where the shards are copied, or stay where they are."""
        return None if self.location.stays is None else self.location.published_copies(inventory, self.ledger)

    @property
    def moves(self) -> bool:
        """Whether the name's shards will lie elsewhere than now, without a word of this promotion for that."""
        now, location = self.location.earlier, self.location
        same = now is None or (now.cid == self.publication.cid and now.destination == location.destination)
        return not same and not location.explicit

    def published_now(self) -> PublishedName | None:
        """What is published under the name, with its record; None where nothing is."""
        earlier = self.location.earlier
        return None if earlier is None else _found(earlier.read(), self.find)


def resolve(
    entry: IndexEntry, did: str, ledger: Ledger, *, data_store: Any, options: PromotionOptions, find: Finder
) -> Resolved:
    """Settle what a promotion will publish; nothing is written.

    Where the ledger knows the name nothing is asked of the PDS, but for the record of copies that stay.

    Args:
        entry: The entry of the local index.
        did: The account.
        ledger: The ledger of the index.
        data_store: That is named or configured; None: none is.
        options: What is asked of the promotion.
        find: Reads a record of the account.

    Raises:
        DatasetNameError, NoDataUrlsError, StorageError: The entry cannot be published as it is.
        ServiceError: The ledger or the PDS does not answer.
    """
    publication = publication_of(entry, cid_of(entry), did, options.name)
    _refuse_other_data(entry, publication, find)
    own = OVERRIDES(entry.name, *publication)
    known = ledger.get_many([own, *name_keys(entry, publication)])
    name = _found(published_name(entry, publication, known, ledger, shard_urls(entry), options.defaults), find)
    earlier = Values() if name is None else name.said
    overrides = Overrides(entry, publication, ledger, options.defaults, earlier)
    layers = overrides.layers_of(known[own])
    location = choose_location(publication, data_store, options, layers, name)
    if location.stays is not None:
        location = replace(location, stays=_found(location.stays.read(), find))
    rows = (*overrides.explain(layers, options.values), location.explain(layers))
    values = overrides.resolve(layers, options.values)
    return Resolved(entry, publication, ledger, options, values, rows, location, earlier, find)


def _refuse_other_data(entry: IndexEntry, publication: Publication, find: Finder) -> None:
    """Refuse an entry whose CID is not that of its schema and URLs, where its record names other shards.

    Other programs may make CIDs of their own, and what was taken back from a record has the CID that it had.
    """
    if not isinstance(entry, LocalDatasetEntry) or entry.cid == entry_cid(entry.schema_ref, entry.data_urls):
        return
    record = find(ENTRY, publication.rkey)
    if record is None or not names_no_copies(record):
        return
    if [shard.url for shard in shards_of(record)] != shard_urls(entry):
        raise StorageError(
            f"The entry {entry.cid} of dataset {entry.name!r} names other data than its CID stands for: somebody "
            "has changed it in Redis. Insert the dataset again.",
            urls=[displayed(url) for url in entry.data_urls],
        )


def keeps_urls(entry: IndexEntry, did: str, ledger: Ledger, options: PromotionOptions) -> bool:
    """Whether the index's own URLs are to be published, by an option or an override; the ledger alone is asked."""
    if options.values.keep_urls is not None:
        return options.values.keep_urls
    publication = publication_of(entry, cid_of(entry), did, options.name)
    own, state = OVERRIDES(entry.name, *publication), name_state(entry.name, publication)
    found = ledger.get_many([own, state])
    said, last = overrides_of(found[own]), found[state]
    if last is not None and last.cid != publication.cid:
        said = said.over(overrides_of(ledger.get(OVERRIDES(entry.name, *publication._replace(cid=last.cid)))))
    return bool(said.keep_urls)


def _found(effects: Effects[Any], find: Finder) -> Any:
    """The result of effects that only find records."""
    try:
        effect = next(effects)
        while True:
            assert isinstance(effect, Find)
            effect = effects.send(find(*effect))
    except StopIteration as end:
        return end.value


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
        earlier = None if self.earlier is None else self.earlier.destination or HERE
        before = HERE if layers.explicit.keep_urls else earlier
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
        if any(shard.url.startswith(BLOB) for shard in named):
            raise DestinationError(
                f"{inventory.name!r} is published with its shards as {destination}, and the ledger does not know "
                "where these are read. Name that store: data_store=PDSBlobStore(client), in the pipeline "
                "ATDATA_PUBLISH_TO=pds.",
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
    now = options.values.keep_urls
    if now or (now is None and layers.explicit.keep_urls):
        source = NOW if now else BEFORE if layers.values.keep_urls is not None else EARLIER
        return Location(source=source, earlier=earlier, explicit=bool(now))
    if store is not None:
        return Location(as_data_store(store), source=CONFIGURED, earlier=earlier)
    if earlier is None or earlier.destination is None or earlier.cid != publication.cid:
        # New data that nobody can read anonymously are refused once they are seen, where the earlier can be.
        return Location(earlier=earlier)
    return Location(stays=earlier, source=PUBLISHED, earlier=earlier)
