"""How runs and Celery workers find each other: on the Redis that holds the index, in a database of their own."""

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from atdata_core.errors import RefusedError
from atdata_core.state import redis_state

from .resources import MissingVariableError

if TYPE_CHECKING:
    from celery import Celery

VARIABLE = "ATDATA_CELERY_URL"

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


def broker_url() -> str:
    """Where steps wait for workers: ``ATDATA_CELERY_URL``, else the database after that of the index.

    Raises:
        MissingVariableError: Neither is set.
        RefusedError: It is no URL of Redis, or one that Celery cannot use. The error does not repeat it.
    """
    given = os.environ.get(VARIABLE, "").strip()
    source = VARIABLE if given else redis_state.VARIABLE
    url = given or os.environ.get(redis_state.VARIABLE, "").strip()
    if not url:
        raise MissingVariableError(
            f"Neither {VARIABLE} nor {redis_state.VARIABLE} is set. Celery keeps steps that wait in a Redis.",
            variable=VARIABLE,
        )
    with redis_state.from_url(url, source=source) as client:
        number = client.connection_pool.connection_kwargs.get("db", 0)
    parts = urlsplit(url)
    if parts.scheme == "unix":
        raise RefusedError(
            f"{source} names a Unix socket, which Celery cannot use. Set {VARIABLE} to redis://host:port/database.",
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
