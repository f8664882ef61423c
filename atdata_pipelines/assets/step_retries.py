"""Which failures are worth another attempt, said in Dagster's words.

What can pass (a timeout, 429, 5xx, a dropped connection) is retried by the policy of the stage, after the
time that the service asks for where it asks for one. What cannot pass fails at once, with the reason on
the run instead of a stack trace.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from atdata_core.errors import AtdataError
from atdata_core.secrets import masked

from ..display.markdown import shown
from ..display.materialisation_metadata import safe

MAX_RETRIES = 3
LONGEST_WAIT = 15 * 60
"""Seconds that a stage waits at most because a service asks for it. (Up to a minute the library waits itself.)

Asked for more, the run fails: to ask sooner would be of no use, and a later run is cheaper than a long one.
"""

POLICY = dg.RetryPolicy(
    max_retries=MAX_RETRIES, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


@contextmanager
def dagster_failures() -> Iterator[None]:
    """Turns what a stage raises into what Dagster should do about it.

    Raises:
        RetryRequested: It will pass, and the service said when.
        Failure: It will not pass in time, or a person stopped the run; Dagster does not try again.
        Exception: Anything else that can pass comes through as it is, for the stage's retry policy.
    """
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as stop:
        # A retry policy takes this, too, for something that passes, and goes on with a run that was stopped.
        raise dg.Failure("The run was stopped.", allow_retries=False) from stop
    except Exception as error:
        # Dagster keeps the whole chain of causes, with what each of them says.
        cause = without_secrets(error)
        wait = error.facts.get("retry_after") if isinstance(error, AtdataError) else None
        if not can_pass(error) or (wait or 0) > LONGEST_WAIT:
            raise failure_of(error) from cause
        if wait:
            raise dg.RetryRequested(MAX_RETRIES, seconds_to_wait=float(wait)) from cause
        if cause is error:
            raise
        raise cause from cause.__cause__


@contextmanager
def said_without_secrets() -> Iterator[None]:
    """An error that leaves is kept by Dagster: it leaves without anything secret."""
    try:
        yield
    except Exception as error:
        safe = without_secrets(error)
        if safe is error:
            raise
        raise safe from safe.__cause__


class MaskedError(Exception):
    """Stands for an error whose text held a secret, or was not only text, and says the rest of it."""


def without_secrets(error: BaseException) -> BaseException:
    """The error, or a stand-in where it or one of its causes says what nobody may keep, or what no person sees."""
    text = "".join(traceback.format_exception_only(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    cause = None if before is None else without_secrets(before)
    said = "\n".join(shown(line) for line in masked(text).rstrip("\n").split("\n"))
    if said == text.rstrip("\n") and cause is before:
        return error
    stand_in = MaskedError(said).with_traceback(error.__traceback__)
    stand_in.__cause__ = cause
    return stand_in


def can_pass(error: Exception) -> bool:
    """Whether the same call can succeed later without anybody mending anything."""
    if isinstance(error, AtdataError):
        return error.transient
    from atdata_core.atmosphere.xrpc import answers
    from atdata_core.state import redis_errors
    from atdata_core.stores.s3 import s3_errors

    # What an index or a store of somebody's own lets through.
    services = (redis_errors, s3_errors, answers)
    return isinstance(error, ConnectionError | TimeoutError) or any(each.can_pass(error) for each in services)


def failure_of(error: Exception) -> dg.Failure:
    """A failure that is not retried, with the error's message and facts."""
    facts = error.facts if isinstance(error, AtdataError) else {}
    plain = {name: value for name, fact in facts.items() if (value := _plain(fact)) is not None}
    metadata = safe({"error_class": type(error).__name__, **plain})
    return dg.Failure(shown(reason_of(error)), metadata=metadata, allow_retries=False)


def reason_of(error: Exception) -> str:
    """What went wrong, for people; nothing secret is in it."""
    return error.message if isinstance(error, AtdataError) else masked(f"{type(error).__name__}: {error}")


def _plain(fact: object) -> Any:
    """A fact as metadata: plain values; None for the rest."""
    if isinstance(fact, str | bool | int | float):
        return fact
    if isinstance(fact, list | tuple):
        return ", ".join(str(value) for item in fact if (value := _plain(item)) is not None)
    return None
