"""Checking the records of a published dataset: entry, schema and label, from the PDS that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...atmosphere.label_lookup import find_label
from ...atmosphere.record_format import lexicon
from ...atmosphere.record_format.parse import (
    AtmosphereIndexEntry,
    label_target,
    read_entry_record,
    read_schema_record,
)
from ...atmosphere.record_format.record_keys import ENTRY, OLD_ENTRY, SCHEMA, AtUri
from ...common.cid import record_cid
from ...errors import AtdataError, MetadataError, RecordNotFoundError
from ...samples.schema import decode
from .findings import Finding, Subject, differs, of_error, plain

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record


_SHOWN: dict[Subject, str] = {"record": "entry"}
"""What a subject is called in a note, where that is another word."""


def read_record(client: AtmosphereClient, at: AtUri) -> tuple[Record | None, str | None, list[Finding], list[str]]:
    """The entry record as its own PDS gives it, who signed it, what is wrong with it as a record, and notes."""
    try:
        record = client.read_at_home(at)
    except AtdataError as error:
        return None, None, [of_error("record", str(at), error)], []
    signed_by, found, notes = _proven(client, "record", record)
    if record.value.get("$type") == ENTRY:
        found += [differs("record", record.uri, problem) for problem in lexicon.problems(ENTRY, record.value)]
    return record, signed_by, found, notes


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
    client: AtmosphereClient, ref: str, signed_by: str | None
) -> tuple[type | None, dict[str, Any] | None, list[Finding], list[str]]:
    """The sample type of the published schema, and the schema, each None where it cannot be had; what was found."""
    try:
        record = client.read_at_home(ref)
    except AtdataError as error:
        return None, None, [of_error("schema", ref, error)], []
    _, found, notes = _proven(client, "schema", record, signed_by)
    if record.value.get("$type") == SCHEMA:
        found += [differs("schema", record.uri, problem) for problem in lexicon.problems(SCHEMA, record.value)]
    schema = None
    try:
        schema = read_schema_record(record.value)
        return decode(schema), schema, found, notes
    except AtdataError as error:
        return None, schema, [*found, of_error("schema", record.uri, error)], notes


def _proven(
    client: AtmosphereClient, subject: Subject, record: Record, before: str | None = None
) -> tuple[str | None, list[Finding], list[str]]:
    """The DID of the account that signed a record, None where that is not proven; findings and notes about it.

    ``before`` is an account of which a record was proven: a PDS that proves one of its records proves any.
    """
    found = _content_differs(subject, record)
    if found:
        # Then it does not matter where the CID stands.
        return None, found, []
    at = AtUri.parse(record.uri)
    try:
        unproven = client.prove(at, record.cid)
    except AtdataError as error:
        return None, [of_error(subject, record.uri, error)], []
    if unproven is None:
        return at.authority, [], []
    if at.authority == before:
        problem = "its PDS proves other records of this account, and not this one"
        return None, [differs(subject, record.uri, f"{problem}: {unproven}")], []
    return (
        None,
        [],
        [plain(f"That its account signed the {_SHOWN.get(subject, subject)} is not proven: {unproven}.")],
    )


def check_label(
    client: AtmosphereClient, entry: AtmosphereIndexEntry, signed_by: str | None
) -> tuple[list[Finding], list[str]]:
    """Findings and notes about the label of the entry's name."""
    account = AtUri.parse(entry.uri).authority
    try:
        label = find_label(client, account, entry.name)
        if label is None:
            return [], [f"No label {entry.name!r} points at it: it is found by its at-uri alone."]
        if AtUri.parse(label.uri).authority != account:
            return [differs("label", label.uri, "the label is of another account", account)], []
    except AtdataError as error:
        return [of_error("label", entry.uri, error)], []
    _, found, notes = _proven(client, "label", label, signed_by)
    pointed, noted = _pointed_elsewhere(client, label, entry)
    return [*found, *pointed], [*notes, *noted]


def _pointed_elsewhere(
    client: AtmosphereClient, label: Record, entry: AtmosphereIndexEntry
) -> tuple[list[Finding], list[str]]:
    target = label_target(label.value) or ""
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
    except AtdataError as error:
        return [of_error("label", label.uri, error)], []
    return [], [f"The label {entry.name!r} points at another version: {at}."]


def _content_differs(subject: Subject, record: Record) -> list[Finding]:
    """Whether a record's CID is that of its content."""
    try:
        computed = record_cid(record.value)
    except (ValueError, RecursionError) as error:
        return [differs(subject, record.uri, f"no record can hold this: {error}")]
    if computed == record.cid:
        return []
    return [differs(subject, record.uri, "the record's content has another CID", record.cid or "none", computed)]
