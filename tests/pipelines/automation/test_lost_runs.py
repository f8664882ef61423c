"""Runs whose process is killed, as a machine that is restarted does it."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG

from atdata_core.common.machine import machine
from atdata_pipelines.automation.run_history import MACHINE_TAG, end_lost_runs

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
HERE = {"host": "localhost", "socket": "/tmp/a-socket"}
RUNS = {"killed": "11111111-1111-4111-8111-111111111111", "lives": "22222222-2222-4222-8222-222222222222"}


@pytest.fixture
def home(tmp_path):
    """An instance with files of its own, as one machine has it."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def begin(home, tmp_path):
    """Begin a run, in a process of its own by a code server of this machine or in another way.

    It is in its op then. Not every one is Dagster's, which takes seconds to be imported: of the others only what
    Dagster keeps of a run is told.
    """
    processes = []

    def real(run_id, how):
        arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), run_id, json.dumps(how)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        processes.append(process)
        assert process.stdout.readline() == b"waits\n"
        process.stdout.close()
        return process

    def told(run_id, how):
        process = subprocess.Popen(["sleep", "60"])
        processes.append(process)
        tags = {GRPC_INFO_TAG: json.dumps(how)} if "host" in how else how
        home.add_run(dg.DagsterRun("job", run_id=run_id, tags=tags, status=dg.DagsterRunStatus.STARTING))
        begun = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "job", pid=process.pid)
        home.report_dagster_event(begun, run_id)
        return process

    yield SimpleNamespace(real=real, told=told)
    for process in processes:
        process.kill()
        process.wait()


def test_a_run_whose_process_was_killed_ends_and_one_that_lives_goes_on(home, begin):
    # Long: one real run in a process that imports Dagster.
    process = begin.real(RUNS["killed"], HERE)
    begin.told(RUNS["lives"], HERE)
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


def test_the_number_of_a_process_that_was_used_again_is_not_taken_for_it(home, begin, monkeypatch):
    begin.told(RUNS["killed"], HERE)
    # This test's process is there, and is not the run.
    [begun] = home.all_logs(RUNS["killed"], of_type=dg.DagsterEventType.RUN_START)
    later = begun._replace(dagster_event=begun.dagster_event._replace(pid=os.getpid()), timestamp=1_000.0)
    monkeypatch.setattr(type(home), "all_logs", lambda *_, **__: [later])
    assert end_lost_runs(home) == [RUNS["killed"]]


def test_a_run_that_another_machine_may_have_started_is_left_alone(home, begin):
    process = begin.told(RUNS["killed"], {"host": "code-server", "port": 4000})
    process.kill()
    process.wait()
    assert end_lost_runs(home) == []
    assert home.get_run_by_id(RUNS["killed"]).tags[GRPC_INFO_TAG]


def test_a_command_that_was_killed_leaves_no_run_that_works_for_ever(home, lab, account_environ, tmp_path):
    # Long: a real command, in a process that imports Dagster.
    lab.insert("pictures")
    environ = {**os.environ, **account_environ, "DAGSTER_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "atdata_pipelines", "promote", "pictures"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not home.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        assert end_lost_runs(home) == []
        process.kill()
    [run] = home.get_runs()
    assert run.status == dg.DagsterRunStatus.STARTED
    assert end_lost_runs(home) == [run.run_id]
    assert home.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE


def test_a_command_of_another_machine_is_left_alone(home, begin):
    for run_id, where in zip(RUNS.values(), (machine(), f"elsewhere/{machine()}"), strict=True):
        process = begin.told(run_id, {MACHINE_TAG: where})
        process.kill()
        process.wait()
    assert end_lost_runs(home) == [RUNS["killed"]]
