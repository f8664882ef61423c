"""What went wrong with datasets, and when they are tried again: after pauses that grow, and in the end no more.

What passes by itself (a service that is down) or is mended for all at once (a login, keys) is tried for ever.
What is wrong with the dataset is tried a few times, and what is wrong with a sample of it once; then only a person
tries it, until something about it changes.
So it is with a dataset that is blocked: its records were retracted, or deleted by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ...errors import (
    AtdataError,
    BlockedError,
    CredentialsError,
    LoginError,
    NetworkSettingsError,
    NotLoggedInError,
    SampleError,
)
from ...samples.metadata import pack
from ...state.facts import BLOCK, FAILURE, OUTAGE, RESET, RETRACTED, AttemptsReset, Block, Failure, Outage
from ...state.ledger import Fact, Ledger, timestamp
from ..inventory import cid_of

if TYPE_CHECKING:
    from ...atmosphere.record_format.record_keys import Publication
    from ...protocols import IndexEntry
    from ..options import PromotionOptions

PAUSES = (5 * 60, 30 * 60, 2 * 3600, 12 * 3600)
"""Seconds after the first, second, ... failure that is the dataset's own; one more, and retries are exhausted."""
PASSING_PAUSES = (5 * 60, 15 * 60, 30 * 60)
"""Seconds after the first, second, ... failure that passes; the last one again and again."""


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """What a failure means for the next attempt: ``now``, ``later`` (from ``at`` on) or ``never`` by itself."""

    when: Literal["now", "later", "never"]
    at: str | None = None


def clock() -> datetime:
    """The time by which pauses are counted; facts of the ledger carry it."""
    return datetime.now(UTC)


def passes(error: Exception) -> bool:
    """Whether an error is none of the dataset's: it passes, or is mended for all datasets at once.

    Where a login or a right is missing somebody gives it back, and nobody should have to promote by hand then.
    """
    ours = isinstance(error, AtdataError) and isinstance(
        error, PermissionError | CredentialsError | NetworkSettingsError
    )
    return ours or _is_transient(error)


def next_attempt(failure: Failure) -> NextAttempt:
    """When the next attempt is due after a failure as the ledger has it."""
    if failure.passes:
        return _after(failure, PASSING_PAUSES, failure.attempts)
    return NextAttempt("never") if failure.lasting > len(PAUSES) else _after(failure, PAUSES, failure.lasting)


def _after(fact: Fact, pauses: tuple[int, ...], count: int) -> NextAttempt:
    pause = pauses[min(max(count, 1), len(pauses)) - 1]
    try:
        at = datetime.fromisoformat(fact.at or "") + timedelta(seconds=pause)
    except (TypeError, ValueError):
        return NextAttempt("now")
    return NextAttempt("now") if at <= clock() else NextAttempt("later", timestamp(at))


def failure_concerns(failure: Failure | None, entry: IndexEntry, since: Fact | None) -> bool:
    """Whether a failure is one of what is to be promoted now: this entry and metadata, ``since`` nothing else."""
    if failure is None or failure.of not in (None, subject_of(entry)):
        return False
    return since is None or (failure.at or "") >= (since.at or "")


def subject_of(entry: IndexEntry) -> str:
    """What of an entry an attempt is about: its data and its metadata."""
    return f"{cid_of(entry)} {metadata_digest(entry)[:16]}"


def metadata_digest(entry: IndexEntry) -> str:
    """SHA-256 of an entry's metadata as it is packed; of nothing where there is none."""
    return hashlib.sha256(pack(entry.metadata) if entry.metadata else b"").hexdigest()


@dataclass(slots=True)
class Attempt:
    """A promotion under way; ``stage`` is where it stands."""

    stage: str


@contextmanager
def attempt(
    ledger: Ledger, dataset: str, stage: str, *, entry: IndexEntry | None = None, run: str | None = None
) -> Generator[Attempt]:
    """Note an error in the ledger (stage, reason, how many times in a row) on its way out.

    A dataset that is blocked was not attempted, and one that a person stopped did not fail.

    Args:
        ledger: The ledger.
        dataset: Its name.
        stage: The first stage.
        entry: What is promoted: failures of another entry, or of other metadata, do not count any more.
        run: Names the run: what it tries several times is one attempt.
    """
    current_attempt = Attempt(stage)
    try:
        yield current_attempt
    except Exception as error:
        # Where the ledger itself is what fails, what comes through is the first error.
        with suppress(Exception):
            failed(ledger, dataset, current_attempt.stage, error, entry=entry, run=run)
        raise


def failed(
    ledger: Ledger,
    dataset: str,
    stage: str,
    error: Exception,
    *,
    entry: IndexEntry | None = None,
    run: str | None = None,
) -> None:
    """Note an error, as ``attempt`` does; one that says that the dataset is blocked is none."""
    if isinstance(error, BlockedError):
        return
    passing = passes(error)
    # What a sample lacks it lacks at the next attempt, too.
    weight = 0 if passing else len(PAUSES) + 1 if isinstance(error, SampleError) else 1
    failure = Failure(
        stage,
        _reason(error),
        _is_transient(error),
        passing,
        None if entry is None else subject_of(entry),
        run,
        at=timestamp(clock()),
    )

    def change(before: Failure | None) -> Failure:
        if before is None or before.of != failure.of:
            return replace(failure, attempts=1, lasting=weight)
        if run is not None and before.run == run:
            # The same run once more: the worst that it met counts.
            lasting = before.lasting + (weight if before.passes else 0)
            return replace(failure, attempts=before.attempts, lasting=lasting)
        return replace(failure, attempts=before.attempts + 1, lasting=before.lasting + weight)

    ledger.update(FAILURE(dataset), change)


def reset_attempts(ledger: Ledger, dataset: str) -> None:
    """Forget what went wrong with a dataset, as something about it has changed that its entry does not show."""
    ledger.remove(FAILURE(dataset))
    ledger.put(RESET(dataset), AttemptsReset(at=timestamp(clock())))


def outage_of(outage: Outage | None) -> NextAttempt:
    """When the next attempt is due after what failed for everybody."""
    return NextAttempt("now") if outage is None else _after(outage, PASSING_PAUSES, outage.attempts)


def note_outage(ledger: Ledger, did: str, error: Exception) -> None:
    """Note that nothing of an account can be published, so that not each of its datasets finds out by itself.

    Those that find out at the same time count once.
    """
    reason = _reason(error)

    def change(before: Outage | None) -> Outage:
        if before is not None and outage_of(before).when == "later":
            return replace(before, reason=reason)
        return Outage(reason, 1 if before is None else before.attempts + 1, at=timestamp(clock()))

    ledger.update(OUTAGE(did), change)


@contextmanager
def noting_outage(ledger: Ledger, did: Callable[[], str]) -> Generator[None]:
    """Note it in the ledger where the account cannot be used, on the error's way out."""
    try:
        yield
    except (LoginError, NotLoggedInError) as error:
        # What comes through is the first error.
        with suppress(AtdataError):
            note_outage(ledger, did(), error)
        raise


def block_of(ledger: Ledger, dataset: str, did: str) -> Block | None:
    """Why a dataset is blocked for an account, or None."""
    block = ledger.get(BLOCK(dataset))
    return block if block is not None and block.did == did else None


def refuse_blocked(ledger: Ledger, dataset: str, did: str, options: PromotionOptions) -> None:
    """Raises ``BlockedError`` where a dataset is blocked, and no person asked."""
    block = None if options.restore else block_of(ledger, dataset, did)
    if block is not None:
        raise BlockedError(
            f"Dataset {dataset!r} is blocked: {block.reason}. Promote it yourself to publish it again.",
            name=dataset,
            reason=block.reason,
        )


def end_block(ledger: Ledger, dataset: str, did: str, options: PromotionOptions) -> None:
    """A promotion that a person asked for begins, so the dataset is blocked no more.

    Sensor and schedules publish a dataset under its own name, so a promotion under a name that is neither that
    one nor the one that is blocked leaves the block as it is.
    """
    block = block_of(ledger, dataset, did) if options.restore else None
    if block is not None and (options.name or dataset) in (dataset, block.name):
        ledger.remove(BLOCK(dataset))


def block_deleted(ledger: Ledger, dataset: str, publication: Publication, uri: str) -> None:
    """Note that a record was deleted elsewhere, so that sensor and schedules leave it."""
    block = Block("gone", f"{uri} was deleted elsewhere", publication.did, publication.name)
    ledger.put(BLOCK(dataset), block)


def retracted(ledger: Ledger, did: str, name: str) -> str | None:
    """At-uri of the entry that the last retraction of a name takes or took; None once it is published again."""
    fact = ledger.get(RETRACTED(did, name))
    return fact.entry if fact is not None else None


def _is_transient(error: Exception) -> bool:
    return error.transient if isinstance(error, AtdataError) else isinstance(error, ConnectionError | TimeoutError)


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, AtdataError) else f"{type(error).__name__}: {error}"
