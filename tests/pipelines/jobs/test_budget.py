"""What a person sees of a wait for write points, in a run's log and at the command line."""

import fcntl
import os
import signal
import subprocess
import sys
import termios

import dagster as dg
import pytest
import yaml

from atdata_core.atmosphere.xrpc import write_budget
from atdata_pipelines.automation.run_history import active_runs
from atdata_pipelines.config.dagster_instance import PROJECT, SETTINGS
from atdata_pipelines.config.settings import DEFAULT
from atdata_pipelines.jobs.promotion_jobs import JOB


@pytest.fixture
def passing(monkeypatch):
    """Time that passes when somebody waits."""
    passed = [0.0]
    started = write_budget.now()
    monkeypatch.setattr(write_budget, "now", lambda: started + passed[0])
    monkeypatch.setattr(write_budget, "sleep", lambda seconds: passed.__setitem__(0, passed[0] + seconds))
    return passed


def test_a_wait_stands_in_the_log_of_the_run(lab, defined, monkeypatch, passing):
    lab.insert("pictures")
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "4/1000")
    # Which loggers write there.
    settings = yaml.safe_load((PROJECT / SETTINGS).read_text())
    with dg.DagsterInstance.ephemeral(settings={"python_logs": settings["python_logs"]}) as instance:
        instance.add_dynamic_partitions("dataset", ["pictures"])
        job = defined().resolve_job_def(JOB)
        result = job.execute_in_process(partition_key="pictures", instance=instance)
        logs = [entry for entry in instance.all_logs(result.run_id) if entry.dagster_event is None]
    assert result.success
    waits = [entry for entry in logs if "write points of an hour; putRecord waits" in entry.user_message]
    assert {entry.step_key for entry in waits} == {"atmosphere_record"}
    assert len(waits) >= 59
    assert passing[0] >= 3600


@pytest.mark.slow
def test_a_command_reads_its_settings_from_a_file_keeps_its_run_shows_a_wait_and_ends_with_ctrl_c(
    lab, account_environ, tmp_path
):
    # A process of its own, which takes seconds to import Dagster: `.env` is read and Ctrl-C caught as it begins.
    lab.insert("pictures")
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    names = {"ATDATA_HANDLE", "ATDATA_APP_PASSWORD"}
    (tmp_path / ".env").write_text("".join(f"{name}={account_environ[name]}\n" for name in names))
    environ = {name: value for name, value in os.environ.items() if name not in names}
    process = subprocess.Popen(
        [sys.executable, "-m", "atdata_pipelines", "promote", "pictures"],
        cwd=tmp_path,
        env=environ | {"ATDATA_WRITE_BUDGET": "4/1000", "DAGSTER_HOME": str(home)},
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
    assert process.returncode == 130
    assert rest.rstrip().endswith("promote pictures")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [kept] = instance.get_runs()
        assert kept.tags["dataset"] == "pictures"
        assert instance.get_dynamic_partitions("dataset") == ["pictures"]


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", ["lost terminal", "SIGHUP", "SIGTERM"])
def test_a_run_of_a_command_that_is_hung_up_ends_as_canceled_and_holds_nothing_back(
    lab, account_environ, tmp_path, ended_by
):
    # Over a second: a process of its own, at a terminal of its own, which takes seconds to import Dagster.
    entry = lab.insert("pictures")
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    ours, terminal = os.openpty()

    def at_terminal():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # Under nohup the tests ignore it, and so would what they start.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-m", "atdata_pipelines", "promote", "pictures"],
        cwd=tmp_path,
        env=os.environ | {"ATDATA_WRITE_BUDGET": "4/1000", "DAGSTER_HOME": str(home)},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=at_terminal,
    )
    os.close(terminal)
    said = b""
    while b"putRecord waits" not in said:
        said += os.read(ours, 4096)
    if ended_by == "lost terminal":
        os.close(ours)
    else:
        process.send_signal(getattr(signal, ended_by))
    assert process.wait(60) == 130
    if ended_by != "lost terminal":
        os.close(ours)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [kept] = instance.get_runs()
        assert kept.status == dg.DagsterRunStatus.CANCELED
        assert active_runs(instance, DEFAULT)(entry) is None
