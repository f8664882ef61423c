"""Is a published dataset what its record says? Asked as anybody can ask: no Redis, no login, no keys."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ...atmosphere.labels import find_label
from ...atmosphere.record_format import lexicon
from ...atmosphere.record_format.lexicon import OLD_ENTRY
from ...atmosphere.record_format.parse import (
    AtmosphereIndexEntry,
    PublishedShard,
    expanded,
    label_target,
    read_entry_record,
    read_schema_record,
)
from ...atmosphere.record_format.record_keys import ENTRY, SCHEMA, AtUri
from ...common.byte_progress import Progress
from ...common.cid import record_cid
from ...common.concurrency import concurrently
from ...common.urls import displayed
from ...errors import AtdataError, MetadataError, RecordNotFoundError, RefusedError
from ...samples.schema import decode
from ..stages.schema_stage import Compatibility, compatibility_of
from .findings import Finding, Report, Subject, Verification
from .shard_checks import ShardCheck, check_shard

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record

__all__ = ["Finding", "Verification", "verify_dataset"]

_SHOWN: dict[Subject, str] = {"record": "entry"}
"""What a subject is called in a note, where that is another word."""


def verify_dataset(
    at_uri: str,
    *,
    client: AtmosphereClient | None = None,
    sample: int | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare what lies on the network with what a dataset's record says, and tell everything that differs.

    Records come from the PDS that the DID names: the entry (its content must have its CID and fit the
    lexicon), its schema, the label of its name. The PDS is not taken at its word: it must prove that each is in
    the repository that its account signed, with the key that the DID document names. Then every shard is read to
    its end: its SHA-256, whether it is a whole tar, each sample as the type that the *published* schema describes,
    and whether there are files in it that are no samples. Shards are read without keys; those of the environment
    serve only at the environment's own endpoints, and only where nobody is served without. Private addresses are
    refused unless they are configured. Eight shards are read at a time, one sample of each is in memory.

    Args:
        at_uri: Of the entry record; it may name a handle.
        client: Asks the network; a new one without a login by default.
        sample: Read only so many shards, drawn at random; ``looked_at`` tells which.
        seed: The same seed draws the same shards; without one each call draws others.
        progress: Called after each shard with how many are done and how many there are; a ``ByteProgress`` is also
            told of the bytes.

    Returns:
        ``ok`` where everything that was looked at is as published; ``state`` also tells where that is so and
        not all can be read anonymously. What could not be reached is a finding of the kind ``unreachable``, what
        is there and not as published one of the kind ``differs``. A PDS that cannot prove anything is named in a
        note.

    Raises:
        RefusedError: (a ``ValueError``) ``at_uri`` is malformed, or ``sample`` is below 1.
    """
    if sample is not None and sample < 1:
        raise RefusedError(f"sample is {sample}. Give how many shards to read, 1 or more.", name="sample")
    address = AtUri.parse(at_uri)
    if client is None:
        from ...atmosphere.client import AtmosphereClient

        client = AtmosphereClient()
    report = Report()
    checks = _RecordChecks(client, report)
    record = checks.read("record", address, ENTRY)
    entry = None if record is None else checks.entry(record)
    if record is None or entry is None:
        uri, cid = (str(address), None) if record is None else (record.uri, record.cid)
        return Verification(
            uri, cid, signed_by=checks.signed_by, findings=tuple(report.findings), notes=tuple(report.notes)
        )
    sample_type, schema = checks.sample_type(entry.schema_ref)
    checks.label(entry)
    compatibility = None if schema is None else checks.compatibility(entry.schema_ref, schema)

    shards = _shards_of(entry, report)
    drawn = shards
    if sample is not None and sample < len(shards):
        picked = random.Random(seed).sample(range(len(shards)), sample)
        drawn = [shards[number] for number in sorted(picked)]
        report.note(f"{sample} of {len(shards)} shards were read, drawn at random.")
    read = _check(drawn, sample_type, progress)
    report.findings += [finding for check in read for finding in check.findings]
    _compare_sizes(entry.uri, record.value, read if drawn is shards else None, len(shards), report)
    _note_shards(drawn, read, report)
    return Verification(
        entry.uri,
        entry.cid,
        entry.name,
        entry.license,
        checks.signed_by,
        tuple(report.findings),
        tuple(report.notes),
        shards=len(shards),
        looked_at=tuple(displayed(shard.url) for shard in drawn),
        shards_checked=sum(check.read for check in read),
        anonymous=sum(check.anonymous for check in read),
        bytes_read=sum(check.size for check in read),
        samples=sum(check.samples for check in read),
        compatibility=compatibility,
    )


class _RecordChecks:
    """Reads entry, schema and label from the PDS that holds them; what is not as it should be is reported.

    ``signed_by`` is the DID of the account that signed the entry record; None where that is not proven. A PDS that
    proves one record of an account proves any.
    """

    def __init__(self, client: AtmosphereClient, report: Report) -> None:
        self._client = client
        self._report = report
        self.signed_by: str | None = None

    def read(self, subject: Subject, at: AtUri | str, collection: str) -> Record | None:
        """A record as its own PDS gives it, proven, and held to its lexicon."""
        try:
            record = self._client.read_at_home(at)
        except AtdataError as error:
            self._report.error(subject, str(at), error)
            return None
        self._prove(subject, record)
        if record.value.get("$type") == collection:
            for problem in lexicon.problems(collection, record.value):
                self._report.differs(subject, record.uri, problem)
        return record

    def entry(self, record: Record) -> AtmosphereIndexEntry | None:
        """What an entry record says; None where it says too little to go on."""
        collection = AtUri.parse(record.uri).collection
        if collection not in (ENTRY, OLD_ENTRY):
            problem = f"a record of {collection} is no dataset; its entry is of {ENTRY}"
            self._report.differs("record", record.uri, problem)
            return None
        value = record.value
        for _ in range(2):
            try:
                return read_entry_record(record.uri, record.cid, value, service_of=self._client.service_of)
            except MetadataError as error:
                self._report.error("record", record.uri, error)
                # The shards can be looked at all the same.
                value = {name: field for name, field in value.items() if name != "metadata"}
            except AtdataError as error:
                self._report.error("record", record.uri, error)
                break
        return None

    def sample_type(self, ref: str) -> tuple[type | None, dict[str, Any] | None]:
        """The sample type of the published schema, and the schema; each None where it cannot be had."""
        record = self.read("schema", ref, SCHEMA)
        schema = None
        try:
            if record is not None:
                schema = read_schema_record(record.value)
                return decode(schema), schema
        except AtdataError as error:
            self._report.error("schema", record.uri if record else ref, error)
        return None, schema

    def label(self, entry: AtmosphereIndexEntry) -> None:
        """Check the label of the entry's name."""
        account = AtUri.parse(entry.uri).authority
        try:
            label = find_label(self._client, account, entry.name)
            if label is None:
                self._report.note(f"No label {entry.name!r} points at it: it is found by its at-uri alone.")
                return
            if AtUri.parse(label.uri).authority != account:
                self._report.differs("label", label.uri, "the label is of another account", account)
                return
        except AtdataError as error:
            self._report.error("label", entry.uri, error)
            return
        self._prove("label", label)
        target = label_target(label.value) or ""
        try:
            at = AtUri.parse(target)
            at = AtUri(self._client.did_of(at.authority), at.collection, at.rkey)
            if str(at) != entry.uri:
                self._client.read_at_home(at)
                self._report.note(f"The label {entry.name!r} points at another version: {at}.")
        except RecordNotFoundError:
            problem = "the label points at a record that is not there"
            self._report.differs("label", label.uri, problem, entry.uri, target)
        except AtdataError as error:
            self._report.error("label", label.uri, error)

    def compatibility(self, ref: str, schema: dict[str, Any]) -> Compatibility | None:
        """The schema beside the version before it; None where that cannot be told."""
        try:
            found = compatibility_of(schema, self._client, AtUri.parse(ref).authority)
        except AtdataError as error:
            self._report.note(f"Earlier versions of the schema could not be looked for: {error.message}")
            return None
        if found.problems:
            self._report.note(str(found))
        return found

    def _prove(self, subject: Subject, record: Record) -> None:
        """Report where a record has not the CID of its content, or is not proven to be signed by its account."""
        try:
            computed = record_cid(record.value)
        except (ValueError, RecursionError) as error:
            self._report.differs(subject, record.uri, f"no record can hold this: {error}")
            return
        if computed != record.cid:
            problem = "the record's content has another CID"
            self._report.differs(subject, record.uri, problem, record.cid or "none", computed)
            # Then it does not matter where the CID stands.
            return
        at = AtUri.parse(record.uri)
        try:
            unproven = self._client.prove(at, record.cid)
        except AtdataError as error:
            self._report.error(subject, record.uri, error)
            return
        if unproven is None:
            self.signed_by = at.authority if subject == "record" else self.signed_by
        elif at.authority == self.signed_by:
            problem = "its PDS proves other records of this account, and not this one"
            self._report.differs(subject, record.uri, f"{problem}: {unproven}")
        else:
            self._report.note(
                f"That its account signed the {_SHOWN.get(subject, subject)} is not proven: {unproven}."
            )


def _shards_of(entry: AtmosphereIndexEntry, report: Report) -> list[PublishedShard]:
    """The shards that an entry names, patterns of the oldest records expanded."""
    shards: list[PublishedShard] = []
    unreadable = False
    for shard in entry.shards:
        try:
            shards += expanded([shard])
        except AtdataError as error:
            unreadable = True
            report.error("shards", entry.uri, error)
    if not shards and not unreadable:
        report.differs("shards", entry.uri, "the record names no shards")
    return shards


def _check(
    shards: Sequence[PublishedShard], sample_type: type | None, progress: Progress | None
) -> list[ShardCheck]:
    checks: list[ShardCheck] = []
    for check in concurrently(lambda shard: check_shard(shard, sample_type, progress), shards):
        checks.append(check)
        if progress:
            progress(len(checks), len(shards))
    return checks


def _compare_sizes(
    uri: str, value: Mapping[str, Any], checks: list[ShardCheck] | None, shards: int, report: Report
) -> None:
    """Compare the totals in the record with those of the shards; ``checks`` None: not all were read."""
    given: Any = value.get("size")
    if not isinstance(given, dict):
        return
    size = cast("dict[str, Any]", given)
    counted = {"shards": shards}
    if checks is not None and all(check.read for check in checks):
        counted["bytes"] = sum(check.size for check in checks)
        if all(check.whole for check in checks):
            counted["samples"] = sum(check.samples for check in checks)
    for name, number in counted.items():
        if name in size and size[name] != number:
            report.differs("shards", uri, f"size.{name} is not what its shards add up to", size[name], number)


def _note_shards(shards: Sequence[PublishedShard], checks: Sequence[ShardCheck], report: Report) -> None:
    unknown = sum(shard.sha256 is None for shard in shards)
    if unknown:
        report.note(f"The record gives no SHA-256 of {unknown} shards: their bytes could not be compared.")
    empty = [shard for shard, check in zip(shards, checks, strict=True) if check.empty]
    if empty:
        first = displayed(empty[0].url)
        report.note(f"{len(empty)} of {len(shards)} shards hold no file at all; the first: {first}")
