"""When a dataset that failed is tried again: after pauses that grow, and in the end no more.

What passes by itself (a service that is down) or is mended for all at once (a login, keys) is tried for ever.
What is wrong with the dataset is tried a few times; then only a person tries it, until something about it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ...errors import AtdataError, CredentialsError, LoginError, NotLoggedInError
from ...state.facts import FAILURE, OUTAGE, RESET, AttemptsReset, Failure, Outage
from ...state.ledger import Fact, Ledger, timestamp

if TYPE_CHECKING:
    from ...state.facts import Failure

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
    if isinstance(error, AtdataError):
        return error.transient or isinstance(error, PermissionError | CredentialsError)
    return isinstance(error, ConnectionError | TimeoutError)


def next_attempt(failure: Failure) -> NextAttempt:
    """When the next attempt is due after a failure as the ledger has it."""
    if failure.passes:
        return _after(failure, PASSING_PAUSES, failure.attempts)
    return NextAttempt("never") if failure.lasting > len(PAUSES) else _after(failure, PAUSES, failure.lasting)


def outage_of(outage: Outage | None) -> NextAttempt:
    """When the next attempt is due after what failed for everybody."""
    return NextAttempt("now") if outage is None else _after(outage, PASSING_PAUSES, outage.attempts)


def note_outage(ledger: Ledger, did: str, error: Exception) -> None:
    """Note that nothing of an account can be published, so that not each of its datasets finds out by itself.

    Those that find out at the same time count once.
    """
    reason = error.message if isinstance(error, AtdataError) else f"{type(error).__name__}: {error}"

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


def end_outage(ledger: Ledger, did: str) -> None:
    """Forget what failed for everybody: something was published."""
    ledger.remove(OUTAGE(did))


def reset_attempts(ledger: Ledger, dataset: str) -> None:
    """Forget what went wrong with a dataset, as something about it has changed that its entry does not show."""
    ledger.remove(FAILURE(dataset))
    ledger.put(RESET(dataset), AttemptsReset(at=timestamp(clock())))


def _after(fact: Fact, pauses: tuple[int, ...], count: int) -> NextAttempt:
    pause = pauses[min(max(count, 1), len(pauses)) - 1]
    try:
        at = datetime.fromisoformat(fact.at or "") + timedelta(seconds=pause)
    except (TypeError, ValueError):
        return NextAttempt("now")
    return NextAttempt("now") if at <= clock() else NextAttempt("later", timestamp(at))
