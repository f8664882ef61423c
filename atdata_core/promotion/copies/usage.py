"""Copies of shards and who names them, or is about to: what nothing names may go.

A run that is about to name copies in a record, and a retraction that is about to remove some, each say so before
they look at what the other one says, so that no record names a copy that has just gone. A run notes its use and
then waits for a removal to end; a removal has a lease and then looks for uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ...atmosphere.record_format.lexicon import OLD_ENTRY
from ...atmosphere.record_format.parse import Fields, PublishedShard, read_storage
from ...atmosphere.record_format.record_keys import ENTRY
from ...common.concurrency import concurrently
from ...common.urls import expand
from ...errors import AtdataError, RecordNotFoundError, RefusedError, ServiceError, ShardMissingError, StorageError
from ...protocols import ShardFacts
from ...state.facts import COPY_USE, CopyUse
from ...state.lease import POLL
from ...state.ledger import Key, Ledger
from ...stores.data_store import DataStore
from .layout import BLOB, CID, copy_tails, entries_at, entry_key

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex
    from ...state.lease import Lease, Leases

HONOURED = timedelta(days=1)
"""A run that was killed leaves its note. Longer than this no run waits before it writes."""


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """A copy in a data store, as a record names it; ``size`` in bytes, None where nobody looked."""

    url: str
    sha256: str
    endpoint: str | None = None
    size: int | None = None
    md5: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The copy as a JSON object; what is not known is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StoredCopy:
        """The inverse of ``to_json``."""
        return cls(**{key: data[key] for key in cls.__slots__ if key in data})


def shards_of(record: Record) -> list[PublishedShard]:
    """The shards that an entry record names; raises ``RefusedError`` where it cannot be read."""
    # A blob is no copy of ours, so its address does not matter here.
    return read_storage(Fields(record.value, record.uri).object("storage"), lambda cid: f"{BLOB}{cid}")


def blobs_in(records: Iterable[Record]) -> set[str]:
    """The CIDs of the shards of records that are blobs; those of unreadable records are left out."""
    found: set[str] = set()
    for record in records:
        with suppress(RefusedError):
            urls = [shard.url for shard in shards_of(record)]
            found |= {url.removeprefix(BLOB) for url in urls if url.startswith(BLOB)}
    return found


def copies_in(records: Iterable[Record]) -> list[StoredCopy]:
    """The shards of records that may be copies, each once; those of unreadable records are left out."""
    found: dict[str, StoredCopy] = {}
    for record in records:
        try:
            named = shards_of(record)
        except RefusedError:
            continue
        for shard in named:
            if shard.sha256 and not shard.pattern and copy_tails(shard.url):
                found[shard.url] = StoredCopy(shard.url, shard.sha256, shard.endpoint)
    return list(found.values())


def existing(copies: Iterable[StoredCopy], store: DataStore, known: Mapping[str, ShardFacts]) -> list[StoredCopy]:
    """The copies that are there, with their sizes, and with what ``known`` adds by URL."""

    def stat(copy: StoredCopy) -> StoredCopy | None:
        facts = known.get(copy.url)
        md5 = facts.md5 if facts is not None and facts.sha256 == copy.sha256 else None
        try:
            return replace(copy, size=store.stat_shard(copy.url).size, md5=md5)
        except ShardMissingError:
            return None

    return [copy for copy in concurrently(stat, copies) if copy is not None]


class Uses:
    """Who names which copy, by the part of its path that begins where copies lie.

    That part holds dataset and entry, and is the same under whatever address a bucket is read, so a copy that a
    record names by an older address is found, too.
    """

    def __init__(self) -> None:
        self._users: dict[str, str] = {}

    def add(self, url: str, user: str) -> None:
        """Note that ``user`` names ``url``."""
        for tail in copy_tails(url):
            self._users.setdefault(tail, user)

    def user_of(self, copy: StoredCopy) -> str | None:
        """One that names the copy, in words for people; None where nothing does."""
        return next((self._users[tail] for tail in copy_tails(copy.url) if tail in self._users), None)


def uses(
    client: AtmosphereClient, ledger: Ledger, index: AbstractIndex | None, *, without: Container[str] = ()
) -> Uses:
    """Look at every entry record of the account, and of other accounts that published from here.

    Args:
        client: The account.
        ledger: Knows the other accounts.
        index: Its datasets may read copies, too.
        without: At-uris of records that do not count.

    Raises:
        StorageError: A record cannot be read, so what it names is unknown.
    """
    found = Uses()
    for did in dict.fromkeys([client.did, *ledger.owners("account")]):
        for record in _entries(client, did):
            if record.uri in without:
                continue
            try:
                for shard in shards_of(record):
                    found.add(shard.url, record.uri)
            except RefusedError as error:
                raise StorageError(
                    f"{record.uri} cannot be read, so nobody knows which shards it names ({error.message}). "
                    "Retract without the shards, or remove that record first.",
                    urls=[],
                ) from error
    for entry in index.list_datasets() if index is not None else ():
        for url in expand(entry.data_urls):
            found.add(url, f"dataset {entry.name!r} of the local index")
    return found


def _entries(client: AtmosphereClient, did: str) -> Iterator[Record]:
    for collection in (ENTRY, OLD_ENTRY):
        try:
            yield from client.iter_records(collection, repo=did)
        except RecordNotFoundError:
            return  # an account that is gone names nothing
        except AtdataError as error:
            if did == client.did:
                raise
            raise StorageError(
                f"The records of {did}, which also published from here, cannot be read ({error.message}). "
                "Retract without the shards, or try again.",
                urls=[],
            ) from error


@contextmanager
def in_use(ledger: Ledger, leases: Leases, cid: str, run: str | None) -> Generator[None]:
    """Look at the copies of an entry, or make them, so that they stay until ``end_use``, or until an error.

    Where a retraction removes them just now, that is waited for.

    Args:
        ledger: Of the index.
        leases: Of the index.
        cid: Of the entry.
        run: Names the run; what it notes more than once is one note.
    """
    ledger.put(_use(cid, run), CopyUse())
    try:
        _taken(leases, _removal_of(entry_key(cid))).release()
        yield
    except BaseException:
        with suppress(ServiceError):
            end_use(ledger, cid, run)
        raise


def end_use(ledger: Ledger, cid: str, run: str | None) -> None:
    """The copies are named, or will not be."""
    ledger.remove(_use(cid, run))


@contextmanager
def removing(ledger: Ledger, leases: Leases, urls: Iterable[str]) -> Generator[Callable[[str], str | None]]:
    """Have the right to remove copies.

    Args:
        ledger: Of the index.
        leases: Of the index.
        urls: Of the copies.

    Yields:
        What names, by the URL of a copy, a run that is about to name it, in words for people; None: there is none.
    """
    with ExitStack() as ends:
        held: list[Lease] = []
        for removal in sorted({_removal_of(entry) for url in urls for entry in entries_at(url)}):
            held.append(_taken(leases, removal))
            ends.callback(held[-1].release)

        def run_using(url: str) -> str | None:
            for lease in held:
                lease.renew()
            uses = [use for entry in entries_at(url) for _, use in ledger.get_all("entry", entry).of(COPY_USE)]
            noted = [use.at for use in uses if use.at]
            recent = [at for at in noted if datetime.fromisoformat(at) > datetime.now(UTC) - HONOURED]
            return f"a promotion under way since {max(recent)}" if recent else None

        yield run_using


def _use(cid: str, run: str | None) -> Key[CopyUse]:
    return COPY_USE(entry_key(cid), run or "a run")


def _removal_of(entry: str) -> str:
    # Any part of a path may be an id that is no CID, and there may be many: one lease serves them all.
    return f"removal of {entry if CID.fullmatch(entry) else 'others'}"


def _taken(leases: Leases, removal: str) -> Lease:
    """The lease on a removal, once nobody else has it."""
    while (lease := leases.take(removal)) is None:
        time.sleep(POLL)
    return lease
