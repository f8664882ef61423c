"""Runs whose process is killed, as a machine that is restarted does it."""

import json
import os
import signal
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG

from atdata_pipelines.automation.lost_runs import end_lost_runs

# Says its run's id and waits in an op, as one that copies.
PROGRAM = """
import sys, time
import dagster as dg

@dg.op
def waits():
    print("waits", flush=True)
    time.sleep(60)

@dg.job
def job():
    waits()

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    job.execute_in_process(instance=instance, run_id=sys.argv[2], tags={".dagster/grpc_info": sys.argv[3]})
"""
RUNS = {"killed": "11111111-1111-4111-8111-111111111111", "lives": "22222222-2222-4222-8222-222222222222"}


@pytest.fixture
def home(tmp_path):
    """An instance with files of its own, as one machine has it."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def start(home, tmp_path):
    """Start a run in a process, by a code server of this machine or in another way; it is in its op then."""
    processes = []

    def begin(run_id, how):
        arguments = [str(tmp_path), run_id, json.dumps(how)]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        processes.append(process)
        assert process.stdout.readline() == b"waits\n"
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_run_whose_process_was_killed_ends_and_one_that_lives_goes_on(home, start):
    here = {"host": "localhost", "socket": "/tmp/a-socket"}
    process = start(RUNS["killed"], here)
    start(RUNS["lives"], here)
    assert end_lost_runs(home) == []
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert home.get_run_by_id(RUNS["killed"]).status == dg.DagsterRunStatus.STARTED
    assert end_lost_runs(home) == [RUNS["killed"]]
    assert home.get_run_by_id(RUNS["killed"]).status == dg.DagsterRunStatus.FAILURE
    assert home.get_run_by_id(RUNS["lives"]).status == dg.DagsterRunStatus.STARTED
    [failure] = home.all_logs(RUNS["killed"], of_type=dg.DagsterEventType.RUN_FAILURE)
    assert f"The process of this run ({process.pid}) is gone" in failure.message
    assert end_lost_runs(home) == []


def test_the_number_of_a_process_that_was_used_again_is_not_taken_for_it(home, start, monkeypatch):
    process = start(RUNS["killed"], {"host": "localhost", "socket": "/tmp/a-socket"})
    process.kill()
    process.wait()
    # This test's process is there, and is not the run.
    [begun] = home.all_logs(RUNS["killed"], of_type=dg.DagsterEventType.RUN_START)
    later = begun._replace(dagster_event=begun.dagster_event._replace(pid=os.getpid()), timestamp=1_000.0)
    monkeypatch.setattr(type(home), "all_logs", lambda *_, **__: [later])
    assert end_lost_runs(home) == [RUNS["killed"]]


def test_a_run_that_another_machine_may_have_started_is_left_alone(home, start):
    process = start(RUNS["killed"], {"host": "code-server", "port": 4000})
    process.kill()
    process.wait()
    assert end_lost_runs(home) == []
    assert home.get_run_by_id(RUNS["killed"]).tags[GRPC_INFO_TAG]
