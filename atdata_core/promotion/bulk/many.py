"""Promotion of many datasets: their shards side by side, their schemas once, their records together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Unpack
from uuid import uuid4

from ...atmosphere.record_batches import MAX_WRITES, BatchWriter
from ...atmosphere.record_format.record_keys import ENTRY, LABEL
from ...common.retry_after import service_of
from ...errors import LoginError, NotLoggedInError, ServiceError, ServiceRefusedError
from ...state.facts import CopiedShards, Inventory
from ...state.index_state import state_of
from ..copies.usage import end_use
from ..inventory import cid_of
from ..options import PromotionOptions, Requirements, Values, takes_options
from ..prepare import Prepared, prepare
from ..records.published_names import target_of, unknown_names
from ..scheduling.due import attempt
from ..scheduling.retry_policy import note_outage
from ..stages.publish import PublishedRecord
from ..stages.schema_stage import PublishedSchema, Schemas
from ..stages.visibility import Visibility
from .batch_executor import STAGE, Draft, expected_keys, publish_many

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.ledger import Ledger
    from ..stages.resolved_values import Finder

WORKERS = 8
SLICE = 2000
"""Datasets whose records are looked for at once; what is found of them is held in memory."""
AHEAD = 2 * MAX_WRITES
"""Datasets that may be prepared, or ready, before their records are written."""
PATIENCE = 5.0
"""Seconds that a dataset which is ready waits for others, to be written with them."""


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage that one dataset of a bulk has been through.

    ``result`` is what the stage gave, None where it failed; ``error`` says why then. ``seen`` comes with the last
    stage: whether strangers can read the shards.
    """

    dataset: str
    stage: str
    result: Inventory | PublishedSchema | CopiedShards | PublishedRecord | None
    error: Exception | None = None
    seen: Visibility | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one dataset of a bulk.

    Attributes:
        name: The dataset.
        cid: CID of its entry in the index.
        record: The records that it has now; None where it failed.
        stage: The last stage that was begun.
        error: Why it failed.
        warnings: What else is to be said, for people.
    """

    name: str
    cid: str
    record: PublishedRecord | None
    stage: str
    error: Exception | None = None
    warnings: tuple[str, ...] = ()

    @property
    def uri(self) -> str | None:
        """At-uri of the entry record."""
        return self.record.uri if self.record else None

    @property
    def change(self) -> str | None:
        """``created``, ``updated``, ``unchanged`` or ``superseded``, as of the entry record; None: it failed."""
        return self.record.change if self.record else None


@takes_options(Requirements)
def promote_many(
    entries: Iterable[IndexEntry],
    index: AbstractIndex,
    client: AtmosphereClient,
    *,
    data_store: Any = None,
    restore: bool = False,
    defaults: Values = Values(),  # noqa: B008 - frozen
    workers: int = WORKERS,
    report: Callable[[StageDone], None] | None = None,
    **keywords: Unpack[Requirements],
) -> list[Outcome]:
    """Publish many datasets to the atmosphere, each once, as ``promote_to_atmosphere`` does.

    Each is published under its own name, with the values that were given before, else those of its metadata. One
    that cannot be published, or whose shards strangers could not read any more, costs no other. Records are written
    up to 200 in a request; a dataset waits a few seconds at most until there are as many. (An account on a host
    that counts writes pays 3 points for a record that is created so, 2 for one that is written alone.)

    Args:
        entries: Entries of the local index.
        index: The index that has their schemas.
        client: A client that is logged in.
        data_store: Where shards are copied to; None: they stay where they are published, or in the index.
        restore: Also write again what was deleted on the network or retracted. Without it such datasets are
            refused.
        defaults: License and tags of those of which neither a person nor their metadata say any.
        workers: Datasets whose shards are looked at or copied at the same time.
        report: Told of each stage of each dataset, in the thread of the caller.
        keywords: The options below. What is not required and is not so stands in ``warnings`` of the outcome.

    Returns:
        What became of each dataset, in the order of ``entries``.

    Raises:
        NotLoggedInError, LoginError: The account cannot be used.
        ServiceError: The PDS or the index's Redis does not answer. What was published stays, and calling again
            continues.
    """
    ledger = state_of(index).ledger
    options = PromotionOptions.of(restore=restore, run=uuid4().hex, defaults=defaults, **keywords)
    schemas = Schemas(client, ledger, options)
    outcomes: list[Outcome] = []
    left = iter(entries)
    while some := list(islice(left, SLICE)):
        writer = BatchWriter(client, expected_keys(some, client.did, options))
        bulk = _Bulk(some, index, client, ledger, schemas, writer, data_store, options, report)
        outcomes += bulk.promote(workers)
    return outcomes


def _known_names(
    entries: Sequence[IndexEntry],
    client: AtmosphereClient,
    ledger: Ledger,
    options: PromotionOptions,
    writer: BatchWriter,
) -> Finder:
    """Finds records; those by which names are known that the ledger knows nothing of were read together."""
    labels = [(LABEL, each.label_rkey) for each in unknown_names(entries, client.did, ledger, options)]
    writer.read(labels)
    found = {key: writer.find(key) for key in labels}
    targets = [(ENTRY, rkey) for label in found.values() if (rkey := target_of(label, client.did)) is not None]
    writer.read(targets)
    found |= {key: writer.find(key) for key in targets}

    def find(collection: str, rkey: str) -> Record | None:
        key = (collection, rkey)
        return found[key] if key in found else client.find_record(collection, rkey)

    return find


@dataclass(frozen=True, slots=True)
class _Ready:
    """What a worker says last of a dataset: it is prepared, or it failed at a stage."""

    number: int
    stage: str
    prepared: Prepared | None = None
    error: Exception | None = None


class _Bulk:
    def __init__(
        self,
        entries: Sequence[IndexEntry],
        index: AbstractIndex,
        client: AtmosphereClient,
        ledger: Ledger,
        schemas: Schemas,
        writer: BatchWriter,
        data_store: Any,
        options: PromotionOptions,
        report: Callable[[StageDone], None] | None,
    ) -> None:
        self._entries = entries
        self._index = index
        self._client = client
        self._ledger = ledger
        self._schemas = schemas
        self._writer = writer
        self._data_store = data_store
        self._options = options
        self._report = report
        self._find: Finder = client.find_record
        self._outcomes: list[Outcome | None] = [None] * len(entries)
        self._warnings: list[tuple[str, ...]] = [()] * len(entries)
        self._heard: SimpleQueue[tuple[int, str, Any] | _Ready] = SimpleQueue()
        self._ready: list[tuple[int, Prepared]] = []
        self._since = 0.0
        # Names of the same data share its copies: the first one makes them, the others find them.
        self._same = {cid_of(entry): Lock() for entry in entries}

    def promote(self, workers: int) -> list[Outcome]:
        waiting = iter(range(len(self._entries)))
        with ThreadPoolExecutor(workers, "promotion") as pool:
            try:
                self._find = _known_names(self._entries, self._client, self._ledger, self._options, self._writer)
                in_flight = self._begin(pool, waiting, AHEAD)
                while in_flight or self._ready:
                    if in_flight:
                        in_flight -= self._listen()
                    if self._is_time(in_flight):
                        self._publish()
                    in_flight += self._begin(pool, waiting, AHEAD - in_flight - len(self._ready))
            except BaseException as error:
                pool.shutdown(cancel_futures=True)
                self._let_go()
                if isinstance(error, Exception) and self._stops_all(error):
                    with suppress(ServiceError):
                        note_outage(self._ledger, self._client.did, error)
                raise
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _begin(self, pool: ThreadPoolExecutor, waiting: Iterator[int], count: int) -> int:
        numbers = list(islice(waiting, max(0, count)))
        for number in numbers:
            pool.submit(self._prepare, number)
        return len(numbers)

    def _prepare(self, number: int) -> None:
        """In a thread of the pool."""
        entry, stage = self._entries[number], "local_dataset"
        try:
            with (
                self._same[cid_of(entry)],
                attempt(self._ledger, entry.name, stage, entry=entry) as current_attempt,
            ):
                try:
                    prepared = prepare(
                        entry,
                        self._index,
                        self._client,
                        self._ledger,
                        publish_schema=self._schemas.publish_of,
                        current_attempt=current_attempt,
                        data_store=self._data_store,
                        options=replace(self._options, run=self._run_of(number)),
                        done=lambda stage, result: self._heard.put((number, stage, result)),
                        find=self._find,
                    )
                finally:
                    stage = current_attempt.stage
        except Exception as error:
            self._heard.put(_Ready(number, stage, error=error))
        else:
            self._heard.put(_Ready(number, stage, prepared))

    def _listen(self) -> int:
        """Hear what the workers say, until one has finished a dataset or it is time to write; how many have."""
        left = PATIENCE - (time.monotonic() - self._since) if self._ready else PATIENCE
        try:
            heard = self._heard.get(timeout=max(0.0, left))
        except Empty:
            return 0
        if isinstance(heard, tuple):
            number, stage, result = heard
            if isinstance(result, Inventory):
                self._warnings[number] = result.warnings
            self._tell(StageDone(self._entries[number].name, stage, result))
            return 0
        if heard.error is not None:
            if self._stops_all(heard.error):
                raise heard.error
            self._fail(heard.number, heard.stage, heard.error)
        elif heard.prepared is not None:
            self._since = self._since if self._ready else time.monotonic()
            self._ready.append((heard.number, heard.prepared))
        return 1

    def _is_time(self, in_flight: int) -> bool:
        if len(self._ready) >= MAX_WRITES or not in_flight:
            return bool(self._ready)
        return bool(self._ready) and time.monotonic() - self._since >= PATIENCE

    def _publish(self) -> None:
        ready, self._ready = sorted(self._ready, key=lambda each: each[0]), []
        drafts = [
            Draft(
                each.resolved.entry,
                each.copies,
                each.schema.uri,
                each.resolved,
                each.visibility,
                self._run_of(number),
            )
            for number, each in ready
        ]
        results = publish_many(
            drafts, self._index, self._client, self._ledger, options=self._options, writer=self._writer
        )
        for (number, prepared), result in zip(ready, results, strict=True):
            if isinstance(result, Exception):
                self._fail(number, STAGE, result)
                continue
            warnings = self._warnings[number] + (
                (prepared.visibility.warning,) if prepared.visibility.warning else ()
            )
            entry = self._entries[number]
            self._outcomes[number] = Outcome(entry.name, cid_of(entry), result, STAGE, warnings=warnings)
            self._tell(StageDone(entry.name, STAGE, result, seen=prepared.visibility))

    def _run_of(self, number: int) -> str:
        """Each dataset is a run of its own: two of them may have the same copies, which both must stay for."""
        return f"{self._options.run}-{number}"

    def _let_go(self) -> None:
        """Copies that were prepared, and that no record of this call will name, may be removed again."""
        if self._data_store is None:
            return
        with suppress(ServiceError):
            for number, entry in enumerate(self._entries):
                if self._outcomes[number] is None:
                    end_use(self._ledger, cid_of(entry), self._run_of(number))

    def _fail(self, number: int, stage: str, error: Exception) -> None:
        entry = self._entries[number]
        self._outcomes[number] = Outcome(entry.name, cid_of(entry), None, stage, error, self._warnings[number])
        self._tell(StageDone(entry.name, stage, None, error))

    def _tell(self, done: StageDone) -> None:
        if self._report is not None:
            self._report(done)

    def _stops_all(self, error: Exception) -> bool:
        """Whether no other dataset would fare better: the account, the PDS or Redis is what failed."""
        if isinstance(error, LoginError | NotLoggedInError):
            return True
        if not isinstance(error, ServiceError):
            return False
        service = error.facts.get("service") or ""
        if service and service == state_of(self._index).service:
            return True
        pds = self._client.service_of(self._client.did)
        of_one_record = isinstance(error, ServiceRefusedError) and error.facts.get("status") in (400, 413)
        return service_of(service) == service_of(pds) and not of_one_record
