"""Celery workers, which do the steps of runs: ``celery -A atdata_pipelines.workers worker -Q copying,publishing``.

They need the variables and the DAGSTER_HOME that the runs have.
"""

import time
from typing import Any

from celery import bootsteps
from celery.worker.state import reserved_requests
from dagster_celery.tasks import create_task

from .config.executors import SAY_EVERY, celery_app


class StillAtIt(bootsteps.StartStopStep):
    """Says of the steps that a worker has taken that it is not lost.

    Redis knows no connection that a message belongs to: what is not acknowledged for ``visibility_timeout`` counts
    as lost. A shard can take longer than anybody wants to wait for one that is.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **more: Any) -> None:
        super().__init__(consumer, **more)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Begin, on the worker's own loop: its steps run in other processes."""
        self._timer = consumer.timer.call_repeatedly(SAY_EVERY, self._say, (consumer,))

    def stop(self, consumer: Any) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say(self, consumer: Any) -> None:
        channel = consumer.task_consumer.channel
        taken = [request.message.delivery_tag for request in [*reserved_requests]]
        if taken:
            now = time.time()
            with channel.conn_or_acquire() as client:
                # Only those that are there still: another worker may have them, or they are done.
                client.zadd(channel.unacked_index_key, dict.fromkeys(taken, now), xx=True)


app = celery_app()
app.steps["consumer"].add(StillAtIt)
execute_plan = create_task(app)
