"""The files in ``deploy/``, held against the packages that read them."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance import InstanceRef

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


@pytest.fixture
def needs():
    """Skip without a package; `make` installs all, so in CI that fails."""

    def check(module):
        if find_spec(module) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{module} is not installed")
            pytest.skip(f"{module} is not installed")

    return check


def checked(part):
    """The configuration of a part of an instance, as its own class takes it."""
    module = __import__(part.module_name, fromlist=[part.class_name])
    made = getattr(module, part.class_name)
    result = process_config(resolve_to_config_type(made.config_type()), yaml.safe_load(part.config_yaml))
    assert result.success, [error.message for error in result.errors]
    return result.value


def test_the_instance_of_several_machines_is_one_that_dagster_takes(needs, monkeypatch):
    needs("dagster_postgres")
    for name in ("HOST", "USER", "PASSWORD", "DB"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", f"the-{name.lower()}")
    ref = InstanceRef.from_dir(str(DEPLOY))
    checked(ref.compute_logs_data)
    checked(ref.run_coordinator_data)
    for part in (ref.run_storage_data, ref.event_storage_data, ref.schedule_storage_data):
        assert part.module_name.startswith("dagster_postgres")
        assert checked(part)["postgres_db"]["password"] == "the-password"
    # What is kept with each run names the variable.
    assert "the-password" not in str(ref)
    pools = ref.settings["concurrency"]["pools"]
    assert (pools["granularity"], pools["default_limit"]) == ("op", 4)


def test_it_differs_from_that_of_one_machine_only_where_it_has_to():
    here, there = (yaml.safe_load((folder / "dagster.yaml").read_text()) for folder in (ROOT, DEPLOY))
    for same in ("telemetry", "run_retries", "python_logs"):
        assert there[same] == here[same]
    assert set(there) - set(here) == {"storage", "compute_logs"}


def test_without_its_storage_an_instance_opens_with_it(tmp_path):
    settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    del settings["storage"]
    with dg.DagsterInstance.local_temp(str(tmp_path), settings) as instance:
        assert instance.run_retries_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds == 2 * 24 * 3600
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 4


def test_the_command_of_the_page_limits_the_pool_of_the_pipeline(tmp_path, monkeypatch):
    from click.testing import CliRunner
    from dagster._cli import create_dagster_cli

    from atdata_pipelines.definitions import defs

    page = (ROOT / "docs" / "deployment.md").read_text()
    [command] = re.findall(r"^    dagster (instance concurrency .*)$", page, flags=re.MULTILINE)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    answer = CliRunner().invoke(create_dagster_cli(), command.split())
    assert answer.exit_code == 0, answer.output
    with dg.DagsterInstance.get() as instance:
        [limit] = instance.event_log_storage.get_pool_limits()
    job = defs.load_fn().resolve_job_def("promote")
    assert (limit.name, limit.limit) == ("pds", 2)
    assert {
        name: job.get_node_named(name).definition.pool for name in ("published_schema", "atmosphere_record")
    } == {
        "published_schema": "pds",
        "atmosphere_record": "pds",
    }


def as_python(values):
    """A key of Helm's values, as the chart hands it to Dagster."""
    return {re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower(): value for key, value in values.items()}


def test_the_values_for_kubernetes_are_those_that_its_run_launcher_takes(needs):
    needs("dagster_k8s")
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    from atdata_pipelines.executors import executor_named

    values = yaml.safe_load((DEPLOY / "k8s-values.yaml").read_text())
    launcher = as_python(values["runLauncher"]["config"]["k8sRunLauncher"])
    launcher["env_secrets"] = [secret["name"] for secret in launcher["env_secrets"]]
    pods = as_python(launcher.pop("run_k8s_config"))
    # How the chart names the instance and the accounts; it sets these itself.
    of_chart = {"dagster_home": "/h", "service_account_name": "dagster", "instance_config_map": "dagster"}
    told = {**of_chart, **launcher, "run_k8s_config": pods}
    result = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), told)
    assert result.success, [error.message for error in result.errors]
    config = UserDefinedDagsterK8sConfig.from_dict(pods)
    assert config.container_config["resources"]["limits"] == {"memory": "2Gi"}
    assert values["runLauncher"]["type"] == K8sRunLauncher.__name__
    [deployment] = values["dagster-user-deployments"]["deployments"]
    chosen = {variable["name"]: variable["value"] for variable in deployment["env"]}
    assert launcher["env_vars"] == [f"{name}={value}" for name, value in chosen.items()]
    assert isinstance(executor_named(chosen["ATDATA_EXECUTOR"]), dg.ExecutorDefinition)
    assert find_spec(deployment["dagsterApiGrpcArgs"][1]) is not None
