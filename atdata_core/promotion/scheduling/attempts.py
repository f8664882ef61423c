"""What went wrong with a dataset, kept for people and for the next attempt until it is published."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...common.timestamps import timestamp
from ...errors import AtdataError, BlockedError
from ...state.facts import FAILURE, Failure
from . import retry_policy
from .due import subject_of

if TYPE_CHECKING:
    from ...protocols import IndexEntry
    from ...state.ledger import Ledger


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


def succeeded(ledger: Ledger, dataset: str) -> None:
    """Forget what went wrong before."""
    ledger.remove(FAILURE(dataset))


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
    ours = isinstance(error, AtdataError)
    passing = retry_policy.passes(error)
    failure = Failure(
        stage,
        error.message if ours else f"{type(error).__name__}: {error}",
        error.transient if ours else isinstance(error, ConnectionError | TimeoutError),
        passing,
        None if entry is None else subject_of(entry),
        run,
        at=timestamp(retry_policy.clock()),
    )

    def change(before: Failure | None) -> Failure:
        if before is None or before.of != failure.of:
            return replace(failure, attempts=1, lasting=int(not passing))
        if run is not None and before.run == run:
            # The same run once more: the worst that it met counts.
            lasting = before.lasting + int(before.passes and not passing)
            return replace(failure, attempts=before.attempts, lasting=lasting)
        return replace(failure, attempts=before.attempts + 1, lasting=before.lasting + int(not passing))

    ledger.update(FAILURE(dataset), change)
