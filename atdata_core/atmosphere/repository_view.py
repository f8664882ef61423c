"""What lies under the keys of the own repository, as of one commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from atdata_core.atmosphere.client import PAGE
from atdata_core.errors import ServiceRefusedError

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient, Record

READS_A_PAGE = 3
"""A page of 100 records takes a PDS about as long as three records that are asked for one by one."""

WORKERS = 8

Key = tuple[str, str]


class RepositoryView:
    """Which records are there, and which keys are free.

    Args:
        client: A client that is logged in.
        expected: Keys whose records a listing keeps; of other records it keeps the CID.
    """

    def __init__(self, client: AtmosphereClient, expected: Iterable[Key] = ()) -> None:
        self._client = client
        self._expected = frozenset(expected)
        self._commit: str | None = None
        self._cids: dict[Key, str | None] = {}
        self._records: dict[Key, Record] = {}
        self._whole: set[str] = set()
        self._long: dict[str, int] = {}
        """Collections of more than so many pages."""

    @property
    def commit(self) -> str:
        """CID of the commit for which all of this holds; asked for where it is not known."""
        if self._commit is None:
            self._commit = self._client.latest_commit(self._client.did)
        return self._commit

    @commit.setter
    def commit(self, cid: str) -> None:
        self._commit = cid

    def refresh(self) -> None:
        """Forget everything, unless the repository is still at the same commit."""
        latest = self._client.latest_commit(self._client.did)
        if latest != self._commit:
            self.forget()
            self._commit = latest

    def forget(self) -> None:
        """Somebody else has written, or may have."""
        self._commit = None
        self._cids.clear()
        self._records.clear()
        self._whole.clear()

    def read(self, keys: Iterable[Key]) -> None:
        """Read what is not known of some keys, by listing where that takes a PDS less time."""
        missing = dict.fromkeys(key for key in keys if not self.holds(key))
        if not missing:
            return
        # The commit first: what is written while the records are read comes after it, and shows.
        assert self.commit
        kept = self._expected | missing.keys()
        for collection, count in Counter(collection for collection, _ in missing).items():
            self._list(collection, count // READS_A_PAGE, kept)
        singly = [key for key in missing if not self.holds(key)]
        if singly:
            with ThreadPoolExecutor(min(WORKERS, len(singly)), "records") as pool:
                list(pool.map(self._ask, singly))

    def holds(self, key: Key) -> bool:
        """Whether it is known what lies under a key."""
        return key in self._cids or key[0] in self._whole

    def cid(self, key: Key) -> str | None:
        """CID of the record under a key that was read; None where there is none."""
        return self._cids.get(key)

    def find(self, key: Key) -> Record | None:
        """The record under a key, or None; asked for where its content is not at hand."""
        self.read([key])
        if self._cids.get(key) is not None and key not in self._records:
            self._ask(key)
        return self._records.get(key)

    def note(self, key: Key, cid: str) -> None:
        """A record was written here; the next commit is told to ``commit``."""
        self._cids[key] = cid
        # Whoever wrote it has its content; a large bulk would hold all of them.
        self._records.pop(key, None)

    def _ask(self, key: Key) -> None:
        self._keep(key, self._client.find_record(*key))

    def _keep(self, key: Key, record: Record | None) -> None:
        self._cids[key] = record.cid if record else None
        if record is not None:
            self._records[key] = record

    def _list(self, collection: str, pages: int, kept: Set[Key]) -> None:
        """List a collection to its end, if it has no more than so many pages."""
        if pages <= self._long.get(collection, 0):
            return
        cursor = None
        for _ in range(pages):
            try:
                records, cursor = self._client.list_records(collection, cursor=cursor)
            except ServiceRefusedError:
                break  # a page of the largest records is more than an answer may hold
            for record in records:
                key = (collection, record.uri.rpartition("/")[2])
                if key in kept:
                    self._keep(key, record)
                else:
                    self._cids[key] = record.cid
            # A PDS gives a cursor with its last page, too.
            if cursor is None or len(records) < PAGE:
                self._whole.add(collection)
                return
        self._long[collection] = pages
