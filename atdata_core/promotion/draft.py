"""The records that a promotion would write, checked before the first of them is written."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..atmosphere.names import ENTRY, LABEL, SCHEMA
from ..atmosphere.preflight import check
from ..atmosphere.records import entry_record, label_record, schema_record, timestamp
from ..atmosphere.tid import entry_rkey, label_rkey, schema_rkey
from ..names import check_dataset_name
from ..protocols import ShardFacts, ShardProver
from ..schema import full_name
from .asked import Asked
from .copy import WORKERS, as_published, earlier_copies, names_of
from .inventory import Inventory
from .values import Values, from_metadata, typed

if TYPE_CHECKING:
    from ..protocols import IndexEntry
    from .ledger import Ledger


@dataclass(frozen=True, slots=True)
class Publication:
    """Account, published name and entry CID: the same three, the same records."""

    did: str
    name: str
    cid: str

    @property
    def rkey(self) -> str:
        """Record key of the entry record."""
        return entry_rkey(self.did, self.name, self.cid)

    @property
    def uri(self) -> str:
        """At-uri of the entry record."""
        return f"at://{self.did}/{ENTRY}/{self.rkey}"

    @property
    def label_rkey(self) -> str:
        """Record key of the label; the versions of a name share it."""
        return label_rkey(self.did, self.name)

    @property
    def fact(self) -> str:
        """What the ledger keeps this publication under, in its dataset's scope."""
        return f"record:{self.did}:{self.name}:{self.cid}"

    @property
    def said_fact(self) -> str:
        """What the ledger keeps explicit values of this publication under."""
        return f"values:{self.fact}"


def publication_of(entry: IndexEntry, cid: str, did: str, name: str | None) -> Publication:
    """The publication of an entry under its own or another name; ``DatasetNameError``."""
    published = entry.name if name is None else name
    check_dataset_name(published)
    return Publication(did, published, cid)


def said(
    entry: IndexEntry,
    publication: Publication,
    explicit: Values,
    ledger: Ledger,
    published: Mapping[str, Any] | None = None,
) -> Values:
    """What people said of a publication: now, else before.

    Where the ledger does not know a record that is ``published``, it was lost, and the record itself is the
    best witness of what was said before.
    """
    scope = f"dataset:{entry.name}"
    before = Values.from_json(ledger.get(scope, publication.said_fact) or {})
    if published is not None and ledger.get(scope, publication.fact) is None:
        before = before.over(typed(Values.from_json(published), from_metadata(entry.metadata)))
    return explicit.over(before)


def check_all(
    entry: IndexEntry,
    inventory: Inventory,
    did: str,
    ledger: Ledger,
    *,
    data_store: Any = None,
    asked: Asked = Asked(),  # noqa: B008 - frozen
) -> None:
    """Check schema, entry and label as they would be written; nothing has been, so nothing is half done.

    Raises:
        DatasetNameError, MetadataError, SchemaError: The entry cannot be published as it is.
        StorageError: Its shards cannot be published from where they lie.
        PreflightError: The network would refuse a record; every problem is named.
        ShardMissingError, ShardConflictError: The destination's bucket is not there, or something else lies where
            a copy should go.
    """
    publication = publication_of(entry, inventory.cid, did, asked.name)
    schema_key = schema_rkey(full_name(inventory.schema), inventory.schema["version"])
    check(SCHEMA, schema_key, schema_record(inventory.schema, created_at=timestamp()), did=did)
    settled = said(entry, publication, asked.values, ledger).over(from_metadata(entry.metadata))
    planned = planned_shards(inventory, data_store, ledger)
    record = entry_record(
        name=publication.name,
        schema_uri=f"at://{did}/{SCHEMA}/{schema_key}",
        shards=planned,
        description=settled.description,
        tags=settled.tags,
        license=settled.license,
        metadata=entry.metadata,
        created_at=timestamp(),
    )
    check(ENTRY, publication.rkey, record, did=did)
    label = label_record(name=publication.name, dataset_uri=publication.uri, version=None, created_at=timestamp())
    check(LABEL, publication.label_rkey, label, did=did)
    if isinstance(data_store, ShardProver) and earlier_copies(inventory, data_store, ledger) is None:
        _check_destination(data_store, planned)


def planned_shards(inventory: Inventory, data_store: Any, ledger: Ledger) -> list[ShardFacts]:
    """The shards as they will be published, as far as that is known beforehand.

    A store that does not tell its URLs gets stand-ins of the usual length: only sizes are checked then.
    """
    if data_store is None:
        return list(inventory.shards)
    names = names_of(inventory)
    if isinstance(data_store, ShardProver):
        pairs = zip(inventory.shards, names, strict=True)
        return [as_published(shard, data_store.shard_url(name), data_store) for shard, name in pairs]
    earlier = earlier_copies(inventory, data_store, ledger)
    if earlier is not None:
        return list(earlier.shards)
    return [
        replace(shard, url=f"https://store.invalid/{number}.tar") for number, shard in enumerate(inventory.shards)
    ]


def _check_destination(data_store: ShardProver, planned: list[ShardFacts]) -> None:
    """See that the bucket is there, and that nothing else lies where a copy should go."""

    def look(shard: ShardFacts) -> None:
        data_store.prove_shard(shard.url, size=shard.size, sha256=shard.sha256, md5=shard.md5)

    with ThreadPoolExecutor(min(WORKERS, len(planned)), "destination") as pool:
        list(pool.map(look, planned))
