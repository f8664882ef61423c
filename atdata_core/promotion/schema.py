"""Stage 2, ``published_schema``: one schema record for a class and version, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from ..atmosphere.names import SCHEMA
from ..atmosphere.preflight import check
from ..atmosphere.records import read_schema_record, schema_record
from ..atmosphere.tid import schema_rkey
from ..errors import RecordChangedError, SchemaConflictError
from ..schema import compare
from .clock import now

if TYPE_CHECKING:
    from ..atmosphere.client import AtmosphereClient, Record
    from .ledger import Ledger

CODE_VERSION = "1"


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


def full_name(schema: Mapping[str, Any]) -> str:
    """``module.Class``, or the class alone where the module is not known."""
    module = schema.get("module")
    return f"{module}.{schema['name']}" if module else schema["name"]


def publish_schema(schema: dict[str, Any], client: AtmosphereClient, ledger: Ledger) -> PublishedSchema:
    """Find the schema record of a local schema, or write it.

    Found under its own key it costs one request, however many schemas there are. Else another writer's
    record of the same class, version and fields is reused.

    Raises:
        SchemaConflictError: The same class and version is published with other fields.
        PreflightError: The network would refuse the record.
    """
    found = find_schema(schema, client, ledger)
    if found is not None:
        return PublishedSchema(found.uri, found.cid, created=False)
    rkey = schema_rkey(full_name(schema), schema["version"])
    record = schema_record(schema, created_at=now())
    check(SCHEMA, rkey, record)
    try:
        written, created = client.create_once(SCHEMA, rkey, record)
    except RecordChangedError:
        # A rival run was faster. Its record may differ in words (a description), but not in fields.
        written, created = client.find_record(SCHEMA, rkey), False
        if written is None:
            raise
        _same_fields(schema, written)
    return PublishedSchema(written.uri, written.cid, created)


def find_schema(schema: dict[str, Any], client: AtmosphereClient, ledger: Ledger) -> Record | None:
    """The published record of a local schema, or None; raises ``SchemaConflictError``."""
    found = client.find_record(SCHEMA, schema_rkey(full_name(schema), schema["version"]))
    if found is None:
        found = _find_foreign(schema, client, ledger)
    if found is not None:
        _same_fields(schema, found)
    return found


def _same_fields(schema: dict[str, Any], record: Record) -> None:
    differing = compare(read_schema_record(record.value), schema)
    if differing:
        name, version = full_name(schema), schema["version"]
        raise SchemaConflictError(
            f"{name} {version} is already published with other fields ({', '.join(differing)}): {record.uri}. "
            f"Publish the changed class under a new version: index.publish_schema({schema['name']}, "
            'version="..."), and insert the dataset with that schema_ref.',
            name=name,
            version=version,
            fields=differing,
            type_name=name,
        )


def _find_foreign(schema: dict[str, Any], client: AtmosphereClient, ledger: Ledger) -> Record | None:
    """A record of the same class and version under a key that is not ours.

    The account's schemas are listed once; afterwards only what other writers added since. Their keys are
    TIDs, which begin with a digit for the next decades and grow, so the listing goes on behind the last
    one and stops at the first key that begins with a letter: ours do.
    """
    scope, fact = f"account:{client.did}", "foreign schemas"
    kept = ledger.get(scope, fact) or {"cursor": None, "found": {}}
    cursor, first = kept["cursor"], kept["cursor"] is None
    position: str | None = cursor
    last_tid = cursor
    while True:
        page, position = client.list_records(SCHEMA, cursor=position, reverse=True)
        for record in page:
            rkey = record.uri.rsplit("/", 1)[1]
            if rkey[0].isdigit():
                last_tid = rkey
            _note_foreign(kept["found"], record, rkey)
        beyond = bool(page) and not page[-1].uri.rsplit("/", 1)[1][0].isdigit()
        if not page or position is None or (beyond and not first):
            break
    # Without a TID the next listing starts at the first key again, and ends with its first page.
    ledger.put(scope, fact, {"cursor": last_tid or "0", "found": kept["found"]})
    rkey = kept["found"].get(f"{schema['name']}@{schema['version']}")
    return None if rkey is None else client.find_record(SCHEMA, rkey)


def _note_foreign(found: dict[str, str], record: Record, rkey: str) -> None:
    name, version = record.value.get("name"), record.value.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        return
    about = record.value.get("metadata")
    module = cast("dict[str, Any]", about).get("module") if isinstance(about, dict) else None
    # A record that names its module is ours or as good: its own key finds it.
    if module is None and rkey != schema_rkey(name, version):
        found.setdefault(f"{name}@{version}", rkey)
