"""Where Dagster keeps what it knows, and how many datasets it knows."""

from __future__ import annotations

import os
from collections.abc import Iterable

from atdata_core.errors import ServiceError
from atdata_core.state.redis_errors import address
from atdata_core.state.redis_state import reaching

from ...components.dataset_promotion import prefix_of
from ...config import executors, partitions
from ...config.dagster_instance import SETTINGS, checked_home, open_instance
from ..project import settings_here
from .check import CheckResult, Known, fail, ok, skip, warn
from .redis_check import sent_once

NEAR = 0.9
"""Share of the most partitions from which on it is time to look."""


def look_at_home(known: Known) -> Iterable[CheckResult]:
    """Whether DAGSTER_HOME is a folder with settings."""
    if not os.environ.get("DAGSTER_HOME"):
        yield warn(
            "DAGSTER_HOME is not set: runs, partitions and switched-on sensors are forgotten",
            f"Set it to the absolute path of a folder with a copy of {SETTINGS}.",
        )
        return
    home = checked_home()
    if not os.access(home, os.W_OK):
        yield fail(f"{home} cannot be written", f"chmod u+w {home}, or set DAGSTER_HOME to another folder.")
    elif not (home / SETTINGS).is_file():
        yield warn(
            f"{home} has no {SETTINGS}, so Dagster's own defaults hold",
            f"Copy the project's {SETTINGS} there: lost runs are repeated, and not too many run at once.",
        )
    else:
        yield ok(f"{home}, with {SETTINGS}")


def look_at_storage(known: Known) -> Iterable[CheckResult]:
    """Whether Dagster's settings can be used, and its database answers."""
    if not os.environ.get("DAGSTER_HOME"):
        yield skip("not looked at: there is none without DAGSTER_HOME")
        return
    with open_instance() as instance:
        instance.get_runs_count()
    yield ok("Dagster's runs and partitions can be read")


def look_at_partitions(known: Known) -> Iterable[CheckResult]:
    """How near the number of datasets is to what Dagster is made for, in each instance of the pipeline."""
    if not os.environ.get("DAGSTER_HOME"):
        yield skip("not looked at: there are none without DAGSTER_HOME")
        return
    with open_instance() as instance:
        found = [(each, partitions.count_keys(instance, each)) for each in settings_here()]
    for settings, count in found:
        under = f" under the key prefix {prefix_of(settings)}" if settings.key_prefix else ""
        said = f"{count:,} of at most {partitions.MOST:,}{under}"
        if count < NEAR * partitions.MOST:
            yield ok(said)
        else:
            yield CheckResult(
                "error" if count >= partitions.MOST else "warning",
                f"{said}: beyond that no dataset is added",
                partitions.way_out(settings),
            )


HEARD = 2.0
"""Seconds in which workers say what they listen on: nobody knows how many there are."""


def look_at_workers(known: Known) -> Iterable[CheckResult]:
    """Whether steps of runs find somebody who does them, where they wait for that."""
    default = os.environ.get(executors.VARIABLE, "").strip() or executors.DEFAULT
    chosen = sorted({each.executor or default for each in settings_here()})
    if "celery" not in chosen:
        yield ok(f"none are needed: the executor is {', '.join(chosen)}")
        return
    with sent_once(executors.broker_url(), known, source=executors.CELERY_VARIABLE) as client:
        place = address(client)
        try:
            with reaching(client):
                client.ping()
        except ServiceError as error:
            yield fail(
                f"Celery's {error.message.partition('. ')[0]}",
                f"Start it, or mend {executors.CELERY_VARIABLE} (not set: the database after that of the index).",
            )
            return
    yield ok(f"steps wait for them at {place}")
    wanted = (executors.COPYING, executors.PUBLISHING)
    app = executors.celery_app()
    with app.connection_for_write() as connection:
        heard = app.control.inspect(timeout=min(HEARD, known.answer), connection=connection).active_queues() or {}
    queues = [queue["name"] for listened in heard.values() for queue in listened]
    idle = [queue for queue in wanted if queue not in queues]
    if idle:
        yield warn(
            f"no worker listens on {' and '.join(idle)}: runs wait there",
            f"celery -A atdata_pipelines.workers worker -Q {','.join(idle)}",
        )
    else:
        yield ok(", ".join(f"{queues.count(queue)} on {queue}" for queue in wanted))
