"""Checking the records of a published dataset: entry, schema and label, from the PDS that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..atmosphere import lexicon
from ..atmosphere.labels import find_label
from ..atmosphere.names import ENTRY, OLD_ENTRY, SCHEMA
from ..atmosphere.reading import AtmosphereIndexEntry, read_entry_record, read_schema_record
from ..atmosphere.uri import AtUri
from ..cid import record_cid
from ..errors import AtdataError, MetadataError, RecordNotFoundError, RefusedError
from ..schema import decode
from .findings import Finding, differs, of_error

if TYPE_CHECKING:
    from ..atmosphere.client import AtmosphereClient, Record


def read_record(client: AtmosphereClient, at: AtUri) -> tuple[Record | None, list[Finding]]:
    """The entry record as its own PDS gives it, and what is wrong with it as a record."""
    try:
        record = client.read_at_home(at)
    except AtdataError as error:
        return None, [of_error("record", str(at), error)]
    found = _content_differs("record", record)
    if record.value.get("$type") == ENTRY:
        found += [differs("record", record.uri, problem) for problem in lexicon.problems(ENTRY, record.value)]
    return record, found


def read_entry(client: AtmosphereClient, record: Record) -> tuple[AtmosphereIndexEntry | None, list[Finding]]:
    """What an entry record says; None where it says too little to go on."""
    collection = AtUri.parse(record.uri).collection
    if collection not in (ENTRY, OLD_ENTRY):
        problem = f"a record of {collection} is no dataset; its entry is of {ENTRY}"
        return None, [differs("record", record.uri, problem)]
    found: list[Finding] = []
    value = record.value
    for _ in range(2):
        try:
            return read_entry_record(record.uri, record.cid, value, service_of=client.service_of), found
        except MetadataError as error:
            found.append(of_error("record", record.uri, error))
            # The shards can be looked at all the same.
            value = {name: field for name, field in value.items() if name != "metadata"}
        except AtdataError as error:
            found.append(of_error("record", record.uri, error))
            break
    return None, found


def read_sample_type(
    client: AtmosphereClient, ref: str
) -> tuple[type | None, dict[str, Any] | None, list[Finding]]:
    """The sample type of the published schema, and the schema; None where it cannot be rebuilt, or read."""
    try:
        record = client.read_at_home(ref)
    except AtdataError as error:
        return None, None, [of_error("schema", ref, error)]
    found = _content_differs("schema", record)
    if record.value.get("$type") == SCHEMA:
        found += [differs("schema", record.uri, problem) for problem in lexicon.problems(SCHEMA, record.value)]
    schema = None
    try:
        schema = read_schema_record(record.value)
        return decode(schema), schema, found
    except AtdataError as error:
        return None, schema, [*found, of_error("schema", record.uri, error)]


def check_label(client: AtmosphereClient, entry: AtmosphereIndexEntry) -> tuple[list[Finding], list[str]]:
    """Findings and notes about the label of the entry's name."""
    try:
        label = find_label(client, AtUri.parse(entry.uri).authority, entry.name)
    except AtdataError as error:
        return [of_error("label", entry.uri, error)], []
    if label is None:
        return [], [f"No label {entry.name!r} points at it: it is found by its at-uri alone."]
    target: Any = label.value.get("datasetUri")
    try:
        at = AtUri.parse(target)
        at = AtUri(client.did_of(at.authority), at.collection, at.rkey)
        if str(at) == entry.uri:
            return [], []
        client.read_at_home(at)
    except RecordNotFoundError:
        return [
            differs("label", label.uri, "the label points at a record that is not there", entry.uri, target)
        ], []
    except RefusedError as error:
        return [of_error("label", label.uri, error)], []
    except AtdataError as error:
        return [of_error("label", label.uri, error)], []
    return [], [f"The label {entry.name!r} points at another version: {at}."]


def _content_differs(subject: Any, record: Record) -> list[Finding]:
    """Whether a record's CID is that of its content."""
    try:
        computed = record_cid(record.value)
    except (ValueError, RecursionError) as error:
        return [differs(subject, record.uri, f"no record can hold this: {error}")]
    if computed == record.cid:
        return []
    return [differs(subject, record.uri, "the record's content has another CID", record.cid or "none", computed)]
