"""Where the steps of a run are done: in its own process, in processes beside it, or on other machines."""

import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import dagster as dg

from atdata_core.common.names import near
from atdata_core.errors import RefusedError

from .environment import MissingVariableError

if TYPE_CHECKING:
    from celery import Celery

VARIABLE = "ATDATA_EXECUTOR"
DEFAULT = "in-process"

QUEUE = "dagster-celery/queue"
"""Tag of an op: the Celery queue that it waits in. Other executors pass over it."""

COPYING = "copying"
"""Queue of what reads and copies shards: workers with a good connection to both sides."""

CELERY_VARIABLE = "ATDATA_CELERY_URL"

PUBLISHING = "publishing"
"""Queue of what writes to the PDS, and of everything else: one small worker will do."""

LOST_AFTER = 60
"""Seconds after which the step of a worker that was not heard of goes to another one.

Workers say meanwhile that they are still at it (``workers.py``), so a long step is not taken for a lost one. Should
it happen (clocks that differ, Redis out of reach), a step is done twice: each finds what the other has done, by its
digest or by the key of its record, and copies of one shard wait for each other.
"""

SAY_EVERY = 10
"""Seconds between two words of a worker."""

_DATABASES = 16
"""Of a Redis that nobody has configured otherwise."""


_MAKE: dict[str, Callable[[], dg.ExecutorDefinition]] = {
    "in-process": lambda: dg.in_process_executor,
    "multiprocess": lambda: dg.multiprocess_executor,
    # The address may hold a password: it is read when a run begins, and stands in no configuration.
    "celery": lambda: _package("celery", "dagster_celery").celery_executor.configured(
        lambda _: executor_config(), config_schema={}
    ),
    "k8s": lambda: _package("k8s", "dagster_k8s").k8s_job_executor,
}


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


def _package(extra: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise RefusedError(
            f"The executor {extra} needs {module.replace('_', '-')}, which is not installed: "
            f'pip install "atdata-pipelines[{extra}]"'
        ) from None


def broker_url() -> str:
    """Where steps wait for workers: ``ATDATA_CELERY_URL``, else the database after that of the index.

    Raises:
        MissingVariableError: Neither is set.
        RefusedError: It is no URL of Redis, or one that Celery cannot use. The error does not repeat it.
    """
    from atdata_core.state import redis_state

    given = os.environ.get(CELERY_VARIABLE, "").strip()
    source = CELERY_VARIABLE if given else redis_state.VARIABLE
    url = given or os.environ.get(redis_state.VARIABLE, "").strip()
    if not url:
        raise MissingVariableError(
            f"Neither {CELERY_VARIABLE} nor {redis_state.VARIABLE} is set. Celery keeps steps that wait in a "
            "Redis.",
            variable=CELERY_VARIABLE,
        )
    with redis_state.from_url(url, source=source) as client:
        number = client.connection_pool.connection_kwargs.get("db", 0)
    parts = urlsplit(url)
    if parts.scheme == "unix":
        raise RefusedError(
            f"{source} names a Unix socket, which Celery cannot use. Set {CELERY_VARIABLE} to redis://host:port/database.",
            source=source,
        )
    query = {name: value for name, value in parse_qsl(parts.query) if name != "db"}
    if parts.scheme == "rediss":
        # As redis-py takes it where nothing is said; Celery wants to be told.
        query.setdefault("ssl_cert_reqs", "required")
    database = number if given else (number + 1) % _DATABASES
    return urlunsplit(parts._replace(path=f"/{database}", query=urlencode(query)))


def executor_config() -> dict[str, Any]:
    """What a run's executor and the workers must agree on, as ``celery_executor`` takes it; raises as above."""
    url = broker_url()
    return {
        "broker": url,
        "backend": url,
        "config_source": {
            "task_default_queue": PUBLISHING,
            # One that waits here could be done elsewhere.
            "worker_prefetch_multiplier": 1,
            # A step whose process or machine is lost comes back, unless it was done and only not noted.
            "task_acks_late": True,
            "task_reject_on_worker_lost": True,
            "worker_deduplicate_successful_tasks": True,
            "broker_connection_retry_on_startup": True,
            "broker_transport_options": {
                "visibility_timeout": LOST_AFTER,
                "unacked_restore_interval": SAY_EVERY,
                "unacked_restore_throttle": 1,
            },
        },
    }


def celery_app() -> "Celery":
    """Celery as runs and workers have it; raises as above."""
    from dagster_celery.executor import CeleryExecutor
    from dagster_celery.make_app import make_app

    return make_app(CeleryExecutor.for_cli(**executor_config()).app_args())
