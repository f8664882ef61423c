"""Stage 1, ``local_dataset``: which shards an entry has and what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...atmosphere.record_format.build import storage_of
from ...atmosphere.record_format.lexicon import check_storage
from ...common.byte_progress import Progress, counted
from ...common.concurrency import concurrently, shard_in_memory
from ...common.urls import displayed
from ...errors import ShardChangedError, ShardForbiddenError, StorageError
from ...protocols import AbstractIndex, ClaimKeeper, IndexEntry, ShardFacts
from ...samples.schema import decode, fields_digest
from ...shards.shard_facts import is_sealed, read_facts, sealed
from ...state.facts import CHECKED_CLAIMS, COPIES, INVENTORY, CheckedClaims, Inventory
from ..copies.layout import as_published, names_of
from ..copies.recent_looks import recent_looks
from ..copies.sources import WAYS_OUT, Sources
from ..inventory import accept_command, cid_of, read_schema, refuse_deleted, shard_urls
from ..records.summary import changed_shards, changed_value, short_cid

if TYPE_CHECKING:
    from ...state.ledger import Fact, Key, Ledger
    from ...stores.data_store import DataStore

_FEW = 1_000
"""Shards that a record has room for, whatever their URLs are like."""


def shard_facts(
    entry: IndexEntry,
    index: AbstractIndex,
    *,
    destination: Any = None,
    progress: Progress | None = None,
    ledger: Ledger | None = None,
    did: str | None = None,
) -> Inventory:
    """What every shard of an entry holds; writes nothing.

    A claim is trusted where its samples were checked against the very schema of the entry, by this user's
    processes or by promotions of the account ``did`` (as ``ledger`` knows), where ETag and size are the same and
    the ETag is not empty. Else the shard is read, and every sample with it. With a ``destination`` the bytes will
    be needed, so a shard that may not be looked at is refused even with a claim.

    Raises:
        EntryNotFoundError: The entry was deleted from the index.
        PreflightError: It has more shards than a record has room for; none was looked at.
        NoDataUrlsError, SchemaNotFoundError, SchemaError, StorageError: The entry cannot be promoted as it is.
        LocalFileError: A shard is a file of this machine that may not be published.
        SampleError: A sample is not what the schema says, or a file is no sample.
        ShardMissingError, ShardCorruptError, ShardChangedError: A shard is not what it should be.
        ShardForbiddenError: A shard cannot be read with what is configured, and no claim on it is trusted.
    """
    refuse_deleted(entry, index)
    urls = shard_urls(entry)
    schema, cid = read_schema(entry, index), cid_of(entry)
    sample_type, checked_by = decode(schema), fields_digest(schema)
    claims = index.shard_claims(cid) if isinstance(index, ClaimKeeper) else {}
    sources = Sources(entry, index, destination, claims)
    sources.permit(urls)
    _refuse_too_many(
        Inventory(entry.name, cid, entry.schema_ref, schema, _stand_ins(urls), ()), destination, ledger
    )
    trusted = _trusted(cid, claims, urls, checked_by, did, ledger)

    def facts_of(url: str) -> tuple[ShardFacts, str, str | None]:
        """What a shard holds, how that is known, and what is to be said of it."""
        claim = claims.get(url)
        try:
            if claim and url in trusted:
                stat = sources.stat(url)
                if stat.etag and (stat.etag, stat.size) == (claim.etag, claim.size):
                    return replace(claim, seal=None), "etag", None
            facts = read_shard(url, sources, sample_type, checked_by, progress)
        except ShardForbiddenError as error:
            shown = displayed(url)
            if claim is None or destination is not None or url not in trusted:
                why = _why_needed(claim, checked_by, copying=destination is not None)
                raise ShardForbiddenError(
                    f"{shown} may not be read with what is configured, and {why}. {WAYS_OUT} ({error.message})",
                    url=url,
                ) from error
            warning = f"{shown} may not be looked at from here: published on its recorded digest."
            return replace(claim, seal=None), "claim", warning
        if claim is None:
            return facts, "read", None
        _require_same_bytes(facts, claim, entry.name)
        # What was not seen this time is still known of the same bytes.
        return replace(claim, **facts.to_json(), seal=None), "read", None

    shards: list[ShardFacts] = []
    looks: list[str] = []
    warnings: list[str] = []

    def seen(url: str) -> tuple[ShardFacts, str, str | None]:
        begun = recent_looks.now()
        shard, look, warning = facts_of(url)
        if look == "claim":
            recent_looks.forget(shard)
        elif sources.reads_as_anybody(url):
            recent_looks.note(shard, begun)
        return shard, look, warning

    for shard, look, warning in concurrently(seen, urls):
        shards.append(shard)
        looks.append(look)
        warnings += [warning] if warning else []
        warnings += [f"{displayed(shard.url)} holds no samples."] if shard.samples == 0 else []
        if progress:
            progress(len(shards), len(urls))
    return Inventory(entry.name, cid, entry.schema_ref, schema, tuple(shards), tuple(looks), tuple(warnings))


def _stand_ins(urls: Iterable[str]) -> tuple[ShardFacts, ...]:
    """Shards of which nothing but their URLs is known; what else a record says of them takes as many bytes."""
    return tuple(ShardFacts(url, 0, "0" * 64) for url in urls)


def _refuse_too_many(inventory: Inventory, destination: DataStore | None, ledger: Ledger | None) -> None:
    """Refuse more shards than a record has room for, before any is looked at; raises ``PreflightError``."""
    shards = inventory.shards
    if len(shards) < _FEW:
        return
    if destination is None:
        copies = None if ledger is None else ledger.get(COPIES(inventory.name))
        if copies is not None and copies.destination is not None:
            return  # copies that were published stay, whatever these are called
    else:
        if ledger is None or not destination.foresees_copies:
            return
        names = names_of(inventory, ledger, destination)
        pairs = zip(shards, map(destination.shard_url, names), strict=True)
        shards = [as_published(shard, url, destination) for shard, url in pairs]
    try:
        storage = storage_of(shards)
    except StorageError:
        return  # what is wrong with them is said in its turn
    check_storage(storage)


def take_inventory(
    entry: IndexEntry,
    index: AbstractIndex,
    ledger: Ledger,
    *,
    destination: Any = None,
    progress: Progress | None = None,
    did: str | None = None,
) -> Inventory:
    """Take stock of every shard of an entry, and keep the first digest of each as its claim.

    The ledger keeps that the account ``did`` has checked these claims, so that none of its promotions reads the
    shards again, on whatever machine. Raises what ``shard_facts`` raises.
    """
    inventory = shard_facts(entry, index, destination=destination, progress=progress, ledger=ledger, did=did)
    checked: dict[Key[Any], Fact] = {}
    if isinstance(index, ClaimKeeper):
        rows = zip(inventory.shards, inventory.looks, strict=True)
        claims = index.record_claims(inventory.cid, [sealed(shard) for shard, look in rows if look == "read"])
        for shard in inventory.shards:
            _require_same_bytes(shard, claims.get(shard.url, shard), entry.name)
        if did is not None:
            checked = {CHECKED_CLAIMS(inventory.cid, did): CheckedClaims(_claims_digest(inventory.shards))}
    before = ledger.exchange(INVENTORY(entry.name), inventory, checked)
    return inventory if before is None else replace(inventory, changed=_changes(before, inventory))


def recall_inventory(entry: IndexEntry, index: AbstractIndex, ledger: Ledger) -> Inventory | None:
    """The inventory that the ledger has for this entry and this code; None where it has none.

    Nor where its samples were not checked against the fields that the index has under the entry's schema now.
    Raises as ``read_schema``.
    """
    found = ledger.get(INVENTORY(entry.name))
    if (
        found is None
        or found.cid != cid_of(entry)
        or found.code_version != Inventory.CODE_VERSION
        or found.accepted
    ):
        return None
    checked_by = fields_digest(read_schema(entry, index))
    return found if all(shard.schema == checked_by for shard in found.shards) else None


def read_shard(
    url: str,
    sources: Sources,
    sample_type: type,
    checked_by: str,
    progress: Progress | None = None,
) -> ShardFacts:
    """What a shard holds, every byte and sample read.

    Args:
        url: The shard.
        sources: Where it is read.
        sample_type: The type that its samples should be of.
        checked_by: The ``fields_digest`` of the schema that the type was made from.
        progress: Told of the bytes.
    """
    stream, stat = sources.open_known(url)
    with shard_in_memory(stat.size, opened=stream) as is_open:
        if not is_open:
            stream, stat = sources.open_known(url)
        with stream:
            facts = read_facts(url, counted(stream, url, stat.size, progress), sample_type)
    endpoint, region = sources.endpoint(url)
    return replace(facts, etag=stat.etag, endpoint=endpoint, region=region, schema=checked_by)


def _changes(before: Inventory, now: Inventory) -> tuple[str, ...]:
    return (
        *changed_value("entry", short_cid(before.cid), short_cid(now.cid)),
        *changed_value("schema", before.schema_ref, now.schema_ref),
        *changed_shards(before.shards, now.shards),
    )


def _trusted(
    cid: str,
    claims: Mapping[str, ShardFacts],
    urls: Sequence[str],
    checked_by: str,
    did: str | None,
    ledger: Ledger | None,
) -> set[str]:
    """The shards whose claims were made by ourselves, against the schema with that digest."""
    found = ((url, claims.get(url)) for url in urls)
    fitting = [claim for url, claim in found if claim and (claim.url, claim.schema) == (url, checked_by)]
    ours = {claim.url for claim in fitting if is_sealed(claim)}
    if len(ours) < len(fitting) == len(urls) and did is not None and ledger is not None:
        return set(urls) if _were_checked(cid, fitting, did, ledger) else ours
    return ours


def _were_checked(cid: str, claims: Sequence[ShardFacts], did: str, ledger: Ledger) -> bool:
    """Whether the account has checked these very claims on all shards of an entry, in order.

    What stands in the ledger counts as the account's own word, so that machines without a common state folder read
    a shard once between them. Who may write the ledger's keys can vouch for a claim: docs/how-to/services.md
    tells how Redis keeps that to those who promote.
    """
    kept = ledger.get(CHECKED_CLAIMS(cid, did))
    return kept is not None and kept.claims == _claims_digest(claims)


def _claims_digest(claims: Sequence[ShardFacts]) -> str:
    rows = [[each.url, each.sha256, each.size, each.etag, each.samples, each.schema] for each in claims]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def _why_needed(claim: ShardFacts | None, checked_by: str, *, copying: bool) -> str:
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


def _require_same_bytes(found: ShardFacts, claim: ShardFacts, dataset: str) -> None:
    if found.sha256 != claim.sha256:
        raise ShardChangedError(
            f"{displayed(found.url)} does not hold what is recorded of it: SHA-256 should be {claim.sha256}, "
            f"is {found.sha256}. It has changed since, or what is recorded is false. Restore the shard; or look at "
            f"what changed and accept it: {accept_command(dataset)}. Or insert the dataset again.",
            url=found.url,
            expected=claim.sha256,
            found=found.sha256,
        )
