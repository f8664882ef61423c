"""Celery: whether its Redis answers, and workers listen."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .check import CheckResult, Known
from .redis_check import sent_once

HEARD = 2.0
"""Seconds in which workers say what they listen on: nobody knows how many there are."""


def look_at_workers(known: Known) -> Iterable[CheckResult]:
    """Whether steps of runs find somebody who does them, where they wait for that."""
    from atdata_core.errors import ServiceError
    from atdata_core.state.redis_state import address, reaching

    from ...config import broker, executors
    from ..project import settings_here

    default = os.environ.get(executors.VARIABLE, "").strip() or executors.DEFAULT
    chosen = sorted({each.executor or default for each in settings_here()})
    if "celery" not in chosen:
        yield CheckResult("ok", f"none are needed: the executor is {', '.join(chosen)}")
        return
    with sent_once(broker.broker_url(), known, source=broker.VARIABLE) as client:
        place = address(client)
        try:
            with reaching(client):
                client.ping()
        except ServiceError as error:
            yield CheckResult(
                "error",
                f"Celery's Redis at {place} {'does not answer' if error.transient else 'refused this user'}",
                f"Start it, or mend {broker.VARIABLE} (not set: the database after that of the index).",
            )
            return
    yield CheckResult("ok", f"steps wait for them at {place}")
    wanted = (executors.COPYING, broker.PUBLISHING)
    app = broker.celery_app()
    with app.connection_for_write() as connection:
        heard = app.control.inspect(timeout=min(HEARD, known.answer), connection=connection).active_queues() or {}
    queues = [queue["name"] for listened in heard.values() for queue in listened]
    idle = [queue for queue in wanted if queue not in queues]
    if idle:
        yield CheckResult(
            "warning",
            f"no worker listens on {' and '.join(idle)}: runs wait there",
            f"celery -A atdata_pipelines.workers worker -Q {','.join(idle)}",
        )
    else:
        yield CheckResult("ok", ", ".join(f"{queues.count(queue)} on {queue}" for queue in wanted))
