"""What a person sees of a wait for write points, in a run's log and at the command line."""

import os
import signal
import subprocess
import sys

import dagster as dg
import pytest

from atdata_core.atmosphere.xrpc import write_budget
from atdata_pipelines.components.pipeline import promotion_definitions
from atdata_pipelines.config.dagster_home import prepare_home
from atdata_pipelines.jobs.promote_job import JOB


@pytest.fixture
def passing(monkeypatch):
    """Time that passes when somebody waits."""
    passed = [0.0]
    started = write_budget.now()
    monkeypatch.setattr(write_budget, "now", lambda: started + passed[0])
    monkeypatch.setattr(write_budget, "sleep", lambda seconds: passed.__setitem__(0, passed[0] + seconds))
    return passed


def test_a_wait_stands_in_the_log_of_the_run(lab, tmp_path, monkeypatch, passing):
    lab.insert("pictures")
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "4/1000")
    home = prepare_home(tmp_path / "home")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("dataset", ["pictures"])
        job = promotion_definitions().resolve_job_def(JOB)
        result = job.execute_in_process(partition_key="pictures", instance=instance)
        logs = [entry for entry in instance.all_logs(result.run_id) if entry.dagster_event is None]
    assert result.success
    waits = [entry for entry in logs if "write points of an hour; putRecord waits" in entry.user_message]
    assert {entry.step_key for entry in waits} == {"atmosphere_record"}
    assert len(waits) >= 59
    assert passing[0] >= 3600


def test_a_wait_is_shown_at_the_command_line_and_ends_with_ctrl_c(lab, account_environ, tmp_path):
    lab.insert("pictures")
    process = subprocess.Popen(
        [sys.executable, "-m", "atdata_pipelines", "promote", "pictures"],
        cwd=tmp_path,
        env=os.environ | {"ATDATA_WRITE_BUDGET": "4/1000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "putRecord waits" in line:
            process.send_signal(signal.SIGINT)
            break
    _, rest = process.communicate(timeout=60)
    assert any("has used its 4 write points of an hour; putRecord waits 60 min, until" in line for line in lines)
    assert process.returncode == 1
    assert rest.rstrip().endswith("Aborted!")
