"""Where steps are done: what can be chosen, and what Celery is told."""

import os
import subprocess
import sys
from importlib.util import find_spec

import dagster as dg
import pytest

from atdata_core.errors import RefusedError
from atdata_pipelines.config.executors import broker_url, default_executor, executor_config, executor_named


def test_without_a_word_the_process_of_the_run_does_all_of_it(monkeypatch):
    assert default_executor() is dg.in_process_executor
    monkeypatch.setenv("ATDATA_EXECUTOR", " ")
    assert default_executor() is dg.in_process_executor
    monkeypatch.setenv("ATDATA_EXECUTOR", "multiprocess")
    assert default_executor() is dg.multiprocess_executor


def test_a_wrong_name_is_refused_with_those_that_there_are():
    with pytest.raises(RefusedError) as refusal:
        executor_named("cellery")
    said = str(refusal.value)
    assert "'cellery'. Near it: celery." in said
    assert "There are: in-process, multiprocess, celery, k8s (ATDATA_EXECUTOR" in said


@pytest.mark.parametrize(("name", "module"), [("celery", "dagster_celery"), ("k8s", "dagster_k8s")])
def test_an_executor_without_its_package_says_what_to_install(monkeypatch, name, module):
    # As `import` sees a package that is not there.
    def missing(wanted):
        raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(RefusedError, match=rf'pip install "atdata-pipelines\[{name}\]"'):
        executor_named(name)


def test_an_import_that_fails_inside_of_the_package_is_no_missing_package(monkeypatch):
    def broken(wanted):
        raise ModuleNotFoundError("No module named 'kombu'", name="kombu")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="kombu"):
        executor_named("celery")


def test_the_definitions_take_the_executor_of_the_environment(monkeypatch):
    from atdata_pipelines.definitions import defs

    monkeypatch.setenv("ATDATA_EXECUTOR", "multiprocess")
    assert defs.load_fn().executor is dg.multiprocess_executor
    monkeypatch.setenv("ATDATA_EXECUTOR", "nonsense")
    with pytest.raises(RefusedError, match="There is no executor 'nonsense'"):
        defs.load_fn()


@pytest.mark.parametrize(
    ("index", "given", "broker"),
    [
        ("redis://h:6379/0", None, "redis://h:6379/1"),
        ("redis://h", None, "redis://h/1"),
        ("redis://h/15", None, "redis://h/0"),
        ("redis://u:p%40w@h:1/3", None, "redis://u:p%40w@h:1/4"),
        ("redis://h?db=4&health_check_interval=3", None, "redis://h/5?health_check_interval=3"),
        ("rediss://h/0", None, "rediss://h/1?ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=none", None, "rediss://h/1?ssl_cert_reqs=none"),
        ("redis://h/0", "redis://other:1/7", "redis://other:1/7"),
        ("unix:///run/redis.sock", "redis://other", "redis://other/0"),
    ],
)
def test_steps_wait_in_a_database_beside_that_of_the_index(monkeypatch, index, given, broker):
    monkeypatch.setenv("ATDATA_REDIS_URL", index)
    if given is not None:
        monkeypatch.setenv("ATDATA_CELERY_URL", given)
    assert broker_url() == broker


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "Neither ATDATA_CELERY_URL nor ATDATA_REDIS_URL is set"),
        ({"ATDATA_REDIS_URL": "unix:///run/redis.sock"}, "Set ATDATA_CELERY_URL to redis://host:port/database"),
        ({"ATDATA_CELERY_URL": "amqp://u:hunter2@h"}, "ATDATA_CELERY_URL is no Redis URL"),
        ({"ATDATA_CELERY_URL": "redis://u:hunter2/x@h"}, "ATDATA_CELERY_URL is no Redis URL"),
    ],
)
def test_what_celery_cannot_use_is_refused_without_being_repeated(monkeypatch, variables, reason):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RefusedError, match=reason) as refusal:
        broker_url()
    assert "hunter2" not in str(refusal.value)


def test_the_password_of_the_broker_is_masked(monkeypatch):
    from atdata_core.secrets import masked

    monkeypatch.setenv("ATDATA_CELERY_URL", "redis://u:queue-hunter2@h/1")
    assert "queue-hunter2" not in masked("AUTH u queue-hunter2 failed")


@pytest.mark.slow
def test_to_choose_an_executor_imports_no_package_of_another_one():
    # Long: only a new process has imported nothing yet.
    code = (
        "import sys; from atdata_pipelines.config.executors import executor_named; executor_named('in-process');"
        "print({'celery', 'kombu', 'kubernetes', 'redis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "set()", "")


@pytest.fixture
def celery():
    """The extra, which `make` installs."""
    if find_spec("dagster_celery") is None:
        if os.environ.get("CI"):
            pytest.fail("the extra celery is not installed")
        pytest.skip("the extra celery is not installed")


@pytest.mark.usefixtures("celery")
def test_what_the_celery_executor_is_told_stands_in_no_configuration(monkeypatch):
    monkeypatch.setenv("ATDATA_REDIS_URL", "redis://u:hunter2@h/0")
    made = executor_named("celery")
    assert made.config_schema.config_type.fields == {}
    assert "hunter2" not in repr(vars(made))
    told = executor_config()
    assert told["broker"] == told["backend"] == "redis://u:hunter2@h/1"
