"""Promotion of many datasets: their shards side by side, their schemas once, their records together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Unpack
from uuid import uuid4

from ...atmosphere.record_batches import MAX_WRITES, BatchWriter
from ...atmosphere.record_format.record_keys import ENTRY, LABEL
from ...common.byte_progress import ByteProgress, OnlyBytes
from ...common.retry_after import service_of
from ...errors import LoginError, NotLoggedInError, ServiceError, ServiceRefusedError
from ...state.facts import CopiedShards, Inventory
from ...state.index_state import connections_of, server_of, state_of
from ..copies.usage import end_use
from ..inventory import cid_of
from ..options import PromotionOptions, Requirements, Values, takes_options
from ..prepare import Prepared, prepare
from ..records.published_names import target_of, unknown_names
from ..scheduling.retry_policy import attempt, note_outage
from ..stages.publish import PublishedRecord
from ..stages.schema_stage import PublishedSchema, Schemas
from ..stages.visibility import Visibility
from .batch_executor import STAGE, Draft, expected_keys, publish_many

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient, Record
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.ledger import Ledger
    from ..stages.resolved_values import Finder

SLICE = 1000
"""Datasets whose records are looked for at once; what is found of them is held in memory."""
WORKERS = 32
"""Datasets whose shards are looked at or copied at the same time; each of them may hold a connection to Redis.
With the threads that copy shards, they are fewer than the 100 that a pool of redis-py gives by default."""
OTHER_CONNECTIONS = 2
"""To Redis, that the workers leave: the caller's, and one to spare."""
AHEAD = 2 * MAX_WRITES
"""Datasets that may be prepared, or ready, before their records are written."""
PATIENCE = 5.0
"""Seconds that a dataset which is ready waits for others, to be written with them."""


@dataclass(frozen=True, slots=True)
class StageDone:
    """A stage that one dataset of a bulk has been through.

    ``result`` is what the stage gave, None where it failed; ``error`` says why then. ``visibility`` comes with
    the last stage: whether anonymous readers can read the shards.
    """

    dataset: str
    stage: str
    result: Inventory | PublishedSchema | CopiedShards | PublishedRecord | None
    error: Exception | None = None
    visibility: Visibility | None = None


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
    progress: ByteProgress | None = None,
    **keywords: Unpack[Requirements],
) -> list[Outcome]:
    """Publish many datasets to the atmosphere, each once, as ``promote_to_atmosphere`` does.

    Each is published under its own name, with the values that were given before, else those of its metadata. One
    that cannot be published, or whose shards could not be read anonymously any more, costs no other. Records are
    written up to 200 in a request; a dataset waits a few seconds at most until there are as many. On a host that
    counts writes each record has a request of its own, several at a time: it costs 2 points so, 4 a new dataset.

    Args:
        entries: Entries of the local index.
        index: The index that has their schemas.
        client: A client that is logged in.
        data_store: Where shards are copied to; None: they stay where they are published, or in the index.
        restore: Also write again what was deleted on the network or retracted. Without it such datasets are
            refused.
        defaults: License and tags of those of which neither a person nor their metadata say any.
        workers: Datasets whose shards are looked at or copied at the same time; fewer where the pool of the index's
            Redis does not have as many connections.
        report: Told of each stage of each dataset, in the thread of the caller.
        progress: Told of the bytes of shards, by many threads.
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
    tell: Callable[[StageDone], None] = report or (lambda _: None)
    only_bytes = None if progress is None else OnlyBytes(progress)
    left, writer, most = iter(entries), BatchWriter(client), connections_of(index)
    while some := list(islice(left, SLICE)):
        writer.expect(expected_keys(some, client.did, options))
        bulk = _Bulk(some, index, client, ledger, schemas, writer, data_store, options, tell, only_bytes)
        outcomes += bulk.promote(workers if most is None else max(1, min(workers, most - OTHER_CONNECTIONS)))
    return outcomes


@dataclass(slots=True)
class _Bulk:
    """Some datasets on their way: workers prepare them, the caller's thread writes their records."""

    entries: Sequence[IndexEntry]
    index: AbstractIndex
    client: AtmosphereClient
    ledger: Ledger
    schemas: Schemas
    writer: BatchWriter
    data_store: Any
    options: PromotionOptions
    report: Callable[[StageDone], None]
    progress: ByteProgress | None
    find: Finder = field(init=False)
    outcomes: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    warnings: dict[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    messages: SimpleQueue[tuple[int, str, Any]] = field(default_factory=SimpleQueue[tuple[int, str, Any]])
    """From the workers: number of a dataset, stage, and its result. ``Prepared`` or an error is the last one."""
    ready: list[tuple[int, Prepared]] = field(default_factory=list[tuple[int, Prepared]])
    ready_since: float = 0.0
    one_at_a_time: dict[str, Lock] = field(init=False)
    """By entry CID. Names of the same data share its copies: the first one makes them, the others find them."""

    def __post_init__(self) -> None:
        self.one_at_a_time = {cid_of(entry): Lock() for entry in self.entries}

    def promote(self, workers: int) -> list[Outcome]:
        waiting = iter(range(len(self.entries)))
        with ThreadPoolExecutor(workers, "promotion") as pool:
            try:
                self.find = self._known_names()
                in_flight = self._begin(pool, waiting, AHEAD)
                while in_flight or self.ready:
                    if in_flight:
                        in_flight -= self._listen()
                    if self._is_time(in_flight):
                        self._publish()
                    in_flight += self._begin(pool, waiting, AHEAD - in_flight - len(self.ready))
            except BaseException as error:
                pool.shutdown(cancel_futures=True)
                self._release_copies()
                if isinstance(error, Exception) and self._stops_all(error):
                    with suppress(ServiceError):
                        note_outage(self.ledger, self.client.did, error)
                raise
        return [outcome for _, outcome in sorted(self.outcomes.items())]

    def _known_names(self) -> Finder:
        """Finds records; those by which names are known that the ledger knows nothing of are read in a batch."""
        did = self.client.did
        unknown = unknown_names(self.entries, did, self.ledger, self.options)
        labels = [(LABEL, each.label_rkey) for each in unknown]
        if unknown:
            # What was absent while other datasets were promoted may have been published since, by another index.
            self.writer.refresh()
        # The entries for when they are written, if nobody writes before.
        self.writer.read([*labels, *((ENTRY, each.rkey) for each in unknown)])
        found = {key: self.writer.find(key) for key in labels}
        targets = [(ENTRY, rkey) for label in found.values() if (rkey := target_of(label, did)) is not None]
        self.writer.read(targets)
        found |= {key: self.writer.find(key) for key in targets}

        def find(collection: str, rkey: str) -> Record | None:
            key = (collection, rkey)
            return found[key] if key in found else self.client.find_record(collection, rkey)

        return find

    def _begin(self, pool: ThreadPoolExecutor, waiting: Iterator[int], count: int) -> int:
        numbers = list(islice(waiting, max(0, count)))
        for number in numbers:
            pool.submit(self._prepare, number)
        return len(numbers)

    def _prepare(self, number: int) -> None:
        """In a thread of the pool."""
        entry, stage = self.entries[number], "local_dataset"
        try:
            with (
                self.one_at_a_time[cid_of(entry)],
                attempt(self.ledger, entry.name, stage, entry=entry) as current_attempt,
            ):
                try:
                    result = prepare(
                        entry,
                        self.index,
                        self.client,
                        self.ledger,
                        publish_schema=self.schemas.publish_of,
                        current_attempt=current_attempt,
                        data_store=self.data_store,
                        options=replace(self.options, run=self._run_of(number)),
                        done=lambda stage, result: self.messages.put((number, stage, result)),
                        find=self.find,
                        progress=self.progress,
                    )
                finally:
                    stage = current_attempt.stage
        except Exception as error:
            result = error
        self.messages.put((number, stage, result))

    def _listen(self) -> int:
        """Take the workers' next message, or wait until it is time to write; how many datasets have ended."""
        left = PATIENCE - (time.monotonic() - self.ready_since) if self.ready else PATIENCE
        try:
            number, stage, result = self.messages.get(timeout=max(0.0, left))
        except Empty:
            return 0
        if isinstance(result, Exception):
            if self._stops_all(result):
                raise result
            self._finish(number, stage, error=result)
            return 1
        if isinstance(result, Prepared):
            self.ready_since = self.ready_since if self.ready else time.monotonic()
            self.ready.append((number, result))
            return 1
        if isinstance(result, Inventory):
            self.warnings[number] = result.warnings
        self.report(StageDone(self.entries[number].name, stage, result))
        return 0

    def _is_time(self, in_flight: int) -> bool:
        if len(self.ready) >= MAX_WRITES or not in_flight:
            return bool(self.ready)
        return bool(self.ready) and time.monotonic() - self.ready_since >= PATIENCE

    def _publish(self) -> None:
        ready, self.ready = sorted(self.ready, key=lambda each: each[0]), []
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
            drafts, self.index, self.client, self.ledger, options=self.options, writer=self.writer
        )
        for (number, prepared), result in zip(ready, results, strict=True):
            if isinstance(result, Exception):
                self._finish(number, STAGE, error=result)
            else:
                self._finish(number, STAGE, record=result, visibility=prepared.visibility)

    def _finish(
        self,
        number: int,
        stage: str,
        *,
        record: PublishedRecord | None = None,
        error: Exception | None = None,
        visibility: Visibility | None = None,
    ) -> None:
        entry, warnings = self.entries[number], self.warnings.get(number, ())
        if visibility is not None and visibility.warning:
            warnings += (visibility.warning,)
        self.outcomes[number] = Outcome(entry.name, cid_of(entry), record, stage, error, warnings)
        self.report(StageDone(entry.name, stage, record, error, visibility))

    def _run_of(self, number: int) -> str:
        """Each dataset is a run of its own: two of them may have the same copies, which both must stay for."""
        return f"{self.options.run}-{number}"

    def _release_copies(self) -> None:
        """Copies that were prepared, and that no record of this call will name, may be removed again."""
        if self.data_store is None:
            return
        with suppress(ServiceError):
            for number, entry in enumerate(self.entries):
                if number not in self.outcomes:
                    end_use(self.ledger, cid_of(entry), self._run_of(number))

    def _stops_all(self, error: Exception) -> bool:
        """Whether no other dataset would fare better: the account, the PDS or Redis is what failed."""
        if isinstance(error, LoginError | NotLoggedInError):
            return True
        if not isinstance(error, ServiceError):
            return False
        service = error.facts.get("service") or ""
        if service and service == server_of(self.index):
            return True
        pds = self.client.service_of(self.client.did)
        of_one_record = isinstance(error, ServiceRefusedError) and error.facts.get("status") in (400, 413)
        return service_of(service) == service_of(pds) and not of_one_record
