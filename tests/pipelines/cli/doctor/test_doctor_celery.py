"""What ``atdata-pipelines doctor`` says of Celery's Redis, and of workers that are not there."""

import os
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from atdata_pipelines.config import executors


@pytest.fixture
def celery(environ, monkeypatch, new_redis_url):
    """Steps wait for workers, in a database of their own."""
    if find_spec("dagster_celery") is None:
        pytest.skip("the extra celery is not installed")
    monkeypatch.setenv("ATDATA_EXECUTOR", "celery")
    monkeypatch.setenv("ATDATA_CELERY_URL", new_redis_url())


@pytest.fixture
def worker(celery, tmp_path):
    """One that listens on ``copying``."""
    words = ["-A", "atdata_pipelines.workers", "worker", "-Q", "copying", "--pool", "solo", "-l", "INFO"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *words], cwd=tmp_path, env={**os.environ}, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 60
        while b"ready." not in (tmp_path / "log").read_bytes():
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_workers_are_not_looked_for_where_none_are_needed(doctor, environ):
    finding = doctor("workers").only("workers")
    assert (finding.state, finding.found) == ("ok", "none are needed: the executor is in-process")


def test_workers_are_looked_for_where_a_component_says_so(doctor, celery, monkeypatch, tmp_path):
    monkeypatch.delenv("ATDATA_EXECUTOR")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "dg.toml").write_text('[project]\nroot_module = "team_with_workers"\n')
    folder = tmp_path / "team_with_workers" / "defs"
    folder.mkdir(parents=True)
    for package in folder.parent, folder:
        (package / "__init__.py").touch()
    (folder / "defs.yaml").write_text(
        "type: atdata_pipelines.components.DatasetPromotion\nattributes: {executor: celery}\n"
    )
    assert [finding.state for finding in doctor("workers").of("workers")] == ["ok", "warning"]


def test_a_redis_of_celery_that_does_not_answer_or_wants_a_password_is_an_error(doctor, celery, monkeypatch):
    url = os.environ["ATDATA_CELERY_URL"]
    monkeypatch.setenv("ATDATA_CELERY_URL", "redis://:hunter2@127.0.0.1:1/3")
    dead = doctor("workers").only("workers")
    assert (dead.state, dead.found) == ("error", "Celery's Redis at 127.0.0.1:1 does not answer (ConnectionError)")
    assert "ATDATA_CELERY_URL" in dead.mend
    monkeypatch.setenv("ATDATA_CELERY_URL", url.replace("redis://", "redis://nobody:hunter2@"))
    refused = doctor("workers").only("workers")
    assert refused.found.endswith(" refused the user name or the password, or this user is switched off")
    assert "hunter2" not in refused.found + refused.mend


def test_a_queue_that_no_worker_listens_on_is_a_warning_with_the_command_that_starts_one(doctor, celery):
    answers, listening = doctor("workers").of("workers")
    assert (answers.state, listening.state) == ("ok", "warning")
    assert listening.found == "no worker listens on copying and publishing: runs wait there"
    assert listening.mend == "celery -A atdata_pipelines.workers worker -Q copying,publishing"


@pytest.mark.slow
def test_workers_that_listen_are_counted_for_each_queue(doctor, worker):
    # Long: a real worker, which takes seconds to import what it works with.
    _, alone = doctor("workers").of("workers")
    assert (alone.state, alone.found) == ("warning", "no worker listens on publishing: runs wait there")
    with executors.celery_app() as app, app.connection_for_write() as connection:
        app.control.add_consumer("publishing", reply=True, timeout=1.0, connection=connection)
    _, both = doctor("workers").of("workers")
    assert (both.state, both.found) == ("ok", "1 on copying, 1 on publishing")
