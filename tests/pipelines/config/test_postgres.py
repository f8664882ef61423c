"""The instance of several machines, ``deploy/dagster.yaml``, on a real PostgreSQL."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import dagster as dg
import pytest

from atdata_pipelines.config.settings import STAGES
from atdata_pipelines.sandbox.services import HOST, free_port

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
PASSWORD = "p%40 w/:d"
"""What has to be quoted in a URL is quoted."""
STARTING = 60
QUICKLY = ("--encoding=UTF8", "--no-locale", "--no-sync")


def program(name):
    """The path of one of PostgreSQL's programs; Debian keeps them out of PATH."""
    found = shutil.which(name) or next(
        iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        message = "no PostgreSQL is installed: on Debian, `apt-get install postgresql`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture
def postgres():
    """An empty PostgreSQL on a port of its own; the port."""
    initdb, server = program("initdb"), program("postgres")
    # It does not run as root, nor in a folder that is another's; pytest's own are closed to others.
    other = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgres") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        (folder / "data").mkdir()
        if other:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, other["user"], other["group"])
        subprocess.run(
            [initdb, "-D", "data", "-U", "dagster", "--pwfile=password", "--auth=scram-sha-256", *QUICKLY],
            cwd=folder,
            check=True,
            capture_output=True,
            **other,
        )
        with (folder / "said").open("wb") as said:
            running = subprocess.Popen(
                [server, "-D", "data", "-h", HOST, "-p", str(port), "-k", "", "-F"],
                cwd=folder,
                stdout=said,
                stderr=said,
                **other,
            )
        try:
            wait_for(running, port, folder / "said")
            yield port
        finally:
            # Who is still connected is cut off.
            running.send_signal(signal.SIGINT)
            running.wait(STARTING)


def wait_for(running, port, said):
    import psycopg2

    end = time.monotonic() + STARTING
    while True:
        try:
            psycopg2.connect(host=HOST, port=port, user="dagster", password=PASSWORD, dbname="postgres").close()
        except psycopg2.OperationalError:
            if running.poll() is not None or time.monotonic() > end:
                pytest.fail(f"PostgreSQL did not start:\n{said.read_text()}")
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def home(postgres, tmp_path, monkeypatch):
    """DAGSTER_HOME with the file as it stands, but for the port, and nothing else."""
    before, found, after = (DEPLOY / "dagster.yaml").read_text().partition("port: 5432\n")
    assert found
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(f"{before}port: {postgres}\n{after}")
    told = {"HOST": HOST, "USER": "dagster", "PASSWORD": PASSWORD, "DB": "postgres"}
    for name, value in told.items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


@pytest.mark.slow
def test_an_instance_on_postgresql_is_migrated_and_keeps_a_promotion(home, lab, command, stranger):
    # Long: a database server of its own, which Dagster makes its tables in.
    from click.testing import CliRunner
    from dagster._cli import create_dagster_cli

    answer = CliRunner().invoke(create_dagster_cli(), ["instance", "migrate"])
    assert answer.exit_code == 0, answer.output
    lab.insert("pictures")
    result = command("promote", "pictures")
    assert result.exit_code == 0, result.output
    assert stranger.get_record(result.stdout.split()[-1]).value["name"] == "pictures"
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        instance.add_dynamic_partitions("dataset", ["another"])
        assert sorted(instance.get_dynamic_partitions("dataset")) == ["another", "pictures"]
        [run] = instance.get_runs()
        assert (run.job_name, run.status) == ("promote", dg.DagsterRunStatus.SUCCESS)
        marked = [event.dagster_event for event in instance.all_logs(run.run_id) if event.is_dagster_event]
        stages = [event.asset_key.path[-1] for event in marked if event.is_step_materialization]
        assert stages == list(STAGES)
        latest = [instance.get_latest_materialization_event(dg.AssetKey(stage)) for stage in STAGES]
        assert {event.asset_materialization.partition for event in latest} == {"pictures"}
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]
