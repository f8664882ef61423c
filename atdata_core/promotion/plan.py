"""What a promotion would do: everything is looked at, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..atmosphere.names import SCHEMA
from ..atmosphere.tid import schema_rkey
from ..protocols import ShardFacts, ShardProver
from ..schema import full_name
from .asked import Asked
from .copy import earlier_copies
from .destination import names_of
from .draft import check_all, planned_shards, publication_of
from .inventory import survey
from .ledger import DryLedger, ledger_of
from .publish import foresee_records
from .rewrite import still_there
from .schema import find_schema
from .values import Values

if TYPE_CHECKING:
    from ..atmosphere.client import AtmosphereClient
    from ..protocols import AbstractIndex, IndexEntry
    from .inventory import Inventory
    from .ledger import Ledger

PUT_POINTS = 2
"""Write points of one putRecord (https://docs.bsky.app/docs/advanced-guides/rate-limits)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``promote_to_atmosphere`` with the same arguments would do now.

    ``schema``, ``entry``, ``label`` and ``version_label`` are ``create``, ``update`` or ``keep``. ``copies`` are
    the shards that would be written, as they would be published; ``bytes_to_copy`` is their size.
    """

    uri: str
    schema: str
    entry: str
    label: str
    copies: tuple[ShardFacts, ...]
    warnings: tuple[str, ...]
    version_label: str = "keep"

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


def plan_promotion(
    entry: IndexEntry,
    index: AbstractIndex,
    client: AtmosphereClient,
    *,
    data_store: Any = None,
    name: str | None = None,
    description: str | None = None,
    tags: Sequence[str] | None = None,
    license: str | None = None,
    version: str | None = None,
    take_over: bool = False,
    restore: bool = True,
    require_public: bool = False,
) -> Plan:
    """Say what ``promote_to_atmosphere`` would write and copy; raises what it would raise before that.

    Takes the same arguments.
    """
    ledger = DryLedger(ledger_of(index))
    asked = Asked(name, Values.of(description, tags, license), version, take_over, restore, require_public)
    did = client.did
    inventory = survey(entry, index, destination=data_store)
    check_all(entry, inventory, did, ledger, data_store=data_store, asked=asked, service=client.base_url)
    copies, warnings = _copies(inventory, data_store, ledger)

    schema = find_schema(inventory.schema, client, ledger)
    schema_key = schema_rkey(full_name(inventory.schema), inventory.schema["version"])
    schema_uri = schema.uri if schema else f"at://{did}/{SCHEMA}/{schema_key}"

    planned = planned_shards(inventory, data_store, ledger)
    record, label, version_label = foresee_records(entry, planned, schema_uri, index, client, ledger, asked=asked)
    return Plan(
        publication_of(entry, inventory.cid, did, name).uri,
        "keep" if schema else "create",
        record,
        label,
        copies,
        (*inventory.warnings, *warnings),
        version_label,
    )


def _copies(inventory: Inventory, store: Any, ledger: Ledger) -> tuple[tuple[ShardFacts, ...], list[str]]:
    if store is None:
        return (), []
    planned = planned_shards(inventory, store, ledger)
    if not isinstance(store, ShardProver):
        earlier = earlier_copies(inventory, store, ledger)
        if earlier is not None and still_there(earlier.shards, store):
            return (), []
        return tuple(planned), [
            f"{type(store).__name__} does not copy shards byte for byte: their number, names and digests are "
            "its own, and are known once they are written."
        ]
    rows = zip(planned, names_of(inventory, ledger), strict=True)
    missing = [
        shard
        for shard, name in rows
        if store.prove_shard(store.shard_url(name), size=shard.size, sha256=shard.sha256, md5=shard.md5) is None
    ]
    return tuple(missing), []
