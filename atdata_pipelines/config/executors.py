"""Where the steps of a run are done: in its own process, in processes beside it, or on other machines."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from atdata_core.common.names import near
from atdata_core.errors import RefusedError

from .broker import executor_config

if TYPE_CHECKING:
    from types import ModuleType

VARIABLE = "ATDATA_EXECUTOR"
DEFAULT = "in-process"

QUEUE = "dagster-celery/queue"
"""Tag of an op: the Celery queue that it waits in. Other executors pass over it."""

COPYING = "copying"
"""Queue of what reads and copies shards: workers with a good connection to both sides."""


def executor_named(name: str) -> dg.ExecutorDefinition:
    """The executor of a name: ``in-process``, ``multiprocess``, ``celery`` or ``k8s``.

    Raises:
        RefusedError: There is none of that name, or the package that it needs is not installed.
    """
    if name not in _MAKE:
        raise RefusedError(
            f"There is no executor {name!r}.{near(name, _MAKE)} There are: {', '.join(_MAKE)} ({VARIABLE}, or "
            "`executor` of the component)."
        )
    return _MAKE[name]()


def default_executor() -> dg.ExecutorDefinition:
    """The one that ``ATDATA_EXECUTOR`` names; without it the run's own process does all.

    The stages of a dataset wait for each other and for the network: a process for each costs seconds.
    """
    return executor_named(os.environ.get(VARIABLE, "").strip() or DEFAULT)


def _celery() -> dg.ExecutorDefinition:
    package = _package("celery", "dagster_celery")
    # The address may hold a password: it is read when a run begins, and stands in no configuration.
    return package.celery_executor.configured(lambda _: executor_config(), config_schema={})


def _k8s() -> dg.ExecutorDefinition:
    return _package("k8s", "dagster_k8s").k8s_job_executor


def _package(extra: str, module: str) -> "ModuleType":
    """A package that an extra brings."""
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise RefusedError(
            f"The executor {extra} needs {module.replace('_', '-')}, which is not installed: "
            f'pip install "atdata-pipelines[{extra}]"'
        ) from None


_MAKE: dict[str, Callable[[], dg.ExecutorDefinition]] = {
    "in-process": lambda: dg.in_process_executor,
    "multiprocess": lambda: dg.multiprocess_executor,
    "celery": _celery,
    "k8s": _k8s,
}
