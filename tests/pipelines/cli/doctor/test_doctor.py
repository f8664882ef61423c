"""``atdata-pipelines doctor``: what a promotion needs is looked at, and what is wrong is told with its mend."""

import json
import os
import re
import stat
import threading
from importlib import metadata
from pathlib import Path

import pytest

from atdata_core.errors import EntryNotFoundError
from atdata_pipelines.cli.doctor import CHECKS, dagster_check, examine
from atdata_pipelines.cli.doctor.check import Check
from atdata_pipelines.cli.doctor.environment_check import VARIABLES
from atdata_pipelines.config import partitions
from atdata_pipelines.config.settings import Settings


@pytest.fixture(autouse=True)
def no_variable_of_the_tests_own(monkeypatch):
    monkeypatch.delenv("ATDATA_UPSTREAM_PYTHON", raising=False)


def test_all_is_well_in_a_lab_that_is_set_up(lab, published, command, monkeypatch, objects, tmp_path):
    # Long: every check, with databases of Dagster on disk as they are everywhere.
    lab.insert("pictures")
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    before = objects(published)
    result = command("doctor")
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    assert last == "0 errors, 0 warnings", result.stdout
    assert {line.split()[0] for line in lines} == {"ok"}
    for check in CHECKS:
        assert sum(line[9:].startswith(f"{check.name}  ") for line in lines) >= 1, check.name
    assert objects(published) == before
    assert os.environ["ATDATA_APP_PASSWORD"] not in result.output
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in result.output


def test_it_tells_programs_and_ends_with_one_where_something_is_an_error(environ, command, monkeypatch):
    monkeypatch.setenv("ATDATA_REDIS_URL", "redis://127.0.0.1:1/0")
    result = command("doctor", "--json")
    assert result.exit_code == 1
    said = [json.loads(line) for line in result.stdout.splitlines()]
    states = {each["check"]: each["state"] for each in said}
    assert states["redis"] == "error"
    assert {states[name] for name in ("redis memory", "redis storage", "shards")} == {"skipped"}
    assert (states["pds"], states["s3"], states["login"]) == ("ok", "ok", "ok")
    assert "Redis at 127.0.0.1:1 does not answer" in result.stderr
    assert "not looked at: see redis" in result.stderr


# -- what this machine has --------------------------------------------------------------------------------------


def test_the_variables_are_those_of_the_example():
    example = (Path(__file__).resolve().parents[4] / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z0-9_]+)=", example, flags=re.MULTILINE)) == set(VARIABLES)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ATDATA_HANDLE", "@alice", "ATDATA_HANDLE is no handle"),
        ("ATDATA_HANDLE", "", "ATDATA_HANDLE is not set"),
        ("ATDATA_REDIS_URL", "redis://:hunter2/x@127.0.0.1:6379/0", "ATDATA_REDIS_URL is no URL of Redis"),
        ("ATDATA_PDS_URL", "bsky.social", "ATDATA_PDS_URL is no http(s) URL"),
        ("ATDATA_PLC_URL", "https://[x", "ATDATA_PLC_URL is no http(s) URL"),
        ("ATDATA_S3_ENDPOINT", "http://me:hunter2@localhost:9000", "ATDATA_S3_ENDPOINT carries a user or password"),
        ("ATDATA_WRITE_BUDGET", "much", "ATDATA_WRITE_BUDGET is neither points"),
        ("AWS_SECRET_ACCESS_KEY", "", "AWS_ACCESS_KEY_ID is set, but not AWS_SECRET_ACCESS_KEY"),
        ("DAGSTER_HOME", "relative", "DAGSTER_HOME is no absolute path"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_an_error(doctor, environ, monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    [problem] = [finding for finding in doctor("variables").all if finding.state == "error"]
    assert said in problem.found
    assert problem.mend
    assert "hunter2" not in problem.found + problem.mend


def test_a_misspelt_variable_and_a_place_without_a_bucket_are_warnings(doctor, environ, monkeypatch):
    monkeypatch.setenv("ATDATA_" + "HANDEL", "alice.test")
    monkeypatch.setenv("ATDATA_PUBLISH_PUBLIC_URL", "https://data.example.org")
    [idle, misspelt, well] = doctor("variables").all
    assert (idle.state, misspelt.state, well.state) == ("warning", "warning", "ok")
    assert "nothing is copied" in idle.found
    assert "Near it: ATDATA_HANDLE" in misspelt.found


def test_what_comes_from_the_file_and_what_the_environment_overrides_is_told(
    doctor, environ, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        f"ATDATA_HANDLE={environ['ATDATA_HANDLE']}\nATDATA_PDS_URL=https://other.example\n"
    )
    _, same, other = doctor("variables").all
    assert (same.state, other.state) == ("ok", "warning")
    assert same.found.endswith("ATDATA_HANDLE")
    assert "something else for ATDATA_PDS_URL" in other.found


def test_the_state_folder_is_private_or_it_is_said(doctor, environ, state_folder, monkeypatch):
    state_folder.chmod(0o700)
    assert doctor("state folder").only("state folder").state == "ok"
    assert stat.S_IMODE(state_folder.stat().st_mode) == 0o700
    (state_folder / "open.json").touch(mode=0o644)
    (state_folder / "open.json").chmod(0o644)
    warning = doctor("state folder").only("state folder")
    assert (warning.state, warning.mend) == ("warning", f"chmod -R go= {state_folder}")
    monkeypatch.setenv("ATDATA_STATE_DIR", "/dev/null/x")
    assert doctor("state folder").only("state folder").state == "error"


def test_a_package_outside_the_range_is_named_with_what_installs_the_right_one(doctor, monkeypatch):
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "5.0.0" if name == "redis" else installed(name))
    finding = doctor("versions").only("versions")
    assert finding.state == "error"
    assert finding.found.startswith("redis is 5.0.0, not ")
    assert finding.mend.startswith("pip install 'redis")
    monkeypatch.undo()
    assert re.search("dagster [0-9.]+, dagster-aws [0-9.]+, redis ", doctor("versions").only("versions").found)


def test_the_range_of_an_extra_counts_only_where_the_extra_is_installed(doctor, monkeypatch):
    asked = ["redis", 'dagster-postgres; extra == "postgres"', 'sqlalchemy<2.1; extra == "postgres"']
    there = {"atdata-pipelines": "1", "redis": "7", "sqlalchemy": "2.1.9"}

    def version(name):
        try:
            return there[name]
        except KeyError:
            raise metadata.PackageNotFoundError(name) from None

    monkeypatch.setattr(metadata, "requires", lambda name: asked if name == "atdata-pipelines" else [])
    monkeypatch.setattr(metadata, "version", version)
    assert doctor("versions").only("versions").state == "ok"
    there["dagster-postgres"] = "0.29"
    assert doctor("versions").only("versions").found == "sqlalchemy is 2.1.9, not <2.1"


def test_another_python_and_a_package_that_is_not_installed_are_told(doctor, monkeypatch):
    monkeypatch.setattr("platform.python_version", lambda: "3.9.0")
    old, well = doctor("versions").of("versions")
    assert (old.state, well.state) == ("error", "ok")
    assert old.found.startswith("Python is 3.9.0, not ")
    installed = metadata.version

    def version(name):
        if name == "httpx":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    _, missing = doctor("versions").of("versions")
    assert missing.found.startswith("httpx is not installed, not ")

    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", unknown)
    assert doctor("versions").only("versions").state == "warning"


def test_dagster_home_and_the_number_of_partitions_are_told(doctor, environ, tmp_path, monkeypatch):
    unset = doctor("partitions")
    assert (unset.only("dagster home").state, unset.only("partitions").state) == ("warning", "skipped")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "nowhere"))
    wrong = doctor("partitions")
    assert (wrong.only("dagster home").state, wrong.only("partitions").state) == ("error", "skipped")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    bare = doctor("partitions")
    assert (bare.only("dagster home").state, bare.only("partitions").state) == ("warning", "ok")
    assert "no dagster.yaml" in bare.only("dagster home").found


@pytest.mark.parametrize(("count", "state"), [(8, "ok"), (9, "warning"), (10, "error")])
def test_a_limit_that_is_near_is_said_before_it_is_reached(doctor, instance, monkeypatch, count, state):
    monkeypatch.setattr(partitions, "MOST", 10)
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    partitions.add_keys(instance, [f"d{number}" for number in range(count)])
    finding = doctor("partitions").only("partitions")
    assert (finding.state, finding.found.partition(":")[0]) == (state, f"{count} of at most 10")
    assert ("prune" in finding.mend) == (state != "ok")


def test_the_partitions_of_each_component_are_counted_and_pruned_by_its_prefix(doctor, instance, monkeypatch):
    monkeypatch.setattr(partitions, "MOST", 10)
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    instance.add_dynamic_partitions("somebody_elses_dataset", ["x"])
    instances = {Settings(): 2, Settings(key_prefix=("images",)): 10, Settings(key_prefix=("lab", "sounds")): 9}
    monkeypatch.setattr(dagster_check, "settings_here", lambda: [*instances])
    for settings, count in instances.items():
        partitions.add_keys(instance, [f"d{number}" for number in range(count)], settings)
    own, images, sounds = doctor("partitions").of("partitions")
    assert (own.state, own.found) == ("ok", "2 of at most 10")
    assert (images.state, sounds.state) == ("error", "warning")
    assert images.found.startswith("10 of at most 10 under the key prefix images: ")
    assert "`atdata-pipelines prune --key-prefix images` " in images.mend
    assert "`atdata-pipelines prune --key-prefix lab/sounds` " in sounds.mend


@pytest.fixture
def home(tmp_path, monkeypatch):
    """``home(text)``: DAGSTER_HOME with these settings."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return (tmp_path / "dagster.yaml").write_text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("telemetri:\n  enabled: false\n", 'Received unexpected config entry "telemetri" at the root. Mend it'),
        ("storage:\n  sqlite:\n    base_dirr: /x\n", 'config entry "base_dir" at path root:storage:sqlite'),
        (
            "storage:\n  postgres:\n    postgres_url: {env: NOT_SET_HERE}\n",
            "takes NOT_SET_HERE from the environment",
        ),
        ("telemetry: [\n", "dagster.yaml cannot be used: while parsing"),
    ],
    ids=["typo", "typo-below", "variable", "no-yaml"],
)
def test_settings_that_dagster_does_not_take_are_told_in_a_line_with_a_way_out(
    doctor, command, lab, home, settings, said
):
    home(settings)
    found = doctor("partitions")
    storage = found.only("dagster storage")
    assert (storage.state, found.only("partitions").state) == ("error", "skipped")
    assert said in storage.found
    assert len(storage.found) < 500
    for line in command("prune", "--yes"), command("promote", "pictures"):
        assert line.exit_code == 1
        assert line.stderr.splitlines()[-1] == f"Error: {storage.found}"


def test_a_database_of_dagster_that_does_not_answer_is_told_without_its_password(
    doctor, command, lab, home, monkeypatch, caplog
):
    pytest.importorskip("dagster_postgres")
    monkeypatch.setenv("THE_DATABASE", "postgresql+psycopg2://me:hunter2@127.0.0.1:1/dagster")
    home("storage:\n  postgres:\n    postgres_url: {env: THE_DATABASE}\n")
    # Dagster tries again for eleven seconds.
    monkeypatch.setattr("dagster_postgres.utils.time.sleep", lambda seconds: None)
    storage = doctor("dagster storage").only("dagster storage")
    assert storage.state == "error"
    assert "Connection refused" in storage.found
    assert "dagster.yaml says that it is" in storage.found
    assert command("prune", "--yes").stderr == f"Error: {storage.found}\n"
    assert "hunter2" not in storage.found
    assert "Retrying" not in caplog.text


def test_a_check_that_hangs_or_breaks_holds_up_no_other():
    over = threading.Event()

    def hang(known):
        over.wait(30)
        yield

    def fail(known):
        yield from ()
        raise EntryNotFoundError("it is not there")

    def break_down(known):
        yield from ()
        raise OSError("Bearer abcdefghijklmnop123")

    checks = [
        Check("hangs", hang),
        Check("fails", fail),
        Check("breaks", break_down),
        Check("waits", fail, ("hangs",)),
    ]
    found = {finding.check: finding for finding in examine(checks, limit=0.2)}
    over.set()
    assert found["hangs"].found == "not done within 0.2 s"
    assert found["fails"].found == "it is not there"
    assert found["breaks"].found == "the check failed with OSError: Bearer ***"
    assert found["waits"].state == "skipped"
