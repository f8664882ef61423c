"""Where Dagster keeps what it knows, and in a line or two why that cannot be opened or read."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from atdata_core.errors import AtdataError, RefusedError, ServiceError
from atdata_core.secrets import masked

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

SETTINGS = "dagster.yaml"
QUIET = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"
"""Settings of a home, where the package is installed without the project's own: Dagster sends and asks nothing."""
PROJECT = Path(__file__).parents[2]


def prepare_home(path: str | os.PathLike[str]) -> Path:
    """Make a folder that can be DAGSTER_HOME; the same folder again keeps what it holds.

    The project's ``dagster.yaml`` is copied there where none is, because Dagster reads settings from
    DAGSTER_HOME alone. The databases are made here, by one process: two that open a fresh folder at once
    can ruin it.

    Returns:
        The absolute path; Dagster takes no other.
    """
    home = Path(path).resolve()
    home.mkdir(parents=True, exist_ok=True)
    settings = home / SETTINGS
    if not settings.exists():
        if (PROJECT / SETTINGS).is_file():
            shutil.copyfile(PROJECT / SETTINGS, settings)
        else:
            settings.write_text(QUIET)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_dynamic_partitions("dataset")
        instance.get_runs_count()
        instance.all_instigator_state()
    return home


def checked_home() -> Path:
    """The folder that DAGSTER_HOME names.

    Raises:
        RefusedError: It is not set, or names no folder, or not by an absolute path.
    """
    given = os.environ.get("DAGSTER_HOME", "")
    if not given:
        raise RefusedError(
            "DAGSTER_HOME is not set: runs, partitions and switched-on sensors are kept nowhere. Set it to the "
            "folder in which Dagster keeps them."
        )
    home = Path(given).expanduser()
    if not home.is_absolute() or not home.is_dir():
        wrong = "is no folder" if home.is_absolute() else "is no absolute path"
        raise RefusedError(
            f"DAGSTER_HOME is {given}, which {wrong}. Make a folder with a copy of the project's {SETTINGS} in "
            "it, and set DAGSTER_HOME to its absolute path."
        )
    return home


@lru_cache
def warn_if_state_is_lost() -> None:
    """Say in the output of ``dagster dev`` and ``dg dev`` that a temporary folder goes when they stop.

    Only their code server says it, so it stands there once, not again in every run.
    """
    in_dev = bool(os.environ.get("DAGSTER_IS_DEV_CLI")) and sys.argv[1:3] == ["api", "grpc"]
    in_run = multiprocessing.parent_process() is not None
    if in_dev and not in_run and not os.environ.get("DAGSTER_HOME"):
        logging.getLogger("dagster").warning(
            "DAGSTER_HOME is not set: runs, partitions and switched-on sensors are lost when this stops. "
            "`make ui` keeps them; so does a folder of your own: "
            'mkdir -p "$HOME/.dagster" && cp %s "$HOME/.dagster/" && export DAGSTER_HOME="$HOME/.dagster"',
            SETTINGS,
        )


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
        raise ServiceError(
            f"Dagster's storage cannot be used: {_line(str(found.orig))}. Start the database, or mend where "
            f"{home / SETTINGS} says that it is; a new or older one needs `dagster instance migrate`.",
            service="Dagster's storage",
            status=None,
        ) from error


def _opened(home: Path) -> dg.DagsterInstance:
    loggers = logging.getLogger(), logging.getLogger("dagster")
    for logger in loggers:
        logger.addFilter(_is_news)
    try:
        return _untelling(dg.DagsterInstance.get())
    except dg.DagsterInvalidConfigError as error:
        raise RefusedError(_misconfigured(home, error)) from error
    except Exception as error:
        if _of_database(error) is not None:
            raise
        raise RefusedError(f"{home / SETTINGS} cannot be used: {_line(str(error))}. {_EXAMPLES}") from error
    finally:
        for logger in loggers:
            logger.removeFilter(_is_news)


def _untelling(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The same storage, opened so that Dagster sends no telemetry, nor prints a page on that."""
    if not instance.telemetry_enabled:
        return instance
    ref = instance.get_ref()
    instance.dispose()
    return dg.DagsterInstance.from_ref(ref._replace(settings={**ref.settings, "telemetry": {"enabled": False}}))


@contextmanager
def uncaptured(instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """The same storage, opened so that a run in this process leaves stdout and stderr to the command that runs it.

    Dagster would move both into a file for as long as steps run, and have helper processes write them back, which
    die of Ctrl-C with stack traces.
    """
    ref = instance.get_ref()
    # As a dagster.yaml names it: none of what the module `dagster` exports can be named here.
    nothing = ref.compute_logs_data._replace(
        module_name="dagster._core.storage.noop_compute_log_manager",
        class_name="NoOpComputeLogManager",
        config_yaml="{}",
    )
    with dg.DagsterInstance.from_ref(ref._replace(compute_logs_data=nothing)) as opened:
        yield opened


def _of_database(error: BaseException | None) -> DBAPIError | None:
    """What the database said that led to an error."""
    from sqlalchemy.exc import DBAPIError

    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__ or error.__context__
    return error


def _is_news(record: logging.LogRecord) -> bool:
    """Keeps away what Dagster says of each attempt to connect, and of a home without settings.

    The error of the last attempt tells it, too; and Dagster's defaults are as good as any.
    """
    return not record.getMessage().startswith(
        ("Retrying failed database connection", "No dagster instance configuration file")
    )


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


def _line(message: str) -> str:
    return masked(" ".join(message.split()))[:_SHOWN].rstrip(".")
