"""Many records of one repository, written with few requests.

A PDS makes up to 200 writes in one commit, or none of them. What such a request creates must not exist, and it
knows no condition on a single record: so the records under all keys are read first, and each request holds only
on the commit after which they were read, or which the request before has made. Where the account's writes cost
points, that is dearer (3 for a record that is created) than each record alone (2): there several are under way at a
time, each with a condition of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from atdata_core.atmosphere.client import apply_request
from atdata_core.atmosphere.listings import Record, is_last_page
from atdata_core.atmosphere.record_format.lexicon import MAX_REQUEST
from atdata_core.atmosphere.record_format.parse import changed, differing_fields
from atdata_core.atmosphere.xrpc.session import AS_SENT
from atdata_core.atmosphere.xrpc.write_budget import WaitEndedError, waiting_until
from atdata_core.common.cid import record_cid
from atdata_core.common.concurrency import concurrently
from atdata_core.errors import AtdataError, RecordChangedError, ServiceRefusedError, ServiceUnavailableError

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient

READS_A_PAGE = 3
"""A page of 100 records takes a PDS about as long as three records that are asked for one by one."""

RecordKey = tuple[str, str]
"""Collection and record key."""


MAX_WRITES = 200
"""In one commit: https://docs.bsky.app/docs/api/com-atproto-repo-apply-writes, measured on the official PDS."""

OVERTAKEN = 3
"""How often in a row another commit may come between, before records are written one by one."""

SIDE_BY_SIDE = 8
"""Writes under way at a time, each with a request of its own; while they wait for points they hold threads."""

BROKEN = 3
"""So many records in a row at which a PDS fails, each alone: then it is not the records."""


class Write(NamedTuple):
    """A record to be written in the place of the one whose CID is ``swap``; None: where none is."""

    collection: str
    rkey: str
    record: dict[str, Any]
    swap: str | None

    @property
    def key(self) -> RecordKey:
        """Where it is written."""
        return self.collection, self.rkey


Answer = tuple[Record, bool] | AtdataError
"""The record as it now stands and whether a commit was made for it; or why it was not written."""


@dataclass(slots=True)
class _Pending:
    """A write that is not answered yet. ``sent``: the PDS may have made it."""

    write: Write
    sent: bool = False
    answer: Answer | None = None

    @property
    def operation(self) -> dict[str, Any]:
        action = "create" if self.write.swap is None else "update"
        return {
            "$type": f"com.atproto.repo.applyWrites#{action}",
            "collection": self.write.collection,
            "rkey": self.write.rkey,
            "value": self.write.record,
        }


class _Overtaken(Exception):
    """Another commit came between."""


class BatchWriter:
    """Reads and writes records of the own repository, with what it has read in mind.

    What it knows holds for one commit. Another writer's commit shows when the next request is refused, or when
    ``refresh`` is called; then everything is read again. Not for several threads.

    Args:
        client: A client that is logged in.
        expected: Keys whose records a listing keeps; of other records it keeps the CID.
    """

    def __init__(self, client: AtmosphereClient, expected: Iterable[RecordKey] = ()) -> None:
        self._client = client
        self._expected = frozenset(expected)
        self._commit: str | None = None
        self._cids: dict[RecordKey, str | None] = {}
        self._records: dict[RecordKey, Record] = {}
        self._whole: set[str] = set()
        self._long: dict[str, int] = {}
        """Collections of more than so many pages."""
        self._did = client.did
        self._failed = 0
        """Records in a row at which the PDS failed, each alone."""
        self._stopped = Event()

    def stop(self) -> None:
        """From now on wait for no write points; ``write``, in whatever thread, raises where it would."""
        self._stopped.set()

    def expect(self, keys: Iterable[RecordKey]) -> None:
        """From now on keep the records under these keys; what is known of where nothing is stays known."""
        self._expected = frozenset(keys)
        self._records.clear()
        if any(self._cids.get(key) for key in self._expected):
            self._forget()

    def _at(self) -> str:
        """CID of the commit for which all of this holds; asked for where it is not known."""
        if self._commit is None:
            self._commit = self._client.latest_commit(self._did)
        return self._commit

    def refresh(self) -> None:
        """Forget everything, unless the repository is still at the same commit."""
        latest = self._client.latest_commit(self._did)
        if latest != self._commit:
            self._forget()
            self._commit = latest

    def _forget(self) -> None:
        """Somebody else has written, or may have."""
        self._commit = None
        self._cids.clear()
        self._records.clear()
        self._whole.clear()

    def read(self, keys: Iterable[RecordKey]) -> None:
        """Read what is not known of some keys, by listing where that takes a PDS less time."""
        missing = dict.fromkeys(key for key in keys if not self._holds(key))
        if not missing:
            return
        # The commit first: what is written while the records are read comes after it, and shows.
        self._at()
        kept = self._expected | missing.keys()
        counts = Counter(collection for collection, _ in missing)
        for _ in concurrently(lambda each: self._list(each, counts[each] // READS_A_PAGE, kept), counts):
            pass
        for _ in concurrently(self._ask, [key for key in missing if not self._holds(key)]):
            pass

    def _holds(self, key: RecordKey) -> bool:
        """Whether it is known what lies under a key."""
        return key in self._cids or key[0] in self._whole

    def find(self, key: RecordKey) -> Record | None:
        """The record under a key, or None; asked for where its content is not at hand."""
        self.read([key])
        if self._cids.get(key) is not None and key not in self._records:
            self._ask(key)
        return self._records.get(key)

    def _ask(self, key: RecordKey) -> None:
        self._keep(key, self._client.find_record(*key))

    def _keep(self, key: RecordKey, record: Record | None) -> None:
        self._cids[key] = record.cid if record else None
        if record is not None:
            self._records[key] = record

    def _list(self, collection: str, pages: int, kept: Set[RecordKey]) -> None:
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
            if is_last_page(records, cursor):
                self._whole.add(collection)
                return
        self._long[collection] = pages

    # -- writing -----------------------------------------------------------------------------------

    def write(self, writes: Sequence[Write]) -> list[Answer]:
        """Write records, each as ``create_once`` or ``replace`` of the client would; their answers, in order.

        A write that the PDS refuses costs no other one. Where the PDS fails for all of them, those that were
        made before are made; writing them again is harmless and tells so.

        Returns:
            For each write the record and whether a commit was made for it. Else ``RecordChangedError``: something
            else is there than it says; or ``ServiceRefusedError``, ``ServiceUnavailableError``: the PDS does not
            take this record.

        Raises:
            ServiceError: The PDS cannot be reached, or takes no more requests.
            LoginError: The session has ended.
            WaitEndedError: Points are missing, and ``stop`` was called.
        """
        with waiting_until(self._stopped.is_set):
            return self._write(writes)

    def _write(self, writes: Sequence[Write]) -> list[Answer]:
        pending = [_Pending(write) for write in writes]
        overtaken, left = 0, len(pending)
        while todo := [each for each in pending if each.answer is None]:
            if len(todo) < left:
                overtaken, left = 0, len(todo)
            try:
                self._round(todo, alone=overtaken == OVERTAKEN or self._client.counts_writes)
            except _Overtaken:
                overtaken += 1
                self._forget()
        answers = [each.answer for each in pending]
        return [answer for answer in answers if answer is not None]

    def _round(self, todo: Sequence[_Pending], *, alone: bool) -> None:
        """Bring every write to its answer; of several to one key the first, the others see what it made."""
        self.read(each.write.key for each in todo)
        first: dict[RecordKey, _Pending] = {}
        for each in todo:
            if each.write.key not in first:
                each.answer = self._judged(each)
                first[each.write.key] = each
        to_write = [each for each in first.values() if each.answer is None]
        if alone:
            self._one_by_one(to_write)
            return
        for batch in self._batches(to_write):
            self._apply(batch)

    def _judged(self, pending: _Pending) -> Answer | None:
        """The answer to a write that is not to be made; None: it is."""
        write = pending.write
        standing = self._cids.get(write.key)
        if standing == write.swap:
            return None
        if standing is not None and standing == record_cid(write.record):
            # A commit whose answer was lost, or a rival of the same mind.
            return self._written(write, standing), pending.sent or write.swap is not None
        existing = self.find(write.key)
        fields = differing_fields(existing.value if existing else {}, write.record)
        if write.swap is None and existing is not None and not fields:
            return existing, False
        return changed(self._did, write.collection, write.rkey, fields)

    def _batches(self, to_write: Sequence[_Pending]) -> Iterator[list[_Pending]]:
        """As many writes as a request takes."""
        envelope = len(AS_SENT.encode(apply_request(self._did, [], swap=self._at())).encode())
        batch: list[_Pending] = []
        size = envelope
        for each in to_write:
            more = len(AS_SENT.encode(each.operation).encode()) + 1
            if batch and (len(batch) == MAX_WRITES or size + more > MAX_REQUEST):
                yield batch
                batch, size = [], envelope
            batch.append(each)
            size += more
        if batch:
            yield batch

    def _apply(self, batch: Sequence[_Pending]) -> None:
        """One request; where it is refused for one of its writes, halves of it, until that one is found."""
        if not all(self._holds(each.write.key) for each in batch):
            # Read again since these were judged, because of those before them.
            raise _Overtaken
        try:
            self._send(batch)
        except ServiceRefusedError as error:
            if error.error == "InvalidSwap":
                raise _Overtaken from None
            if error.status not in (400, 413):
                raise
            if len(batch) > 1:
                self._halve(batch)
            elif error.status == 413:
                # Alone, a record has room for its key and not for the commit.
                self._one_by_one(batch)
            else:
                batch[0].answer = error
        except ServiceUnavailableError as error:
            self._settle(batch, error)

    def _send(self, batch: Sequence[_Pending]) -> None:
        for each in batch:
            each.sent = True
        cids, commit = self._client.apply([each.operation for each in batch], swap=self._at())
        self._failed = 0
        for each, cid in zip(batch, cids, strict=True):
            self._cids[each.write.key] = cid
            # Whoever wrote it has its content; a large bulk would hold all of them.
            self._records.pop(each.write.key, None)
            each.answer = self._written(each.write, cid), True
        self._commit = commit

    def _halve(self, batch: Sequence[_Pending]) -> None:
        middle = (len(batch) + 1) // 2
        for half in (batch[:middle], batch[middle:]):
            if half:
                self._apply(half)

    def _settle(self, batch: Sequence[_Pending], error: ServiceUnavailableError) -> None:
        """After the last attempt got no answer, or a failure: was it done all the same?"""
        self._forget()
        self.read(each.write.key for each in batch)
        for each in batch:
            each.answer = self._judged(each)
        left = [each for each in batch if each.answer is None]
        if not left:
            return
        if error.status != 500:
            raise error
        if len(batch) > 1:
            self._halve(left)
            return
        # It fails at this record. At any record?
        self._failed += 1
        if self._failed == BROKEN:
            raise error
        batch[0].answer = error

    def _one_by_one(self, todo: Sequence[_Pending]) -> None:
        """Each write with a request and a condition of its own: nobody else's commit is in its way."""
        over = Event()
        in_a_row: list[_Pending] = []
        too_many = BROKEN

        def alone(each: _Pending) -> None:
            nonlocal too_many
            try:
                with waiting_until(lambda: over.is_set() or self._stopped.is_set()):
                    each.answer = self._alone(each.write)
                in_a_row.clear()
                # Those that fail take longest: so many may come together though others were between them.
                too_many = BROKEN + SIDE_BY_SIDE
            except WaitEndedError:
                # For an error of another one, which is the one to tell, or because all is stopped.
                return
            except ServiceUnavailableError as error:
                # After the last attempt got no answer, or a failure: was it done all the same?
                found = self._client.find_record(*each.write.key)
                if found is not None and found.cid == record_cid(each.write.record):
                    each.answer = found, True
                    in_a_row.clear()
                    return
                in_a_row.append(each)
                if error.status != 500 or len(in_a_row) >= too_many:
                    raise
                each.answer = error

        try:
            for _ in concurrently(alone, todo, failed=lambda _: over.set(), most=SIDE_BY_SIDE):
                pass
        finally:
            self._forget()
        if any(each.answer is None for each in todo):
            raise WaitEndedError

    def _alone(self, write: Write) -> Answer:
        try:
            if write.swap is not None:
                return self._client.replace(*write.key, write.record, swap=write.swap), True
            record, made = self._client.create_once(*write.key, write.record)
        except RecordChangedError as error:
            return error
        except ServiceRefusedError as error:
            if error.status not in (400, 413):
                raise
            return error
        # Nothing was there: what is there now, to the millisecond, is ours, and its answer was lost.
        return record, made or record.cid == record_cid(write.record)

    def _written(self, write: Write, cid: str) -> Record:
        return Record(f"at://{self._did}/{write.collection}/{write.rkey}", cid, write.record)
