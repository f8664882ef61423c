"""Stage 4 for many datasets at once: the steps of all of them, with a few requests.

Each dataset goes through the same steps as alone (``publish.py``). What they ask is collected and answered
together: records are read as ``BatchWriter`` reads them and written up to 200 in a commit, the index and the
ledger are asked for many names in a round trip. A label is only drafted when its entry stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ...atmosphere.record_batches import MAX_WRITES, BatchWriter, Write
from ...atmosphere.record_format.parse import changed
from ...atmosphere.record_format.record_keys import ENTRY, LABEL
from ...errors import AtdataError, DatasetNameError, RecordChangedError
from ...state.cached_ledger import CachedLedger
from ..inventory import cid_of, publication_of
from ..options import PromotionOptions
from ..records.upsert import Act, Current, Effects, Find, current_cids
from ..scheduling.retry_policy import failed
from ..stages.publish import PublishedRecord, publishing

if TYPE_CHECKING:
    from ...atmosphere.client import AtmosphereClient
    from ...atmosphere.record_batches import Answer, RecordKey
    from ...protocols import AbstractIndex, IndexEntry
    from ...state.facts import CopiedShards
    from ...state.ledger import Ledger
    from ..stages.resolved_values import Resolved
    from ..stages.visibility import Visibility

T = TypeVar("T")
STAGE = "atmosphere_record"


@dataclass(frozen=True, slots=True)
class Draft:
    """A dataset that is ready for its records: its shards lie where they will be published, its schema is.

    ``run`` names the run that has prepared it, where that is another one for each dataset.
    """

    entry: IndexEntry
    copies: CopiedShards
    schema_uri: str
    resolved: Resolved
    visibility: Visibility
    run: str | None = None


PublishResult = PublishedRecord | Exception


def publish_many(
    drafts: Sequence[Draft],
    index: AbstractIndex,
    client: AtmosphereClient,
    ledger: Ledger,
    *,
    options: PromotionOptions = PromotionOptions(),  # noqa: B008 - frozen
    writer: BatchWriter | None = None,
) -> list[PublishResult]:
    """Write the records of many datasets, or bring them up to date, or leave them; as ``publish_record`` each.

    Args:
        drafts: The datasets.
        index: The index of the entries.
        client: A client that is logged in.
        ledger: The ledger of the index.
        options: What is asked of each of them.
        writer: One that was used before, and knows what it has read; a new one by default.

    Returns:
        For each dataset what was published, or the error for which it was not, in order.

    Raises:
        ServiceError: The PDS, the index or the ledger does not answer. What was written is noted, or is known
            from what was about to be written; the same call again goes on.
        LoginError, NotLoggedInError: The account cannot be used.
    """
    writer = writer or BatchWriter(client, expected_keys((draft.entry for draft in drafts), client.did, options))
    return _BatchExecutor(drafts, index, client, ledger, options, writer).run_effects()


def expected_keys(entries: Iterable[IndexEntry], did: str, options: PromotionOptions) -> list[RecordKey]:
    """Where the entry records and labels of datasets lie."""
    keys: list[RecordKey] = []
    for entry in entries:
        try:
            publication = publication_of(entry, cid_of(entry), did, options.name)
        except DatasetNameError:
            continue
        keys += [(ENTRY, publication.rkey), (LABEL, publication.label_rkey)]
    return keys


@dataclass(slots=True)
class _Job:
    """One dataset on its way."""

    number: int
    entry: IndexEntry
    steps: Effects[PublishedRecord]


class _BatchExecutor:
    def __init__(
        self,
        drafts: Sequence[Draft],
        index: AbstractIndex,
        client: AtmosphereClient,
        ledger: Ledger,
        options: PromotionOptions,
        writer: BatchWriter,
    ) -> None:
        self._ledger = CachedLedger(ledger)
        self._index = index
        self._client = client
        self._options = options
        self._writer = writer
        self._outcomes: list[PublishResult | None] = [None] * len(drafts)
        self._jobs = [_Job(number, draft.entry, self._steps(draft)) for number, draft in enumerate(drafts)]
        self._waiting = deque(self._jobs)
        self._currents: list[tuple[_Job, Current]] = []
        self._finds: list[tuple[_Job, Find]] = []
        self._acts: list[tuple[_Job, Act]] = []
        self._writes: deque[tuple[_Job, Write]] = deque()
        self._sent: tuple[list[tuple[_Job, Write]], Future[list[Answer]]] | None = None

    def run_effects(self) -> list[PublishResult]:
        self._writer.refresh()
        with ThreadPoolExecutor(1, "records") as sender:
            try:
                while self._begin() or self._ask_index() or self._act() or self._read() or self._exchange(sender):
                    pass
            except BaseException:
                # The sender may wait for points, for hours.
                self._writer.stop()
                raise
            finally:
                # What was written is worth a note, whatever came after it; who was stopped lets go of its copies.
                for job in self._jobs:
                    job.steps.close()
                self._flush()
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _steps(self, draft: Draft) -> Effects[PublishedRecord]:
        options = replace(self._options, run=draft.run or self._options.run)
        resolved = replace(draft.resolved, ledger=self._ledger, options=options)
        return publishing(resolved, draft.copies, draft.schema_uri, self._client, draft.visibility)

    def _begin(self) -> bool:
        """Let as many datasets begin as fill the next request."""
        if len(self._writes) >= MAX_WRITES or not self._waiting:
            return False
        jobs = _taken(self._waiting)
        self._prefetch(jobs)
        for job in jobs:
            self._advance(job)
        return True

    def _advance(self, job: _Job, answer: Any = None) -> None:
        """Take a dataset to its next step, or to its end; an answer that is an error is raised in it."""
        try:
            step = job.steps.throw(answer) if isinstance(answer, Exception) else job.steps.send(answer)
        except StopIteration as end:
            self._outcomes[job.number] = end.value
        except Exception as failure:
            failed(self._ledger, job.entry.name, STAGE, failure, entry=job.entry)
            self._outcomes[job.number] = failure
        else:
            match step:
                case Current():
                    self._currents.append((job, step))
                case Find():
                    self._finds.append((job, step))
                case Act():
                    self._acts.append((job, step))
                case Write():
                    self._writes.append((job, step))

    def _ask_index(self) -> bool:
        steps, self._currents = self._currents, []
        answers = current_cids([step.entry for _, step in steps], self._index)
        self._advance_all(steps, answers)
        return bool(steps)

    def _act(self) -> bool:
        steps, self._acts = self._acts, []
        for job, step in steps:
            try:
                answer = step.do(self._index)
            except AtdataError as error:
                answer = error
            self._advance(job, answer)
        return bool(steps)

    def _read(self) -> bool:
        if not self._finds:
            return False
        self._take_in(*self._awaited())
        steps, self._finds = self._finds, []
        self._writer.read(step for _, step in steps)
        self._advance_all(steps, [self._writer.find(step) for _, step in steps])
        return True

    def _exchange(self, sender: ThreadPoolExecutor) -> bool:
        """Send the next records as soon as the answer to the last ones is there, and only then look at it.

        So the PDS works on a request while the answer to the one before is taken in. While it works on one, no
        other is sent that is not full: the answer brings more.
        """
        batch: list[tuple[_Job, Write]] = []
        if self._sent is None or len(self._writes) >= MAX_WRITES:
            # What is about to be written is noted first: who is killed in between leaves records that are known.
            batch = self._without_overtaken(_taken(self._writes), self._flush())
        answered = self._awaited()
        if batch:
            self._sent = batch, sender.submit(self._writer.write, [step for _, step in batch])
        self._take_in(*answered)
        return bool(batch or answered[0] or self._finds or self._currents or self._acts)

    def _awaited(self) -> tuple[list[tuple[_Job, Write]], list[Answer]]:
        """What was sent last, and the answers to it."""
        if self._sent is None:
            return [], []
        (steps, future), self._sent = self._sent, None
        return steps, future.result()

    def _take_in(self, steps: list[tuple[_Job, Write]], answers: list[Answer]) -> None:
        pairs = zip(steps, answers, strict=True)
        # A rival who wrote a record has told the ledger so.
        self._prefetch([job for (job, _), answer in pairs if isinstance(answer, RecordChangedError)])
        self._advance_all(steps, answers)

    def _advance_all(self, steps: Sequence[tuple[_Job, object]], answers: Sequence[object]) -> None:
        for (job, _), answer in zip(steps, answers, strict=True):
            self._advance(job, answer)

    def _without_overtaken(self, steps: list[tuple[_Job, Write]], datasets: set[str]) -> list[tuple[_Job, Write]]:
        """Let those drafts be made again that hold what another one has settled first."""
        if not datasets:
            return steps
        drafted = [*steps, *self._writes]
        count = sum(1 for job, _ in steps if job.entry.name not in datasets)
        kept = [(job, step) for job, step in drafted if job.entry.name not in datasets]
        self._writes = deque(kept[count:])
        for job, step in drafted:
            if job.entry.name in datasets:
                self._advance(job, changed(self._client.did, step.collection, step.rkey, []))
        return kept[:count]

    def _prefetch(self, jobs: Sequence[_Job]) -> None:
        self._ledger.prefetch(job.entry.name for job in jobs)

    def _flush(self) -> set[str]:
        return self._ledger.flush()


def _taken(queue: deque[T]) -> list[T]:
    """The next ones, as many as a request takes."""
    return [queue.popleft() for _ in range(min(MAX_WRITES, len(queue)))]
