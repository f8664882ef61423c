"""What a promotion will publish and where, from options, overrides and what is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...atmosphere.record_format.nsids import ENTRY
from ...common.cid import entry_cid
from ...common.urls import displayed
from ...errors import StorageError
from ...local.entry import LocalDatasetEntry
from ...state.facts import OVERRIDES, CopiedShards, Inventory
from ..copies.usage import shards_of
from ..inventory import cid_of, shard_urls
from ..options import PromotionOptions, Values
from ..overrides import Overrides, ResolvedValue, overrides_of
from ..publication import Publication, publication_of
from ..records.effects import Find, Steps
from ..records.published_names import PublishedName, name_state, names_no_copies, published_name
from .location import Location, choose_location

if TYPE_CHECKING:
    from ...atmosphere.client import Record
    from ...protocols import IndexEntry
    from ...state.ledger import Ledger

Finder = Callable[[str, str], "Record | None"]
"""The own record of a collection under a record key, or None."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A promotion with everything settled that people can say.

    Attributes:
        publication: Account, published name and entry CID.
        values: Of the record.
        rows: The same for people: each value, and the place of the shards, with who decided it.
        location: Where the shards will lie.
        earlier: The overrides of the name, for an earlier entry.
        find: Reads a record of the account.
    """

    publication: Publication
    values: Values
    rows: tuple[ResolvedValue, ...]
    location: Location
    earlier: Values
    find: Finder = field(compare=False, repr=False)

    def published_copies(self, inventory: Inventory, ledger: Ledger) -> CopiedShards | None:
        """The copies that are published and stay; None where the shards are copied, or stay where they are."""
        return None if self.location.stays is None else self.location.published_copies(inventory, ledger)

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
    name = _found(published_name(entry, publication, ledger, shard_urls(entry), options.defaults), find)
    earlier = Values() if name is None else name.said
    overrides = Overrides(entry, publication, ledger, options.defaults, earlier)
    layers = overrides.layers()
    location = choose_location(publication, data_store, options, layers, name)
    if location.stays is not None:
        location = replace(location, stays=_found(location.stays.read(), find))
    rows = (*overrides.explain(layers, options.values), location.explain(layers))
    return Resolved(publication, overrides.resolve(layers, options.values), rows, location, earlier, find)


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


def _found(steps: Steps[Any], find: Finder) -> Any:
    """The result of steps that only look records up."""
    try:
        step = next(steps)
        while True:
            assert isinstance(step, Find)
            step = steps.send(find(*step))
    except StopIteration as end:
        return end.value
