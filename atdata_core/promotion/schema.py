"""Stage 2, ``published_schema``: one schema record for a class and version, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..atmosphere import schemas

if TYPE_CHECKING:
    from ..atmosphere.client import AtmosphereClient, Record
    from .inventory import Inventory
    from .ledger import Ledger

CODE_VERSION = "1"
FOREIGN = "foreign schemas"


@dataclass(frozen=True, slots=True)
class PublishedSchema:
    """Where the schema record lies. ``created``: this call wrote it."""

    uri: str
    cid: str
    created: bool

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {"code_version": CODE_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PublishedSchema:
        """The inverse of ``to_json``."""
        return cls(data["uri"], data["cid"], data["created"])


def publish_schema(schema: dict[str, Any], client: AtmosphereClient, ledger: Ledger) -> PublishedSchema:
    """Find the schema record of a local schema, or write it.

    Found under its own key it costs one request, however many schemas there are. Else another writer's
    record of the same class, version and fields is reused.

    Raises:
        SchemaConflictError: The same class and version is published with other fields.
        PreflightError: The network would refuse the record.
    """
    record, created = schemas.publish_schema(schema, client, _Listed(ledger, client.did))
    return PublishedSchema(record.uri, record.cid, created)


def publish_schema_of(
    inventory: Inventory, client: AtmosphereClient, ledger: Ledger, *, run: str | None = None
) -> PublishedSchema:
    """As ``publish_schema``, for a dataset; the ledger keeps the result, and the run that it is of."""
    result = publish_schema(inventory.schema, client, ledger)
    seen = {"entry_cid": inventory.cid, "did": client.did, "run": run}
    ledger.put(f"dataset:{inventory.name}", "schema", {**result.to_json(), **seen})
    return result


def schema_of_run(
    inventory: Inventory, client: AtmosphereClient, ledger: Ledger, *, run: str | None
) -> PublishedSchema:
    """The schema record that this run has just seen; looked for again where an earlier run did."""
    kept = ledger.get(f"dataset:{inventory.name}", "schema") or {}
    seen = {"entry_cid": inventory.cid, "did": client.did, "run": run}
    if run is not None and kept.get("code_version") == CODE_VERSION and seen.items() <= kept.items():
        return PublishedSchema.from_json(kept)
    return publish_schema_of(inventory, client, ledger, run=run)


def find_schema(schema: dict[str, Any], client: AtmosphereClient, ledger: Ledger) -> Record | None:
    """The published record of a local schema, or None; raises ``SchemaConflictError``."""
    return schemas.find_schema(schema, client, _Listed(ledger, client.did))


class _Listed:
    """How far an account's schemas were listed, in the ledger."""

    def __init__(self, ledger: Ledger, did: str) -> None:
        self._ledger = ledger
        self._scope = f"account:{did}"

    def recall(self) -> dict[str, Any] | None:
        return self._ledger.get(self._scope, FOREIGN)

    def keep(self, listed: dict[str, Any]) -> None:
        self._ledger.put(self._scope, FOREIGN, listed)
