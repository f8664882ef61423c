"""What a Celery worker says while it works: a long step is not taken for a lost one."""

import os
import time
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from atdata_pipelines.config.executors import LOST_AFTER, SAY_EVERY, executor_config


@pytest.fixture
def workers(redis_url, monkeypatch):
    """The module, on an empty database."""
    if find_spec("dagster_celery") is None:
        if os.environ.get("CI"):
            pytest.fail("the extra celery is not installed")
        pytest.skip("the extra celery is not installed")
    monkeypatch.setenv("ATDATA_CELERY_URL", redis_url)
    from atdata_pipelines import workers

    return workers


@pytest.fixture
def taken(workers, redis_url):
    """A message that was taken and not acknowledged: ``taken.heard()`` is when its worker was last heard of."""
    from celery.worker import state
    from celery.worker.request import Request
    from kombu import Connection

    options = executor_config()["config_source"]["broker_transport_options"]
    with Connection(redis_url, transport_options=options) as connection:
        queue = connection.SimpleQueue("copying")
        queue.put("a step")
        message = queue.get(timeout=5)
        channel = message.channel
        task = workers.execute_plan
        headers = {"id": "a step", "task": task.name}
        request = Request(message, app=workers.app, task=task, headers=headers, body=((), {}, {}), decoded=True)
        state.task_reserved(request)

        def ack():
            message.ack()
            state.task_ready(request)

        key = channel.unacked_index_key

        def heard():
            return channel.client.zscore(key, message.delivery_tag)

        def grow_old():
            channel.client.zadd(key, {message.delivery_tag: time.time() - LOST_AFTER - 1})

        def restored():
            channel.qos.restore_visible(num=10, interval=1)
            return channel.client.llen("copying")

        yield SimpleNamespace(
            heard=heard,
            grow_old=grow_old,
            restored=restored,
            ack=ack,
            consumer=SimpleNamespace(task_consumer=queue.consumer),
        )
        state.task_ready(request)
        queue.close()


def test_a_step_that_is_worked_on_stays_with_its_worker(workers, taken):
    step = workers.StillAtIt(taken.consumer)
    taken.grow_old()
    step._say(taken.consumer)
    assert time.time() - taken.heard() < SAY_EVERY
    assert taken.restored() == 0


def test_a_step_of_a_worker_that_is_silent_goes_back_to_the_queue(taken):
    taken.grow_old()
    assert taken.restored() == 1


def test_nothing_is_said_of_a_step_that_is_done(workers, taken):
    step = workers.StillAtIt(taken.consumer)
    taken.ack()
    step._say(taken.consumer)
    assert taken.heard() is None


def test_workers_and_runs_agree(workers):
    conf = workers.app.conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.broker_transport_options["visibility_timeout"] == LOST_AFTER > 3 * SAY_EVERY
    assert conf.task_default_queue == "publishing"
    assert conf.task_serializer == conf.result_serializer == "json"
    assert workers.StillAtIt in workers.app.steps["consumer"]
    assert "execute_plan" in workers.app.tasks
