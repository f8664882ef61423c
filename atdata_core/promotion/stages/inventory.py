"""Stage 1, ``local_dataset``: which shards an entry has and what they hold."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...common.cid import entry_cid
from ...common.urls import displayed, expand, refuse_credentials
from ...errors import (
    EntryNotFoundError,
    NoDataUrlsError,
    SchemaNotFoundError,
    ShardChangedError,
    ShardForbiddenError,
    StorageError,
)
from ...protocols import AbstractIndex, ClaimKeeper, DeletionKeeper, IndexEntry, ShardFacts
from ...samples.schema import decode, fields_digest
from ...shards.seal import is_sealed, sealed
from ...shards.shard_contents import read_facts
from ..copies.sources import WAYS_OUT, Sources
from ..records.changes import changed_shards, changed_value, short_cid
from ..records.checked_claims import note_checked, were_checked

if TYPE_CHECKING:
    from ...state.ledger import Facts, Ledger

CODE_VERSION = "1"
WORKERS = 8

ACCEPTED = "accepted"
"""In what the ledger keeps of a stage: a digest of other bytes, which a person accepted since."""

Progress = Callable[[int, int], None]
"""Called after each shard with how many are done and how many there are."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The shards of an entry, in order, patterns expanded.

    ``looks`` says of each shard how its digest is known: ``read`` (all bytes were read now), ``etag``
    (ETag and size are those of the claim) or ``claim`` (it could not be looked at: not re-checked).
    ``changed`` says for people what is other than in the last inventory of the dataset, None where this is the
    first one; it is not kept.
    """

    name: str
    cid: str
    schema_ref: str
    schema: dict[str, Any]
    shards: tuple[ShardFacts, ...]
    looks: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    changed: tuple[str, ...] | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    @property
    def samples(self) -> int | None:
        """Samples of all shards; None where one shard's number is not known."""
        counts = [shard.samples for shard in self.shards]
        return None if None in counts else sum(count for count in counts if count is not None)

    def to_json(self) -> dict[str, Any]:
        """The inventory as a JSON object."""
        return {
            "code_version": CODE_VERSION,
            "name": self.name,
            "cid": self.cid,
            "schema_ref": self.schema_ref,
            "schema": self.schema,
            "shards": [shard.to_json() for shard in self.shards],
            "looks": list(self.looks),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Inventory:
        """The inverse of ``to_json``."""
        return cls(
            data["name"],
            data["cid"],
            data["schema_ref"],
            data["schema"],
            tuple(ShardFacts.from_json(shard) for shard in data["shards"]),
            tuple(data["looks"]),
            tuple(data["warnings"]),
        )


def cid_of(entry: IndexEntry) -> str:
    """The CID of an entry, of whatever index: its own, else made from schema and URLs."""
    return getattr(entry, "cid", None) or entry_cid(entry.schema_ref, entry.data_urls)


def refuse_deleted(entry: IndexEntry, index: AbstractIndex) -> None:
    """Raise ``EntryNotFoundError`` where an entry is one that its owner deleted from the index."""
    cid = cid_of(entry)
    if isinstance(index, DeletionKeeper) and index.was_deleted(entry.name, cid):
        raise EntryNotFoundError(
            f"The entry {cid} of dataset {entry.name!r} was deleted from the index, so it is not promoted. Insert "
            f"the dataset again, or promote what the name has now: index.get_entry_by_name({entry.name!r}).",
            ref=entry.name,
        )


def read_schema(entry: IndexEntry, index: AbstractIndex) -> dict[str, Any]:
    """The local schema record of an entry; ``SchemaNotFoundError`` names what to publish."""
    try:
        return index.get_schema(entry.schema_ref)
    except SchemaNotFoundError:
        raise
    except KeyError as error:
        raise SchemaNotFoundError(
            f"The index has no schema {entry.schema_ref}, which dataset {entry.name!r} needs. "
            "Publish it there first: index.publish_schema(SampleType, version=...).",
            ref=entry.schema_ref,
        ) from error


def shard_urls(entry: IndexEntry) -> list[str]:
    """The URLs of an entry's shards, patterns expanded.

    Raises ``NoDataUrlsError`` where there are none, ``StorageError`` where one stands twice or carries
    credentials.
    """
    urls = expand(entry.data_urls) if entry.data_urls else []
    if not urls:
        raise NoDataUrlsError(
            f"Dataset {entry.name!r} has no data URLs, so there is nothing to publish. "
            "Insert it again with its shards: repo.insert(dataset, name=...).",
            name=entry.name,
        )
    for url in urls:
        refuse_credentials(url)
    if len(set(urls)) != len(urls):
        twice = next(url for url in urls if urls.count(url) > 1)
        raise StorageError(
            f"Dataset {entry.name!r} names the shard {displayed(twice)} twice. "
            "Insert it again with each shard once.",
            urls=[twice],
        )
    return urls


def survey(
    entry: IndexEntry,
    index: AbstractIndex,
    *,
    destination: Any = None,
    progress: Progress | None = None,
    ledger: Ledger | None = None,
    did: str | None = None,
) -> Inventory:
    """Look at every shard of an entry; writes nothing.

    A claim is trusted where its samples were checked against the very schema of the entry, by this user's
    processes or by promotions of the account ``did`` (as ``ledger`` knows), where ETag and size are the same and
    the ETag is not empty. Else the shard is read, and every sample with it. With a ``destination`` the bytes will
    be needed, so a shard that may not be looked at is refused even with a claim.

    Raises:
        EntryNotFoundError: The entry was deleted from the index.
        NoDataUrlsError, SchemaNotFoundError, SchemaError, StorageError: The entry cannot be promoted as it is.
        LocalFileError: A shard is a file of this machine that may not be published.
        SampleError: A sample is not what the schema says, or a file is no sample.
        ShardMissingError, ShardCorruptError, ShardChangedError: A shard is not what it should be.
        ShardForbiddenError: A shard cannot be read with what is configured, and no claim on it is trusted.
    """
    refuse_deleted(entry, index)
    urls = shard_urls(entry)
    schema = read_schema(entry, index)
    sample_type, checked_by = decode(schema), fields_digest(schema)
    cid = cid_of(entry)
    claims = index.shard_claims(cid) if isinstance(index, ClaimKeeper) else {}
    sources = Sources(entry, index, destination, claims)
    sources.permit(urls)
    trusted = _trusted(cid, [claims.get(url) for url in urls], urls, checked_by, did, ledger)

    facts: list[ShardFacts] = []
    looks: list[str] = []
    warnings: list[str] = []
    with ThreadPoolExecutor(min(WORKERS, len(urls)), "inventory") as pool:
        pending = [
            pool.submit(
                _look,
                url,
                claims.get(url),
                sources,
                sample_type,
                checked_by,
                trusted=url in trusted,
                copying=destination is not None,
            )
            for url in urls
        ]
        try:
            for done, future in enumerate(pending, 1):
                shard, look, warning = future.result()
                facts.append(shard)
                looks.append(look)
                warnings += [warning] if warning else []
                warnings += [f"{displayed(shard.url)} holds no samples."] if shard.samples == 0 else []
                if progress:
                    progress(done, len(urls))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Inventory(entry.name, cid, entry.schema_ref, schema, tuple(facts), tuple(looks), tuple(warnings))


def take_inventory(
    entry: IndexEntry,
    index: AbstractIndex,
    ledger: Ledger,
    *,
    destination: Any = None,
    progress: Progress | None = None,
    did: str | None = None,
) -> Inventory:
    """Look at every shard of an entry, and keep the first digest of each as its claim.

    The ledger keeps that the account ``did`` has checked these claims, so that none of its promotions reads the
    shards again, on whatever machine. Raises what ``survey`` raises.
    """
    inventory = survey(entry, index, destination=destination, progress=progress, ledger=ledger, did=did)
    if isinstance(index, ClaimKeeper):
        rows = zip(inventory.shards, inventory.looks, strict=True)
        standing = index.record_claims(inventory.cid, [sealed(shard) for shard, look in rows if look == "read"])
        for shard in inventory.shards:
            _same_bytes(shard, standing.get(shard.url, shard), entry.name)
        if did is not None:
            note_checked(inventory.cid, inventory.shards, did, ledger)
    before = _kept(ledger.exchange(f"dataset:{entry.name}", "inventory", inventory.to_json()))
    return inventory if before is None else replace(inventory, changed=_changes(before, inventory))


def recall_inventory(entry: IndexEntry, index: AbstractIndex, ledger: Ledger) -> Inventory | None:
    """The inventory that the ledger has for this entry and this code; None where it has none.

    Nor where its samples were not checked against the fields that the index has under the entry's schema now.
    Raises as ``read_schema``.
    """
    kept = ledger.get(f"dataset:{entry.name}", "inventory")
    if kept is None or kept.get("cid") != cid_of(entry) or kept.get("code_version") != CODE_VERSION:
        return None
    found = None if ACCEPTED in kept else _kept(kept)
    if found is None:
        return None
    checked_by = fields_digest(read_schema(entry, index))
    return found if all(shard.schema == checked_by for shard in found.shards) else None


def read_shard(url: str, sources: Sources, sample_type: type, checked_by: str, *, etag: str | None) -> ShardFacts:
    """What a shard holds, every byte and sample read.

    Args:
        url: The shard.
        sources: Where it is read.
        sample_type: The type that its samples should be of.
        checked_by: The ``fields_digest`` of the schema that the type was made from.
        etag: What a look before the reading gave.
    """
    with sources.open_shard(url) as stream:
        facts = read_facts(url, stream, sample_type)
    endpoint, region = sources.endpoint(url)
    return replace(facts, etag=etag, endpoint=endpoint, region=region, schema=checked_by)


def _kept(fact: Facts | None) -> Inventory | None:
    """What the ledger kept; None where it is damaged, which is as good as lost."""
    try:
        return None if fact is None else Inventory.from_json(fact)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _changes(before: Inventory, now: Inventory) -> tuple[str, ...]:
    return (
        *changed_value("entry", short_cid(before.cid), short_cid(now.cid)),
        *changed_value("schema", before.schema_ref, now.schema_ref),
        *changed_shards(before.shards, now.shards),
    )


def _trusted(
    cid: str,
    claims: Sequence[ShardFacts | None],
    urls: Sequence[str],
    checked_by: str,
    did: str | None,
    ledger: Ledger | None,
) -> set[str]:
    """The shards whose claims were made by ourselves, against the schema with that digest."""
    fitting = [
        claim
        for url, claim in zip(urls, claims, strict=True)
        if claim is not None and claim.url == url and claim.schema == checked_by
    ]
    ours = {claim.url for claim in fitting if is_sealed(claim)}
    if len(ours) < len(fitting) == len(urls) and did is not None and ledger is not None:
        return set(urls) if were_checked(cid, fitting, did, ledger) else ours
    return ours


def _look(
    url: str,
    claim: ShardFacts | None,
    sources: Sources,
    sample_type: type,
    checked_by: str,
    *,
    trusted: bool,
    copying: bool,
) -> tuple[ShardFacts, str, str | None]:
    try:
        stat = sources.stat(url)
        if claim and trusted and stat.etag and stat.etag == claim.etag and stat.size == claim.size:
            return replace(claim, seal=None), "etag", None
        facts = read_shard(url, sources, sample_type, checked_by, etag=stat.etag)
    except ShardForbiddenError as error:
        if claim is None or copying or not trusted:
            raise ShardForbiddenError(
                f"{displayed(url)} may not be read with what is configured, and "
                f"{_why(claim, checked_by, copying)}. {WAYS_OUT} ({error.message})",
                url=url,
            ) from error
        shown = displayed(url)
        warning = f"{shown} may not be looked at from here: published on its recorded digest."
        return replace(claim, seal=None), "claim", warning
    if claim is None:
        return facts, "read", None
    _same_bytes(facts, claim, sources.dataset)
    # What was not seen this time is still known of the same bytes.
    return replace(claim, **facts.to_json(), seal=None), "read", None


def _why(claim: ShardFacts | None, checked_by: str, copying: bool) -> str:
    """Why a shard that may not be read cannot be published on its claim."""
    if claim is None:
        return "it has no recorded digest"
    if copying:
        return "it is to be copied"
    if claim.schema != checked_by:
        return "its samples were never checked against the schema that the dataset names"
    return (
        "its digest was recorded by somebody else and was never checked by this account: promote it once from "
        "where the shard can be read"
    )


def accept_command(dataset: str) -> str:
    """The command that shows what changed in a dataset and makes it the claim, as it is typed."""
    return f"atdata-pipelines accept {shlex.quote(dataset)}"


def _same_bytes(found: ShardFacts, claim: ShardFacts, dataset: str) -> None:
    if found.sha256 != claim.sha256:
        raise ShardChangedError(
            f"{displayed(found.url)} does not hold what is recorded of it: SHA-256 should be {claim.sha256}, "
            f"is {found.sha256}. It has changed since, or what is recorded is false. Restore the shard; or look at "
            f"what changed and accept it: {accept_command(dataset)}. Or insert the dataset again.",
            url=found.url,
            expected=claim.sha256,
            found=found.sha256,
        )
