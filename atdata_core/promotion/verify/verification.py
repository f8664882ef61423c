"""Is a published dataset what its record says? Asked as anybody can ask: no Redis, no login, no keys."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ...atmosphere.record_format.parse import PublishedShard
from ...atmosphere.record_format.record_keys import AtUri
from ...common.urls import displayed, expand
from ...errors import AtdataError, RefusedError
from ..stages.schema_stage import Compatibility, compatibility_of
from .findings import Finding, Verification, differs, of_error, plain
from .record_checks import check_label, read_entry, read_record, read_sample_type
from .shard_checks import ShardCheck, check_shard

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient
    from ...atmosphere.record_format.parse import AtmosphereIndexEntry

__all__ = ["Finding", "Verification", "verify_dataset"]

WORKERS = 8


def verify_dataset(
    at_uri: str,
    *,
    client: AtmosphereClient | None = None,
    sample: int | None = None,
    seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Compare what lies on the network with what a dataset's record says, and tell everything that differs.

    Records come from the PDS that the DID names: the entry (its content must have its CID and fit the
    lexicon), its schema, the label of its name. The PDS is not taken at its word: it must prove that each is in
    the repository that its account signed, with the key that the DID document names. Then every shard is read to
    its end: its SHA-256, whether it is a whole tar, each sample as the type that the *published* schema describes,
    and whether there are files in it that are no samples. Shards are read without keys; those of the environment
    serve only at the environment's own endpoints, and only where a stranger is turned away. Private addresses are
    refused unless they are configured. Eight shards are read at a time, one sample of each is in memory.

    Args:
        at_uri: Of the entry record; it may name a handle.
        client: Asks the network; a new one without a login by default.
        sample: Read only so many shards, drawn at random; ``looked_at`` tells which.
        seed: The same seed draws the same shards; without one each call draws others.
        progress: Called after each shard with how many are done and how many there are.

    Returns:
        ``ok`` where everything that was looked at is as published; ``state`` also tells where that is so and
        strangers cannot read it all. What could not be reached is a finding of the kind ``unreachable``, what is
        there and not as published one of the kind ``differs``. A PDS that cannot prove anything is named in a note.

    Raises:
        RefusedError: (a ``ValueError``) ``at_uri`` is malformed, or ``sample`` is below 1.
    """
    if sample is not None and sample < 1:
        raise RefusedError(f"sample is {sample}. Give how many shards to read, 1 or more.", name="sample")
    address = AtUri.parse(at_uri)
    if client is None:
        from ...atmosphere.client import AtmosphereClient

        client = AtmosphereClient()
    record, signed_by, findings, notes = read_record(client, address)
    if record is None:
        return Verification(str(address), findings=tuple(findings))
    entry, found = read_entry(client, record)
    findings += found
    if entry is None:
        return Verification(
            record.uri, record.cid, signed_by=signed_by, findings=tuple(findings), notes=tuple(notes)
        )
    sample_type, schema, found, found_notes = read_sample_type(client, entry.schema_ref, signed_by)
    findings += found
    notes += found_notes
    found, found_notes = check_label(client, entry, signed_by)
    findings += found
    notes += found_notes
    compatibility, found_notes = _compared(client, entry.schema_ref, schema)
    notes += found_notes

    shards, found = _shards_of(entry)
    findings += found
    drawn = shards
    if sample is not None and sample < len(shards):
        picked = random.Random(seed).sample(range(len(shards)), sample)
        drawn = [shards[number] for number in sorted(picked)]
        notes.append(f"{sample} of {len(shards)} shards were read, drawn at random.")
    checks = _check(drawn, sample_type, progress)
    findings += [finding for check in checks for finding in check.findings]
    findings += _sizes_differ(entry.uri, record.value, checks if drawn is shards else None, len(shards))
    return Verification(
        entry.uri,
        entry.cid,
        entry.name,
        entry.license,
        signed_by,
        tuple(findings),
        (*notes, *_about_shards(drawn, checks)),
        shards=len(shards),
        looked_at=tuple(displayed(shard.url) for shard in drawn),
        shards_checked=sum(check.read for check in checks),
        strangers=sum(check.stranger for check in checks),
        bytes_read=sum(check.size for check in checks),
        samples=sum(check.samples for check in checks),
        compatibility=compatibility,
    )


def _compared(
    client: AtmosphereClient, ref: str, schema: dict[str, Any] | None
) -> tuple[Compatibility | None, list[str]]:
    """The schema beside the version before it, and what is to be said of that."""
    if schema is None:
        return None, []
    try:
        found = compatibility_of(schema, client, AtUri.parse(ref).authority)
    except AtdataError as error:
        return None, [f"Earlier versions of the schema could not be looked for: {plain(error.message)}"]
    return found, [plain(str(found))] if found.problems else []


def _shards_of(entry: AtmosphereIndexEntry) -> tuple[list[PublishedShard], list[Finding]]:
    """The shards that an entry names, patterns of the oldest records expanded."""
    shards: list[PublishedShard] = []
    found: list[Finding] = []
    for shard in entry.shards:
        if not shard.pattern:
            shards.append(shard)
            continue
        try:
            shards += [replace(shard, url=url, pattern=False) for url in expand([shard.url])]
        except AtdataError as error:
            found.append(of_error("shards", entry.uri, error))
    if not shards and not found:
        found.append(differs("shards", entry.uri, "the record names no shards"))
    return shards, found


def _check(
    shards: Sequence[PublishedShard], sample_type: type | None, progress: Callable[[int, int], None] | None
) -> list[ShardCheck]:
    checks: list[ShardCheck] = []
    with ThreadPoolExecutor(max(1, min(WORKERS, len(shards))), "verify") as pool:
        pending = [pool.submit(check_shard, shard, sample_type) for shard in shards]
        try:
            for number, future in enumerate(pending, 1):
                checks.append(future.result())
                if progress:
                    progress(number, len(pending))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return checks


def _sizes_differ(
    uri: str, value: Mapping[str, Any], checks: list[ShardCheck] | None, shards: int
) -> list[Finding]:
    """Where the totals in the record are not those of the shards; ``checks`` None: not all were read."""
    given: Any = value.get("size")
    if not isinstance(given, dict):
        return []
    size = cast("dict[str, Any]", given)
    counted = {"shards": shards}
    if checks is not None and all(check.read for check in checks):
        counted["bytes"] = sum(check.size for check in checks)
        if all(check.whole for check in checks):
            counted["samples"] = sum(check.samples for check in checks)
    return [
        differs("shards", uri, f"size.{name} is not what its shards add up to", size[name], number)
        for name, number in counted.items()
        if name in size and size[name] != number
    ]


def _about_shards(shards: Sequence[PublishedShard], checks: Sequence[ShardCheck]) -> list[str]:
    notes: list[str] = []
    unknown = sum(shard.sha256 is None for shard in shards)
    if unknown:
        notes.append(f"The record gives no SHA-256 of {unknown} shards: their bytes could not be compared.")
    empty = [shard for shard, check in zip(shards, checks, strict=True) if check.empty]
    if empty:
        said = f"{len(empty)} of {len(shards)} shards hold no file at all; the first: {displayed(empty[0].url)}"
        notes.append(plain(said))
    return notes
