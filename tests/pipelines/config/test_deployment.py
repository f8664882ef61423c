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

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
NOWHERE = {
    "current-context": "nowhere",
    "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
    "clusters": [{"name": "nowhere", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "nobody", "user": {}}],
}
"""Of a cluster that nothing is asked of."""
HANDED_ON = {"env": "env", "volume_mounts": "volumeMounts", "volumes": "volumes"}


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
    for same in ("telemetry", "nux", "run_retries", "python_logs"):
        assert there[same] == here[same]
    assert set(there) - set(here) == {"storage", "compute_logs"}


def test_the_welcome_window_of_the_ui_is_off_where_the_settings_of_the_project_hold(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path), yaml.safe_load((ROOT / "dagster.yaml").read_text())) as made:
        assert made.nux_enabled is False


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

    page = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
    [command] = re.findall(r"^dagster (instance concurrency .*)$", page, flags=re.MULTILINE)
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
    """Helm's values, their keys as the chart hands them to Dagster."""
    return {re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower(): value for key, value in values.items()}


@pytest.fixture
def values():
    """Helm's values for Kubernetes."""
    return yaml.safe_load((DEPLOY / "k8s-values.yaml").read_text())


@pytest.fixture
def launcher(values, needs):
    """The configuration of the run launcher, as the chart makes it of the values; Dagster takes it."""
    needs("dagster_k8s")
    from dagster_k8s import K8sRunLauncher

    assert values["runLauncher"]["type"] == K8sRunLauncher.__name__
    given = as_python(values["runLauncher"]["config"]["k8sRunLauncher"])
    given["env_secrets"] = [secret["name"] for secret in given["env_secrets"]]
    given["run_k8s_config"] = as_python(given["run_k8s_config"])
    # How the chart names the instance and the accounts; it sets these itself.
    of_chart = {"dagster_home": "/h", "service_account_name": "dagster", "instance_config_map": "dagster"}
    result = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), {**of_chart, **given})
    assert result.success, [error.message for error in result.errors]
    return result.value


def test_the_values_for_kubernetes_are_those_that_its_run_launcher_takes(values, launcher):
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    from atdata_pipelines.config.executors import executor_named

    config = UserDefinedDagsterK8sConfig.from_dict(launcher["run_k8s_config"])
    assert config.container_config["resources"]["limits"] == {"memory": "2Gi"}
    [deployment] = values["dagster-user-deployments"]["deployments"]
    chosen = {variable["name"]: variable["value"] for variable in deployment["env"]}
    assert launcher["env_vars"] == [f"{name}={value}" for name, value in chosen.items()]
    assert isinstance(executor_named(chosen["ATDATA_EXECUTOR"]), dg.ExecutorDefinition)
    assert find_spec(deployment["dagsterApiGrpcArgs"][1]) is not None


@pytest.mark.parametrize("handed_on", [True, False])
def test_pods_of_runs_and_of_steps_share_a_folder_for_what_is_counted(values, launcher, tmp_path, handed_on):
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import construct_dagster_k8s_job

    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(NOWHERE))
    told = {**launcher, "load_incluster_config": False, "kubeconfig_file": str(tmp_path / "kubeconfig")}
    made = K8sRunLauncher(**told)
    [deployment] = values["dagster-user-deployments"]["deployments"]
    # What the chart hands on to runs, where includeConfigInLaunchedRuns is on: not a second volume of that name.
    context = {key: deployment[name] for key, name in HANDED_ON.items()} if handed_on else {}
    repository = RepositoryPythonOrigin(
        "python", ModuleCodePointer("atdata_pipelines.definitions", "defs"), "image", None, {"k8s": context}
    )
    run = dg.DagsterRun(job_name="promote", job_code_origin=JobPythonOrigin("promote", repository))
    # As the launcher does for a run, and the executor for a step.
    for of_run in (True, False):
        pods = K8sContainerContext.create_for_run(run, made, include_run_tags=of_run)
        job = construct_dagster_k8s_job(
            pods.get_k8s_job_config("image", made), [], "job", user_defined_k8s_config=pods.run_k8s_config
        )
        spec = job.to_dict()["spec"]["template"]["spec"]
        [container] = spec["containers"]
        # Beside that of the instance's settings.
        [volume] = [volume for volume in spec["volumes"] if volume["persistent_volume_claim"]]
        [mount] = [mount for mount in container["volume_mounts"] if mount["name"] == volume["name"]]
        assert volume["persistent_volume_claim"]["claim_name"] == "atdata-state"
        named = {variable["value"] for variable in container["env"] if variable["name"] == "ATDATA_STATE_DIR"}
        assert named == {mount["mount_path"]}


def test_the_chart_that_the_page_installs_is_that_of_the_installed_dagster():
    page = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
    assert re.findall(r"^helm upgrade .* --version (\S+) ", page, flags=re.MULTILINE) == [dg.__version__]


def test_the_values_for_kubernetes_limit_runs_and_pools_as_the_file_of_the_instance_does(values, tmp_path):
    given = values["concurrency"]
    assert given.pop("enabled")
    concurrency = {part: as_python(limits) for part, limits in given.items()}
    assert concurrency == yaml.safe_load((DEPLOY / "dagster.yaml").read_text())["concurrency"]
    daemon = values["dagsterDaemon"]
    coordinator = {"module": "dagster._core.run_coordinator", "class": daemon["runCoordinator"]["type"]}
    settings = {
        "concurrency": concurrency,
        "run_coordinator": coordinator,
        "run_monitoring": as_python(daemon["runMonitoring"]),
        "run_retries": as_python(daemon["runRetries"]),
    }
    with dg.DagsterInstance.local_temp(str(tmp_path), settings) as instance:
        limits = instance.get_concurrency_config()
        assert limits.run_queue_config.max_concurrent_runs == 25
        assert limits.pool_config.default_pool_limit == 4
        assert instance.run_monitoring_enabled
