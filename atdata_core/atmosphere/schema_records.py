"""One schema record for a class and version, whoever wrote it: find it, else write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from atdata_core.atmosphere.client import PAGE
from atdata_core.atmosphere.record_format.build import read_schema_record, schema_record
from atdata_core.atmosphere.record_format.lexicon import check
from atdata_core.atmosphere.record_format.record_keys import SCHEMA, schema_rkey
from atdata_core.errors import RecordChangedError, RefusedError, SchemaConflictError
from atdata_core.samples.compatibility import compare, newest_with_fields
from atdata_core.samples.schema import full_name

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient, Record


Listed = dict[str, Any]
"""How far an account's schemas were listed, and what other programs wrote there; a JSON object."""


def publish_schema(local: dict[str, Any], client: AtmosphereClient) -> tuple[Record, bool]:
    """Find the schema record of a local schema, or write it.

    Where only words differ, a description for instance, the first ones stay.

    Returns:
        The record, and whether this call wrote it.

    Raises:
        SchemaConflictError: The same class and version is published with other fields.
        PreflightError: The network would refuse the record.
    """
    found = find_schema(local, client)
    return create_schema(local, client) if found is None else (found, False)


def create_schema(local: dict[str, Any], client: AtmosphereClient) -> tuple[Record, bool]:
    """Write a schema record that was not found; as ``publish_schema``."""
    rkey = schema_rkey(full_name(local), local["version"])
    record = schema_record(local, created_at=client.now())
    check(SCHEMA, rkey, record, did=client.did)
    try:
        return client.create_once(SCHEMA, rkey, record)
    except RecordChangedError:
        # A rival was faster.
        found = client.find_record(SCHEMA, rkey)
        if found is None:
            raise
    _same_fields(local, found)
    return found, False


@dataclass(slots=True)
class Listing:
    """Schema records that were listed on the way.

    ``whole``: all that have a key of ours are among them. ``listed`` is worth keeping for the next time, None where
    nothing had to be listed.
    """

    records: list[Record] = field(default_factory=list["Record"])
    whole: bool = False
    listed: Listed | None = None


def find_schema(
    local: dict[str, Any],
    client: AtmosphereClient,
    recall: Callable[[], Listed | None] = lambda: None,
    listing: Listing | None = None,
) -> Record | None:
    """The published record of a local schema, or None; raises ``SchemaConflictError``.

    Under its own key it costs one request, however many schemas there are. Else another program's record of
    the class and version is looked for, behind what ``recall`` says was listed before; ``listing`` takes what is
    seen then.
    """
    rkey = schema_rkey(full_name(local), local["version"])
    found = client.find_record(SCHEMA, rkey) or _find_foreign(local, client, recall(), listing or Listing())
    if found is not None:
        _same_fields(local, found)
    return found


def newest_schema(wanted: dict[str, Any], client: AtmosphereClient) -> Record | None:
    """The newest record of the own account for a class, among those with the fields of a local schema.

    None where the account has none of that class. One request for a hundred schemas.

    Raises:
        SchemaConflictError: All of them have other fields.
    """
    records: dict[str, Record] = {}
    published: dict[str, dict[str, Any]] = {}
    for record in client.iter_records(SCHEMA):
        try:
            schema = read_schema_record(record.value)
        except RefusedError:
            continue
        version, own = schema["version"], schema.get("module") == wanted.get("module")
        # Another program's record names no module; a key of ours is then that of a class without one.
        foreign = schema.get("module") is None and _rkey(record) != schema_rkey(schema["name"], version)
        if schema["name"] == wanted["name"] and (own or (foreign and version not in published)):
            records[version], published[version] = record, schema
    found = newest_with_fields(wanted, published.values(), where="The account has published")
    return None if found is None else records[found["version"]]


def _same_fields(local: dict[str, Any], published: Record) -> None:
    fields = compare(local, read_schema_record(published.value))
    if fields:
        name, version = full_name(local), local["version"]
        raise SchemaConflictError(
            f"{name} {version} is already published with other fields ({', '.join(fields)}): {published.uri}. "
            f"Publish the changed class under a new version: index.publish_schema({local['name']}, "
            'version="..."), and insert the dataset with that schema_ref.',
            name=name,
            version=version,
            fields=fields,
            type_name=name,
        )


def _find_foreign(
    local: dict[str, Any], client: AtmosphereClient, kept: Listed | None, listing: Listing
) -> Record | None:
    """The oldest record of the class and version under a key that is not ours.

    Where it is kept, the account's schemas are listed once; afterwards only what other programs added since.
    Their keys are TIDs, which begin with a digit for the next decades and grow, so the listing goes on behind
    the last one and stops at the first key that begins with a letter: ours do.
    """
    found = dict(kept["found"]) if kept else {}
    position: str | None = kept["cursor"] if kept else None
    last_tid, first = position, position is None
    while True:
        page, position = client.list_records(SCHEMA, cursor=position, reverse=True)
        listing.records += page
        for record in page:
            rkey = _rkey(record)
            if rkey[0].isdigit():
                last_tid = rkey
            _note(found, record, rkey)
        beyond = bool(page) and not _rkey(page[-1])[0].isdigit()
        # A PDS gives a cursor with its last page, too.
        listing.whole = len(page) < PAGE or position is None
        if listing.whole or (beyond and not first):
            break
    # Without a TID the next listing starts at the first key again, and ends with its first page.
    listing.listed = {"cursor": last_tid or "0", "found": found}
    rkey = found.get(f"{local['name']}@{local['version']}")
    return None if rkey is None else client.find_record(SCHEMA, rkey)


def _note(found: dict[str, str], record: Record, rkey: str) -> None:
    name, version = record.value.get("name"), record.value.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        return
    about = record.value.get("metadata")
    module = cast("dict[str, Any]", about).get("module") if isinstance(about, dict) else None
    # A record that tells its module has a key of that name, which is asked for first. The key of the bare
    # name is that of a class without a module.
    if module is None and rkey != schema_rkey(name, version):
        found.setdefault(f"{name}@{version}", rkey)


def _rkey(record: Record) -> str:
    return record.uri.rpartition("/")[2]
