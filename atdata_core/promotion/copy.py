"""Stage 3, ``copied_shards``: the shards as they will be published, and how it is known that they lie there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4
from weakref import WeakKeyDictionary

from ..access import open_shard
from ..atmosphere.records import storage_of
from ..dataset import Dataset
from ..errors import ShardChangedError, ShardConflictError, StorageError
from ..protocols import AbstractDataStore, ClaimKeeper, ShardCopier, ShardFacts, ShardProver
from ..reading import read_facts
from ..schema import decode
from ..urls import displayed, plain_path, refuse_credentials, scheme
from .inventory import Inventory, Progress, cid_of
from .sources import Sources

if TYPE_CHECKING:
    from ..protocols import AbstractIndex, IndexEntry
    from .ledger import Ledger

CODE_VERSION = "1"
WORKERS = 8

_objects: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class CopiedShards:
    """The shards as they will be published, in the order of the entry.

    ``proofs`` says of each how its bytes are known to lie there: ``server sha256``, ``etag md5`` or
    ``read back``; for shards that stay where they are, the look of the inventory. ``copied`` counts the
    shards that this call wrote and ``bytes_written`` their bytes. ``destination`` is None where URLs are
    kept.
    """

    cid: str
    destination: str | None
    shards: tuple[ShardFacts, ...]
    proofs: tuple[str, ...]
    copied: int = 0
    bytes_written: int = 0

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {
            "code_version": CODE_VERSION,
            "cid": self.cid,
            "destination": self.destination,
            "shards": [shard.to_json() for shard in self.shards],
            "proofs": list(self.proofs),
            "copied": self.copied,
            "bytes_written": self.bytes_written,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CopiedShards:
        """The inverse of ``to_json``."""
        return cls(
            data["cid"],
            data["destination"],
            tuple(ShardFacts.from_json(shard) for shard in data["shards"]),
            tuple(data["proofs"]),
            data["copied"],
            data["bytes_written"],
        )


def copy_shards(
    entry: IndexEntry,
    inventory: Inventory,
    index: AbstractIndex,
    ledger: Ledger,
    *,
    data_store: Any = None,
    progress: Progress | None = None,
) -> CopiedShards:
    """Bring the shards to where they will be published; without a store they stay.

    Copies are byte-identical and lie at ``promoted/{name}/{entry cid}/{tail}`` below the store's prefix.
    What lies there already is not sent again. A store that only has ``write_shards`` gets that, and its
    shards are read back.

    Raises:
        ShardChangedError: The source's bytes are not those of the inventory.
        ShardConflictError: Something else lies at the destination; it is left alone.
        StorageError, SampleError: What a plain store wrote is not what the entry holds, or cannot be published.
    """
    if data_store is None:
        result = CopiedShards(inventory.cid, None, inventory.shards, inventory.looks)
    else:
        claims = index.shard_claims(inventory.cid) if isinstance(index, ClaimKeeper) else {}
        sources = Sources(entry, index, data_store, claims or {s.url: s for s in inventory.shards})
        destination = destination_of(data_store)
        earlier = earlier_copies(inventory, data_store, ledger)
        if isinstance(data_store, ShardCopier):
            result = _copy(inventory, sources, data_store, destination, earlier, progress)
        elif isinstance(data_store, AbstractDataStore):
            result = _rewrite(inventory, sources, data_store, destination, earlier)
        else:
            raise StorageError(
                f"{type(data_store).__name__} cannot take shards: a data store has write_shards, read_url and "
                "supports_streaming (atdata.protocols.AbstractDataStore), or put_shard for exact copies.",
                urls=[],
            )
        ledger.put(f"entry:{inventory.cid}", f"copy:{destination}", result.to_json())
    ledger.put(f"dataset:{inventory.name}", "copy", result.to_json())
    return result


def recall_copies(entry: IndexEntry, ledger: Ledger, data_store: Any = None) -> CopiedShards | None:
    """The copies that the ledger has for this entry, store and code; None where it has none."""
    kept = ledger.get(f"dataset:{entry.name}", "copy")
    destination = None if data_store is None else destination_of(data_store)
    if (
        kept is None
        or kept["cid"] != cid_of(entry)
        or kept["destination"] != destination
        or kept["code_version"] != CODE_VERSION
    ):
        return None
    return CopiedShards.from_json(kept)


def destination_of(store: Any) -> str:
    """A name for where a store puts things.

    The same in every process for stores of S3, and for others that have an attribute ``destination`` (a
    string) or a ``repr`` of their own.
    """
    endpoint = getattr(store, "endpoint", None)
    if endpoint is not None and hasattr(store, "bucket"):
        place = f"{endpoint.endpoint_url or 'aws'}/{store.bucket}/{store.prefix}"
        return f"{place} as {store.public_url}" if store.public_url else place
    said = getattr(store, "destination", None)
    kind = f"{type(store).__module__}.{type(store).__qualname__}"
    if isinstance(said, str):
        return f"{kind} {said}"
    if type(store).__repr__ is object.__repr__:
        # Another object of the class may write elsewhere, so copies are known again by this one alone.
        return f"{kind} {_objects.setdefault(store, uuid4().hex)}"
    # Hashed, because somebody's repr may hold a secret.
    return f"{kind} {hashlib.sha256(repr(store).encode()).hexdigest()[:32]}"


def tails(urls: Sequence[str]) -> list[str]:
    """For each URL the shortest tail of its path that no other has: file names where they differ."""
    parts = [url.split("?", 1)[0].rstrip("/").split("/") for url in urls]
    lengths = [1] * len(urls)
    while True:
        found: dict[str, list[int]] = {}
        for number, length in enumerate(lengths):
            found.setdefault("/".join(parts[number][-length:]), []).append(number)
        rivals = [number for numbers in found.values() if len(numbers) > 1 for number in numbers]
        longer = [number for number in rivals if lengths[number] < len(parts[number])]
        if not longer:
            return ["/".join(parts[number][-length:]) for number, length in enumerate(lengths)]
        for number in longer:
            lengths[number] += 1


def names_of(inventory: Inventory) -> list[str]:
    """The names that the shards of an entry get in a store that copies."""
    found = tails([shard.url for shard in inventory.shards])
    return [plain_path(f"promoted/{inventory.name}/{inventory.cid}/{tail}") for tail in found]


def as_published(shard: ShardFacts, url: str, store: Any) -> ShardFacts:
    """A shard's facts at its new place."""
    endpoint = getattr(store, "endpoint", None) if scheme(url) == "s3" else None
    return replace(
        shard,
        url=url,
        etag=None,
        endpoint=getattr(endpoint, "endpoint_url", None),
        region=getattr(endpoint, "region", None),
    )


def earlier_copies(inventory: Inventory, data_store: Any, ledger: Ledger) -> CopiedShards | None:
    """Copies of the same entry at the same place, made under whatever name, as the ledger knows them."""
    kept = ledger.get(f"entry:{inventory.cid}", f"copy:{destination_of(data_store)}")
    if kept is None or kept["code_version"] != CODE_VERSION:
        return None
    return CopiedShards.from_json(kept)


def _copy(
    inventory: Inventory,
    sources: Sources,
    store: ShardCopier,
    destination: str,
    earlier: CopiedShards | None,
    progress: Progress | None,
) -> CopiedShards:
    known = [shard.url for shard in earlier.shards] if earlier else [None] * len(inventory.shards)

    def one(shard: ShardFacts, name: str, earlier_url: str | None) -> tuple[ShardFacts, str, int]:
        if isinstance(store, ShardProver):
            for url in dict.fromkeys([earlier_url or store.shard_url(name), store.shard_url(name)]):
                proof = store.prove_shard(url, size=shard.size, sha256=shard.sha256, md5=shard.md5)
                if proof is not None:
                    return as_published(shard, url, store), proof, 0
        with sources.open_shard(shard.url) as stream:
            url = store.put_shard(name, stream, size=shard.size, sha256=shard.sha256)
        refuse_credentials(url)
        if isinstance(store, ShardProver):
            proof = store.prove_shard(url, size=shard.size, sha256=shard.sha256, md5=shard.md5)
        else:
            proof = _read_back(shard, url, store)
        if proof is None:
            raise StorageError(
                f"{displayed(url)} was written but is not there. Look at the bucket's rules, then run again.",
                urls=[url],
            )
        return as_published(shard, url, store), proof, shard.size

    done: list[tuple[ShardFacts, str, int]] = []
    with ThreadPoolExecutor(min(WORKERS, len(inventory.shards)), "copy") as pool:
        rows = zip(inventory.shards, names_of(inventory), known, strict=True)
        pending = [pool.submit(one, *row) for row in rows]
        try:
            for number, future in enumerate(pending, 1):
                done.append(future.result())
                if progress:
                    progress(number, len(pending))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    shards, proofs, written = zip(*done, strict=True)
    return CopiedShards(
        inventory.cid,
        destination,
        cast("tuple[ShardFacts, ...]", shards),
        cast("tuple[str, ...]", proofs),
        copied=sum(1 for size in written if size),
        bytes_written=sum(cast("tuple[int, ...]", written)),
    )


def _read_back(shard: ShardFacts, url: str, store: Any) -> str:
    with open_shard(url, store=store) as stream:
        found = read_facts(url, stream)
    if found.sha256 != shard.sha256:
        raise ShardConflictError(
            f"{displayed(url)} does not hold what was sent: SHA-256 should be {shard.sha256}, is {found.sha256}. "
            "Look at what else writes to that store, then run again.",
            url=url,
            expected=shard.sha256,
            found=found.sha256,
        )
    return "read back"


def _rewrite(
    inventory: Inventory,
    sources: Sources,
    store: AbstractDataStore,
    destination: str,
    earlier: CopiedShards | None,
) -> CopiedShards:
    """A store that packs samples its own way: number and names are its own, digests are read back."""
    if earlier is not None and still_there(earlier, store):
        return replace(earlier, copied=0, bytes_written=0)
    verified = _Verified(sources, {shard.url: shard for shard in inventory.shards})
    sample_type = decode(inventory.schema)
    dataset: Any = Dataset[sample_type]  # pyright: ignore[reportInvalidTypeArguments]
    dataset = dataset([shard.url for shard in inventory.shards], data_store=verified)
    prefix = f"promoted/{plain_path(inventory.name)}/{inventory.cid}"
    written: list[ShardFacts] = []
    for url in store.write_shards(dataset, prefix=prefix):
        refuse_credentials(url)
        with open_shard(url, store=store) as stream:
            written.append(as_published(read_facts(url, stream, sample_type), url, store))
    samples = sum(shard.samples or 0 for shard in written)
    if not written or (inventory.samples is not None and samples != inventory.samples):
        raise StorageError(
            f"{type(store).__name__}.write_shards wrote {samples} samples in {len(written)} shards below {prefix}, "
            f"but dataset {inventory.name!r} holds {inventory.samples}. Nothing was published. (ordered() gives a "
            "process its part where RANK and WORLD_SIZE are set.)",
            urls=[shard.url for shard in written],
        )
    storage_of(written)
    return CopiedShards(
        inventory.cid,
        destination,
        tuple(written),
        ("read back",) * len(written),
        copied=len(written),
        bytes_written=sum(shard.size for shard in written),
    )


def still_there(copies: CopiedShards, store: AbstractDataStore) -> bool:
    """Whether copies that a plain store made are still what they were."""
    try:
        for shard in copies.shards:
            with open_shard(shard.url, store=store) as stream:
                if read_facts(shard.url, stream).sha256 != shard.sha256:
                    return False
    except OSError:  # missing, forbidden, unreachable: all of ours that a look can raise are OSErrors
        return False
    return True


class _Verified:
    """Reads the entry's shards for ``write_shards`` and holds each to its digest."""

    def __init__(self, sources: Sources, facts: Mapping[str, ShardFacts]) -> None:
        self._sources = sources
        self._facts = facts

    def open_shard(self, url: str) -> Any:
        with self._sources.open_shard(url) as stream:
            found = read_facts(url, stream)
        if found.sha256 != self._facts[url].sha256:
            raise ShardChangedError(
                f"{displayed(url)} changed while it was promoted. Nothing was published; run again.",
                url=url,
                expected=self._facts[url].sha256,
                found=found.sha256,
            )
        return self._sources.open_shard(url)
