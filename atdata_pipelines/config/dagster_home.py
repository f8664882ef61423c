"""Where Dagster keeps what it knows: runs, partitions, switched-on sensors."""

import logging
import multiprocessing
import os
import shutil
import sys
from functools import lru_cache
from pathlib import Path

import dagster as dg

from atdata_core.errors import RefusedError

SETTINGS = "dagster.yaml"
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
            settings.touch()
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
