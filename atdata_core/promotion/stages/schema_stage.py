"""Stage 2, ``published_schema``: one schema record for a class and version, whoever asks."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...atmosphere import publishers
from ...atmosphere.listings import is_last_page
from ...atmosphere.publishers import Listing
from ...atmosphere.record_format.parse import read_schema_record
from ...atmosphere.record_format.record_keys import SCHEMA, schema_rkey
from ...errors import AtdataError, SchemaError, SchemaIncompatibleError
from ...samples.compatibility import breaking_changes, may_break, next_major, version_order
from ...samples.schema import full_name
from ...state.facts import (
    COMPATIBILITY,
    FOREIGN_SCHEMAS,
    SCHEMA_RESULT,
    SchemaComparison,
    SchemaListing,
    SchemaResult,
)
from ...state.ledger import Key, Ledger
from ..options import PromotionOptions
from ..records.summary import changed_value

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...state.facts import Inventory
    from .resolved_values import Finder


@dataclass(frozen=True, slots=True)
class PublishedSchema:
    """Where the schema record lies. ``created``: this call wrote it.

    ``compatible`` compares it with the version before it, None where that is not known. ``changed`` says for people
    what is other than the last time, where it is that of a dataset; None: there was no last time. These two are not
    kept with the others.
    """

    uri: str
    cid: str
    created: bool
    compatible: Compatibility | None = field(default=None, compare=False)
    changed: tuple[str, ...] | None = field(default=None, compare=False)


def publish_schema(
    schema: dict[str, Any],
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    require_compatible: bool = False,
    find: Finder | None = None,
) -> PublishedSchema:
    """Find the schema record of a local schema, or write it.

    Found under its own key it costs one request, however many schemas there are. Else another writer's
    record of the same class, version and fields is reused. One that is written is compared with the version
    before it, which the ledger knows from then on. ``find`` reads a record of the account, the client's by default.

    Raises:
        SchemaConflictError: The same class and version is published with other fields.
        SchemaIncompatibleError: It breaks with the version before it, its own version does not say so, and
            ``require_compatible``.
        PreflightError: The network would refuse the record.
    """
    listing, did = publishers.Listing(), client.did
    found = find_schema(schema, client, ledger, listing, find)
    if listing.listed is not None:
        ledger.put(FOREIGN_SCHEMAS(did), SchemaListing(**listing.listed))
    key = _comparison_key(schema, did)
    known = _compatibility(ledger.get(key))
    if known is None and (found is None or require_compatible):
        known = compatibility_of(schema, client, did, listing)
        ledger.put(key, SchemaComparison(known.type_name, known.version, known.previous, known.problems))
    if require_compatible and known is not None:
        known.refuse()
    record, created = (found, False) if found else publishers.create_schema(schema, client)
    return PublishedSchema(record.uri, record.cid, created, known)


def publish_schema_of(
    inventory: Inventory,
    client: AtmosphereClient,
    ledger: Ledger,
    options: PromotionOptions = PromotionOptions(),  # noqa: B008 - frozen
    find: Finder | None = None,
) -> PublishedSchema:
    """As ``publish_schema``, for a dataset; the ledger keeps the result, and the run that it is of."""
    compatible = options.require_compatible
    result = publish_schema(inventory.schema, client, ledger, require_compatible=compatible, find=find)
    return _kept(result, inventory, client.did, ledger, options.run)


def _kept(
    result: PublishedSchema, inventory: Inventory, did: str, ledger: Ledger, run: str | None
) -> PublishedSchema:
    """The same, with what is other than the last time, once the ledger keeps it for the dataset."""
    kept = SchemaResult(result.uri, result.cid, result.created, inventory.cid, did, run)
    before = ledger.exchange(SCHEMA_RESULT(inventory.name), kept)
    changed = None if before is None else changed_value("schema", before.uri, result.uri)
    return replace(result, changed=changed)


def schema_of_run(
    inventory: Inventory, client: AtmosphereClient, ledger: Ledger, options: PromotionOptions
) -> PublishedSchema:
    """The schema record that this run has just found or written; sought once more where that was another run."""
    wanted, comparison = SCHEMA_RESULT(inventory.name), _comparison_key(inventory.schema, client.did)
    facts = ledger.get_many([wanted, comparison])
    kept, own = facts[wanted], (inventory.cid, client.did, options.run, SchemaResult.CODE_VERSION)
    if kept is None or options.run is None or (kept.entry_cid, kept.did, kept.run, kept.code_version) != own:
        return publish_schema_of(inventory, client, ledger, options)
    return PublishedSchema(kept.uri, kept.cid, kept.created, _compatibility(facts[comparison]))


class Schemas:
    """Publishes each distinct schema once, however many datasets have it and threads ask."""

    def __init__(self, client: AtmosphereClient, ledger: Ledger, options: PromotionOptions) -> None:
        self._client = client
        self._ledger = ledger
        self._options = options
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._found: dict[str, PublishedSchema | SchemaError] = {}

    def publish_of(self, inventory: Inventory) -> PublishedSchema:
        """As ``publish_schema_of``; ``created`` for the first dataset of a schema alone."""
        same = json.dumps(inventory.schema, sort_keys=True)
        with self._lock:
            lock = self._locks.setdefault(same, threading.Lock())
        with lock:
            found = self._found.get(same)
            if found is None:
                found = self._publish(inventory)
                self._found[same] = replace(found, created=False) if isinstance(found, PublishedSchema) else found
        if isinstance(found, SchemaError):
            raise found
        return _kept(found, inventory, self._client.did, self._ledger, run=None)

    def _publish(self, inventory: Inventory) -> PublishedSchema | SchemaError:
        try:
            return publish_schema(
                inventory.schema, self._client, self._ledger, require_compatible=self._options.require_compatible
            )
        except SchemaError as error:
            return error  # as it would be for the next dataset


def find_schema(
    schema: dict[str, Any],
    client: AtmosphereClient,
    ledger: Ledger,
    listing: Listing | None = None,
    find: Finder | None = None,
) -> Record | None:
    """The published record of a local schema, or None; nothing is written. Raises ``SchemaConflictError``.

    Only what was added since ``publish_schema`` has listed the account's schemas is listed.
    """

    def recall() -> publishers.Listed | None:
        kept = ledger.get(FOREIGN_SCHEMAS(client.did))
        return None if kept is None else {"cursor": kept.cursor, "found": kept.found}

    return publishers.find_schema(schema, client, recall, listing, find)


@dataclass(frozen=True, slots=True)
class Compatibility:
    """A version of a type beside the one before it.

    Attributes:
        type_name: ``module.Class``.
        version: The version in question.
        previous: The greatest earlier version of the account that is no pre-release; None where it has none.
        problems: What breaks with it, a few words each.
    """

    type_name: str
    version: str
    previous: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether the version's number says what it does: it breaks nothing, or may."""
        return not self.problems or self.previous is None or may_break(self.previous, self.version)

    def __str__(self) -> str:
        if self.previous is None:
            return f"No earlier version of {self.type_name} is published."
        if not self.problems:
            return f"{self.type_name} {self.version} breaks nothing of {self.previous}."
        what = f"{self.type_name} {self.version} breaks with {self.previous}: {'; '.join(self.problems)}."
        if self.kept:
            return f"{what} Its version says so."
        return f"{what} Publish it under a new major version such as {next_major(self.previous)}."

    def refuse(self) -> None:
        """Raises ``SchemaIncompatibleError`` where the version's number does not say what it does."""
        if not self.kept:
            raise SchemaIncompatibleError(
                str(self),
                type_name=self.type_name,
                version=self.version,
                previous=self.previous,
                problems=list(self.problems),
            )


def compatibility_of(
    schema: dict[str, Any], client: AtmosphereClient, repo: str, listing: Listing | None = None
) -> Compatibility:
    """Compare a local schema record with the version before it that an account has published: one request.

    None where a whole ``listing`` of the account has it all; more for more than a page of versions. These are
    looked for under the keys that this library gives them.
    """
    # Keys of a type are its name, a colon and the version: a listing that begins behind the colon gives them.
    name, version = full_name(schema), schema["version"]
    behind, own = schema_rkey(name, ""), version_order(version)
    records: list[Record] = []
    if listing is not None and listing.whole:
        records = listing.records
    else:
        for page, following in client.iter_pages(SCHEMA, repo=repo, cursor=behind, reverse=True):
            records += page
            beyond = bool(page) and not page[-1].uri.rpartition("/")[2].startswith(behind)
            if beyond or is_last_page(page, following):
                break
    earlier: dict[tuple[Any, ...], Record] = {}
    for record in records:
        order = _release(record) if record.uri.rpartition("/")[2].startswith(behind) else None
        if order is not None and own is not None and order < own:
            earlier[order] = record
    if not earlier:
        return Compatibility(name, version)
    previous = earlier[max(earlier)]
    try:
        problems = breaking_changes(read_schema_record(previous.value), schema)
    except AtdataError as error:
        problems = [f"it cannot be read ({error.message})"]
    return Compatibility(name, version, str(previous.value["version"]), tuple(problems))


def known_compatibility(
    schema: dict[str, Any], client: AtmosphereClient, ledger: Ledger, listing: Listing | None = None
) -> Compatibility:
    """As the ledger knows it, else as ``compatibility_of`` for the own account; nothing is kept."""
    known = _compatibility(ledger.get(_comparison_key(schema, client.did)))
    return known or compatibility_of(schema, client, client.did, listing)


def _compatibility(kept: SchemaComparison | None) -> Compatibility | None:
    return None if kept is None else Compatibility(kept.type_name, kept.version, kept.previous, kept.problems)


def _comparison_key(schema: dict[str, Any], did: str) -> Key[SchemaComparison]:
    return COMPATIBILITY(did, schema_rkey(full_name(schema), schema["version"]))


def _release(record: Record) -> tuple[Any, ...] | None:
    """By what a version sorts; None for a pre-release, which promises nothing, and for what is no version."""
    version: Any = record.value.get("version")
    if not isinstance(version, str) or "-" in version.partition("+")[0]:
        return None
    return version_order(version)
