"""Whether a published schema keeps what the version before it has promised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...atmosphere.client import PAGE
from ...atmosphere.record_format.nsids import SCHEMA
from ...atmosphere.record_format.parse import read_schema_record
from ...atmosphere.record_format.record_keys import schema_rkey
from ...errors import AtdataError, SchemaIncompatibleError
from ...samples.compatibility import breaking_changes, may_break, next_major, version_order
from ...samples.schema import full_name
from ...state.facts import COMPATIBILITY, Key, SchemaComparison

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...atmosphere.schema_records import Listing
    from ...state.ledger import Ledger


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


def compatibility_of(schema: dict[str, Any], client: AtmosphereClient, repo: str) -> Compatibility:
    """Compare a local schema record with the version before it that an account has published: one request.

    Versions are looked for under the keys that this library gives them; of more than ``PAGE`` versions only the
    first ones by their keys are seen.
    """
    # Keys of a type are its name, a colon and the version: a listing that begins behind the colon gives them.
    behind = schema_rkey(full_name(schema), "")
    records, _ = client.list_records(SCHEMA, repo=repo, cursor=behind, limit=PAGE, reverse=True)
    return compared(schema, records)


def compared(schema: dict[str, Any], records: Iterable[Record]) -> Compatibility:
    """Compare a local schema record with the version before it among some records of an account."""
    name, version = full_name(schema), schema["version"]
    behind = schema_rkey(name, "")
    own = version_order(version)
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
    """As ``recall_compatibility``, else as ``own_compatibility``; nothing is kept."""
    return recall_compatibility(schema, client.did, ledger) or own_compatibility(schema, client, listing)


def own_compatibility(
    schema: dict[str, Any], client: AtmosphereClient, listing: Listing | None = None
) -> Compatibility:
    """As ``compatibility_of`` for the own account; nothing is asked where a ``listing`` has it all."""
    if listing is not None and listing.whole:
        return compared(schema, listing.records)
    return compatibility_of(schema, client, client.did)


def recall_compatibility(schema: dict[str, Any], did: str, ledger: Ledger) -> Compatibility | None:
    """What the ledger knows of it; nothing is asked of the network."""
    return as_kept(ledger.get(key_of(schema, did)))


def as_kept(kept: SchemaComparison | None) -> Compatibility | None:
    """What the ledger keeps of it."""
    return None if kept is None else Compatibility(kept.type_name, kept.version, kept.previous, kept.problems)


def key_of(schema: dict[str, Any], did: str) -> Key[SchemaComparison]:
    """Where the ledger keeps it."""
    return COMPATIBILITY(did, schema_rkey(full_name(schema), schema["version"]))


def _release(record: Record) -> tuple[Any, ...] | None:
    """By what a version sorts; None for a pre-release, which promises nothing, and for what is no version."""
    said: Any = record.value.get("version")
    if not isinstance(said, str) or "-" in said.partition("+")[0]:
        return None
    return version_order(said)
