"""The Dagster instance of DAGSTER_HOME, and in a line or two why it cannot be opened or read."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import DBAPIError

from atdata_core.errors import AtdataError, RefusedError, ServiceError
from atdata_core.secrets import masked

from .dagster_home import SETTINGS, checked_home

_UNSET = re.compile(r'environment variable "(\w+)" which is not set')
_EXAMPLES = f"Mend it; the project's {SETTINGS} and deploy/{SETTINGS} are examples."
_SHOWN = 300
"""Characters of what Dagster says that an error repeats."""


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The instance whose partitions and runs are kept.

    Raises:
        RefusedError: DAGSTER_HOME names none, or what its dagster.yaml says cannot be used.
        ServiceError: Its storage does not answer, when it is opened or later.
    """
    home = checked_home()
    try:
        with _opened(home) as instance:
            yield instance
    except AtdataError:
        raise
    except Exception as error:
        found = _of_database(error)
        if found is None:
            raise
        raise _unreachable(home, found) from error


def _opened(home: Path) -> dg.DagsterInstance:
    quiet = _WithoutRetries()
    logging.getLogger().addFilter(quiet)
    try:
        return dg.DagsterInstance.get()
    except dg.DagsterInvalidConfigError as error:
        raise RefusedError(_misconfigured(home, error)) from error
    except Exception as error:
        if _of_database(error) is not None:
            raise
        raise RefusedError(f"{home / SETTINGS} cannot be used: {_line(str(error))}. {_EXAMPLES}") from error
    finally:
        logging.getLogger().removeFilter(quiet)


def _of_database(error: BaseException | None) -> DBAPIError | None:
    """What the database said that led to an error."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__ or error.__context__
    return error


class _WithoutRetries(logging.Filter):
    """Keeps away what Dagster says of each attempt to connect: the error of the last one tells it, too."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Retrying failed database connection")


def _misconfigured(home: Path, error: dg.DagsterInvalidConfigError) -> str:
    messages = [each.message for each in error.errors] or [str(error)]
    unset = dict.fromkeys(name for message in messages for name in _UNSET.findall(message))
    if unset:
        return (
            f"{home / SETTINGS} takes {', '.join(unset)} from the environment, where nothing is set. Set what the "
            "processes of Dagster have, in the environment or in .env."
        )
    # What was expected follows, for pages; what the value was may be secret.
    problems = dict.fromkeys(re.split(r"\. |\n| of original value", message)[0] for message in messages)
    return f"{home / SETTINGS} cannot be used: {_line('; '.join(problems))}. {_EXAMPLES}"


def _unreachable(home: Path, error: DBAPIError) -> ServiceError:
    return ServiceError(
        f"Dagster's storage cannot be used: {_line(str(error.orig))}. Start the database, or mend where "
        f"{home / SETTINGS} says that it is; a new or older one needs `dagster instance migrate`.",
        service="Dagster's storage",
        status=None,
    )


def _line(message: str) -> str:
    return masked(" ".join(message.split()))[:_SHOWN].rstrip(".")
