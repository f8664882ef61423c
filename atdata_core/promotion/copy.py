"""Stage 3, ``copied_shards``: the shards as they will be published, and how it is known that they lie there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from ..access import open_shard
from ..errors import ShardConflictError, ShardMissingError, StorageError
from ..protocols import AbstractDataStore, ClaimKeeper, ShardCopier, ShardFacts, ShardProver, ShardReader
from ..reading import read_facts
from ..urls import displayed, refuse_credentials
from .destination import FIRST_CLAIM, as_published, claim_of, destination_of, folder_of, names_of
from .inventory import Inventory, Progress, cid_of, recall_inventory
from .lease import POLL, Lease, Leases, Renewing, leases_of
from .rewrite import rewrite, still_there
from .sources import Sources
from .underway import in_use

if TYPE_CHECKING:
    from ..protocols import AbstractIndex, IndexEntry
    from .ledger import Ledger

CODE_VERSION = "2"
WORKERS = 8

_logger = logging.getLogger("atdata_core")


@dataclass(frozen=True, slots=True)
class CopiedShards:
    """The shards as they will be published, in the order of the entry.

    ``proofs`` says of each how its bytes are known to lie there: ``server sha256``, ``etag md5`` or
    ``read back``; for shards that stay where they are, the look of the inventory. ``copied`` counts the
    shards that this call wrote and ``bytes_written`` their bytes. ``destination`` is None where URLs are
    kept. ``claim`` is one digest of what the entry's own shards hold.
    """

    cid: str
    claim: str
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
            "claim": self.claim,
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
            data["claim"],
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
    run: str | None = None,
) -> CopiedShards:
    """Bring the shards to where they will be published; without a store they stay.

    Copies are byte-identical and lie at ``promoted/{name}/{entry cid}/{tail}`` below the store's prefix.
    What lies there already is not sent again, and what a rival is sending is waited for. A store that only has
    ``write_shards`` gets that, and its shards are read back. No retraction removes them from then on, until
    ``publish_record`` has named them for the same ``run``.

    Raises:
        ShardChangedError: The source's bytes are not those of the inventory.
        ShardConflictError: Something else lies at the destination; it is left alone.
        StorageError, SampleError: What a plain store wrote is not what the entry holds, or cannot be published.
    """
    if data_store is None:
        result = CopiedShards(inventory.cid, claim_of(inventory.shards), None, inventory.shards, inventory.looks)
    else:
        with in_use(ledger, leases_of(index), inventory.cid, run):
            result = _copied(entry, inventory, index, ledger, data_store, progress)
    ledger.put(f"dataset:{inventory.name}", "copy", result.to_json())
    return result


def _copied(
    entry: IndexEntry,
    inventory: Inventory,
    index: AbstractIndex,
    ledger: Ledger,
    data_store: Any,
    progress: Progress | None,
) -> CopiedShards:
    claim = claim_of(inventory.shards)
    claims = index.shard_claims(inventory.cid) if isinstance(index, ClaimKeeper) else {}
    sources = Sources(entry, index, data_store, claims or {s.url: s for s in inventory.shards})
    destination = destination_of(data_store)
    ledger.put_first(f"entry:{inventory.cid}", FIRST_CLAIM, {"digest": claim})
    earlier = earlier_copies(inventory, data_store, ledger)
    if isinstance(data_store, ShardCopier):
        names = names_of(inventory, ledger)
        copying = _Copying(sources, data_store, leases_of(index), destination)
        copies = copying.all(inventory, names, earlier, progress)
        result = CopiedShards(
            inventory.cid,
            claim,
            destination,
            tuple(copy.shard for copy in copies),
            tuple(copy.proof for copy in copies),
            copied=sum(1 for copy in copies if copy.written),
            bytes_written=sum(copy.written for copy in copies),
        )
    elif isinstance(data_store, AbstractDataStore):
        if earlier is not None and still_there(earlier.shards, data_store):
            result = replace(earlier, copied=0, bytes_written=0)
        else:
            written = tuple(rewrite(inventory, sources, data_store, folder_of(inventory, ledger)))
            proofs, size = ("read back",) * len(written), sum(shard.size for shard in written)
            result = CopiedShards(inventory.cid, claim, destination, written, proofs, len(written), size)
    else:
        raise StorageError(
            f"{type(data_store).__name__} cannot take shards: a data store has write_shards, read_url and "
            "supports_streaming (atdata.protocols.AbstractDataStore), or put_shard for exact copies.",
            urls=[],
        )
    ledger.put(f"entry:{inventory.cid}", f"copy:{destination}", result.to_json())
    return result


def recall_copies(entry: IndexEntry, ledger: Ledger, data_store: Any = None) -> CopiedShards | None:
    """The copies that the ledger has for this entry, store and code; None where it has none.

    Nor where the inventory has found other bytes since.
    """
    kept = ledger.get(f"dataset:{entry.name}", "copy")
    destination = None if data_store is None else destination_of(data_store)
    if (
        kept is None
        or kept.get("cid") != cid_of(entry)
        or kept.get("destination") != destination
        or kept.get("code_version") != CODE_VERSION
    ):
        return None
    copies, inventory = _copies_of(kept), recall_inventory(entry, ledger)
    if copies is None or (inventory is not None and claim_of(inventory.shards) != copies.claim):
        return None
    return copies


def earlier_copies(inventory: Inventory, data_store: Any, ledger: Ledger) -> CopiedShards | None:
    """Copies of the same entry at the same place, made under whatever name, as the ledger knows them."""
    kept = ledger.get(f"entry:{inventory.cid}", f"copy:{destination_of(data_store)}")
    if kept is None or kept.get("code_version") != CODE_VERSION or kept.get("claim") != claim_of(inventory.shards):
        return None
    return _copies_of(kept)


def _copies_of(kept: Mapping[str, Any]) -> CopiedShards | None:
    """What the ledger kept; None where it is damaged, which is as good as lost."""
    try:
        return CopiedShards.from_json(kept)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def find_copies(inventory: Inventory, store: ShardProver, ledger: Ledger) -> list[ShardFacts | None]:
    """For each shard of an entry its copy in a store, as it would be published; None where there is none.

    Raises ``ShardConflictError`` where something else lies at its place.
    """
    names = names_of(inventory, ledger)
    known = _known(earlier_copies(inventory, store, ledger), len(names))
    with ThreadPoolExecutor(min(WORKERS, len(names)), "copies") as pool:
        found = list(pool.map(partial(_find, store), inventory.shards, names, known))
    return [None if copy is None else copy.shard for copy in found]


class _Copy(NamedTuple):
    """A shard at its destination, how it is known to lie there, and the bytes that were sent for it."""

    shard: ShardFacts
    proof: str
    written: int


class _Copying:
    """Brings shards to a store byte for byte, several at a time."""

    def __init__(self, sources: Sources, store: ShardCopier, leases: Leases, destination: str) -> None:
        self._sources = sources
        self._store = store
        self._leases = leases
        self._destination = destination
        self._stopped = threading.Event()
        self._failure: BaseException | None = None

    def all(
        self, inventory: Inventory, names: list[str], earlier: CopiedShards | None, progress: Progress | None
    ) -> list[_Copy]:
        done: list[_Copy] = []
        with ThreadPoolExecutor(min(WORKERS, len(names)), "copy") as pool:
            rows = zip(inventory.shards, names, _known(earlier, len(names)), strict=True)
            pending = [pool.submit(self._one, *row) for row in rows]
            try:
                for number, future in enumerate(pending, 1):
                    done.append(future.result())
                    if progress:
                        progress(number, len(pending))
            except BaseException as error:
                self._stop(error)
                pool.shutdown(cancel_futures=True)
                raise
        return done

    def _stop(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stopped.set()

    def _one(self, shard: ShardFacts, name: str, earlier: _Copy | None) -> _Copy:
        try:
            return self._brought(shard, name, earlier)
        except BaseException as error:
            # Whoever waits for a rival need not wait any longer.
            self._stop(error)
            raise

    def _brought(self, shard: ShardFacts, name: str, earlier: _Copy | None) -> _Copy:
        found = _find(self._store, shard, name, earlier)
        if found is not None:
            return found
        place, told = f"{self._destination} {name}", False
        while (lease := self._leases.take(place)) is None:
            if not told:
                _logger.info("Another run copies %s: waiting for it.", name)
                told = True
            if self._stopped.wait(POLL) and self._failure is not None:
                raise self._failure
        try:
            # A rival may have brought it since the first look.
            return _find(self._store, shard, name, None) or self._put(shard, name, lease)
        finally:
            lease.release()

    def _put(self, shard: ShardFacts, name: str, lease: Lease) -> _Copy:
        with self._sources.open_shard(shard.url) as stream:
            renewing = cast("BinaryIO", Renewing(stream, lease))
            url = self._store.put_shard(name, renewing, size=shard.size, sha256=shard.sha256)
        refuse_credentials(url)
        if isinstance(self._store, ShardProver):
            found = _look(self._store, url, shard, None)
        else:
            found = _Copy(as_published(shard, url, self._store), _read_back(shard, url, self._store), 0)
        if found is None:
            raise StorageError(
                f"{displayed(url)} was written but is not there. Look at the bucket's rules, then run again.",
                urls=[url],
            )
        return found._replace(written=shard.size)


def _known(earlier: CopiedShards | None, count: int) -> list[_Copy | None]:
    """For each shard the copy that the ledger has of it."""
    if earlier is None:
        return [None] * count
    return [_Copy(shard, proof, 0) for shard, proof in zip(earlier.shards, earlier.proofs, strict=True)]


def _find(store: Any, shard: ShardFacts, name: str, earlier: _Copy | None) -> _Copy | None:
    """The shard where it lies already, at an earlier place or its own."""
    if not isinstance(store, ShardProver):
        return None
    found = earlier and _look(store, earlier.shard.url, shard, earlier)
    return found or _look(store, store.shard_url(name), shard, None)


def _look(store: ShardProver, url: str, shard: ShardFacts, earlier: _Copy | None) -> _Copy | None:
    etag = None
    if isinstance(store, ShardReader):
        try:
            stat = store.stat_shard(url)
        except ShardMissingError as error:
            if error.facts.get("key"):
                return None
        else:
            etag = stat.etag
            if earlier and etag and (stat.size, etag) == (shard.size, earlier.shard.etag):
                return earlier._replace(shard=as_published(shard, url, store, etag))
    proof = store.prove_shard(url, size=shard.size, sha256=shard.sha256, md5=shard.md5)
    return None if proof is None else _Copy(as_published(shard, url, store, etag), proof, 0)


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
