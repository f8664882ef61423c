"""The command line promotes as the defs.yaml of the project says that it is started in."""

import shutil
import sys
from types import SimpleNamespace

import dagster as dg
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_pipelines.cli.project import only_settings, settings_here
from atdata_pipelines.components import DatasetPromotion
from atdata_pipelines.components.dataset_promotion import InstanceError
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import STAGES, Settings

TYPE = "atdata_pipelines.components.DatasetPromotion"
PROJECT = '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "lab_team"\n'


@pytest.fixture
def team(tmp_path, monkeypatch):
    """A project of a team, in which commands are started; ``team.has(name, ...)`` gives it an instance."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "lab_team" / "defs"
    folder.mkdir(parents=True)
    (tmp_path / "lab_team" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)

    def has(name, **attributes):
        (folder / name).mkdir(exist_ok=True)
        # YAML reads JSON, too.
        lines = [f"  {attribute}: {value!r}" for attribute, value in attributes.items()]
        (folder / name / "defs.yaml").write_text("\n".join([f"type: {TYPE}", "attributes:", *lines, ""]))

    yield SimpleNamespace(has=has, folder=folder, root=tmp_path)
    for module in [name for name in sys.modules if name.split(".")[0] == "lab_team"]:
        del sys.modules[module]


@pytest.fixture
def home(instance, monkeypatch):
    """The instance of these tests, as DAGSTER_HOME names it."""
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    return instance


def images(team, lab, box, **more):
    """An instance for images-*, with a destination of its own and a license."""
    destination = {"bucket": lab.bucket, "public_url": f"{box.public_url}/{lab.bucket}"}
    team.has("images", key_prefix="images", pattern="images-*", destination=destination, license="CC0-1.0", **more)


def marked(instance, key, name):
    return instance.get_latest_materialization_event(key) is not None and name in (
        instance.get_materialized_partitions(key)
    )


def values(stranger, line):
    return stranger.get_record(line.split()[-1]).value


def test_a_dataset_goes_through_the_instance_of_the_project(team, lab, box, command, home, stranger):
    images(team, lab, box, require_license=True)
    lab.insert("images-one")
    result = command("promote", "images-one")
    assert result.exit_code == 0, result.output
    record = values(stranger, result.stdout)
    assert record["license"] == "CC0-1.0"
    assert f"{box.public_url}/{lab.bucket}/promoted/images-one/" in str(record)
    first_words = [line.split()[0] for line in result.stderr.splitlines() if line.startswith("  ")]
    assert tuple(word for word in first_words if word.endswith(STAGES)) == STAGES
    assert all(marked(home, dg.AssetKey(["images", stage]), "images-one") for stage in STAGES)
    assert not marked(home, dg.AssetKey("atmosphere_record"), "images-one")
    assert "images-one" in home.get_dynamic_partitions("images__dataset")
    assert "images-one" not in home.get_dynamic_partitions("dataset")
    own = command("promote", "images-one", "--license", "MIT")
    assert values(stranger, own.stdout)["license"] == "MIT"


def test_stages_are_told_by_their_names_whatever_a_team_calls_its_assets(team, lab, box, command, home):
    images(team, lab, box, translation={"key": "imaging/{{ stage }}"})
    lab.insert("images-one")
    result = command("promote", "images-one")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stderr.splitlines() if line.split()[0].endswith(STAGES)] == [*STAGES]
    assert result.output.count(result.stdout.split()[-1]) == 1
    assert marked(home, dg.AssetKey(["imaging", "atmosphere_record"]), "images-one")


def test_what_is_planned_retracted_and_restored_goes_by_the_instance_too(team, lab, box, command, home, objects):
    images(team, lab, box)
    lab.insert("images-one")
    planned = command("plan", "images-one").stdout
    assert f"/{lab.bucket}\n  copy      2 shards" in planned
    promoted = command("promote", "images-one").stdout
    assert command("plan", "images-one", "--json").stdout.count('"keep"') == 4
    refused = command("plan", "other")
    assert (refused.exit_code, "their names are like images-*" in refused.stderr) == (1, True)
    copies = [key for key in objects(lab.bucket) if key.startswith("promoted/")]
    gone = command("retract", "images-one", "--shards", "--yes")
    assert gone.exit_code == 0, gone.output
    assert len(copies) == 2
    assert not set(copies) & set(objects(lab.bucket))
    assert command("promote", "images-one").stdout.split()[-1] == promoted.split()[-1]


def test_what_is_gone_is_restored_as_the_instance_says(team, lab, box, command, home, account, stranger):
    images(team, lab, box)
    lab.insert("images-one")
    uri = command("promote", "images-one").stdout.split()[-1]
    before = stranger.get_record(uri).value
    client = AtmosphereClient()
    client.login(account.handle, account.password)
    client.delete(*uri.split("/")[3:])
    restored = command("reconcile", "--restore")
    assert restored.exit_code == 0, restored.output
    assert stranger.get_record(uri).value == before


def test_a_key_of_the_destination_is_read_from_its_variable(team, lab, box, command, monkeypatch, s3):
    destination = {
        "bucket": lab.bucket,
        "public_url": f"{box.public_url}/{lab.bucket}",
        "access_key_id_env": "OPEN_KEY",
        "secret_access_key_env": "OPEN_SECRET",
    }
    team.has("images", key_prefix="images", destination=destination)
    lab.insert("images-one")
    for what in ("plan", "promote"):
        assert "OPEN_KEY is not set." in command(what, "images-one").stderr
    monkeypatch.setenv("OPEN_KEY", s3["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv("OPEN_SECRET", s3["AWS_SECRET_ACCESS_KEY"])
    assert f"/{lab.bucket}\n  copy      2 shards" in command("plan", "images-one").stdout
    assert command("promote", "images-one").exit_code == 0


def test_partitions_of_the_only_instance_are_pruned_and_of_several_the_one_that_is_named(team, lab, command, home):
    team.has("images", key_prefix="images")
    lab.insert("images-one")
    add_keys(home, ["images-one", "gone"], Settings(key_prefix=("images",)))
    assert command("prune", "--yes").stdout.splitlines()[-1].startswith("removed 1 partition, ")
    assert "gone" not in home.get_dynamic_partitions("images__dataset")
    team.has("tables", key_prefix="tables")
    several = command("prune", "--yes")
    assert several.exit_code == 1
    assert "more than one instance: images (pattern: *), tables (pattern: *)" in several.stderr
    assert command("prune", "--yes", "--key-prefix", "images").exit_code == 0


def test_a_name_outside_its_pattern_is_refused_and_becomes_no_partition(team, lab, box, command, home):
    images(team, lab, box)
    lab.insert("other")
    for names in (["other"], ["other", "others"]):
        result = command("promote", *names)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "'other' is not one of the datasets that are promoted here" in result.stderr or len(names) > 1
    assert "other" not in home.get_dynamic_partitions("images__dataset")


def test_each_of_several_goes_to_the_instance_whose_pattern_it_fits(team, lab, box, command, home, stranger):
    images(team, lab, box)
    team.has("tables", key_prefix=["lab", "tables"], pattern="*-table", license="MIT")
    team.has("rest", key_prefix="rest", pattern="*-one")
    first = lab.insert("images-two")
    for name in ("images-three", "a-table", "nowhere", "images-one"):
        lab.register(name, first.data_urls)
    result = command("promote", "images-two", "images-three", "a-table", "nowhere", "images-one")
    assert result.exit_code == 1
    promoted = {line.split(":")[0]: values(stranger, line)["license"] for line in result.stdout.splitlines()}
    assert promoted == {"images-two": "CC0-1.0", "images-three": "CC0-1.0", "a-table": "MIT"}
    assert marked(home, dg.AssetKey(["lab", "tables", "atmosphere_record"]), "a-table")
    none, many, *_ = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "No instance of this project takes 'nowhere'" in none
    assert "lab/tables (pattern: *-table)" in none
    assert "More than one instance of this project takes 'images-one'" in many
    assert many.endswith("--key-prefix images")
    assert result.stderr.splitlines()[-1] == "2 of 5 datasets were not promoted: nowhere, images-one"
    chosen = command("promote", "images-one", "--key-prefix", "rest")
    assert chosen.exit_code == 0, chosen.output
    assert marked(home, dg.AssetKey(["rest", "atmosphere_record"]), "images-one")


def test_a_prefix_that_no_instance_has_is_told_with_those_that_there_are(team, command):
    team.has("images", key_prefix="images", pattern="images-*")
    result = command("promote", "images-one", "--key-prefix", "imges")
    assert result.exit_code == 1
    assert "has the key prefix 'imges'. Near it: images. There is: images (pattern: images-*)" in result.stderr


def test_instances_are_found_from_folders_below_also_those_that_python_makes(team, monkeypatch):
    team.has("images", key_prefix="images", cron=None)
    (team.folder / "made.py").write_text(
        "import dagster as dg\n"
        "from atdata_pipelines.components import DatasetPromotion\n"
        "@dg.component_instance\n"
        "def made(context):\n"
        "    return DatasetPromotion(key_prefix='made')\n"
    )
    monkeypatch.chdir(team.folder / "images")
    expected = [Settings(key_prefix=("images",), cron=None), Settings(key_prefix=("made",))]
    assert sorted(settings_here(), key=lambda each: each.key_prefix) == expected
    assert settings_here("made") == expected[1:]
    with pytest.raises(InstanceError, match=r"more than one instance: .*--key-prefix images"):
        only_settings()


def test_the_instance_of_the_checkout_holds_outside_of_any_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings_here() == [Settings()]


@pytest.mark.parametrize("emptied", ["components", "folder"])
def test_a_project_without_an_instance_has_the_default_one(team, emptied):
    if emptied == "folder":
        shutil.rmtree(team.folder)
    assert settings_here() == [Settings()]


def test_a_project_that_does_not_load_is_told_in_one_line(team, command):
    (team.folder / "broken.py").write_text("raise RuntimeError('no such\\nwarehouse')\n")
    result = command("promote", "images-one")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert str(team.root) in line
    assert line.endswith("RuntimeError: no such warehouse. `dg check defs` tells more.")


def test_an_attribute_that_is_wrong_is_told_with_its_component(team, command):
    team.has("images", key_prefix="images", cron="61 * * * *")
    said = command("promote", "images-one").stderr
    assert "component images[0]: cron: Value error, '61 * * * *' is no cron expression" in said


def test_two_instances_with_the_same_names_are_told_with_their_places(team, command):
    team.has("first", key_prefix="lab__t")
    team.has("second", key_prefix="lab/t")
    result = command("promote", "images-one")
    said = "defs/first[0] (key_prefix: lab__t) and defs/second[0] (key_prefix: lab/t) would both have a job"
    assert said in result.stderr
    with pytest.raises(Exception, match="Error while building definitions") as caught:
        dg.load_from_defs_folder(path_within_project=team.root)
    error = caught.value
    while error.__cause__ is not None:
        error = error.__cause__
    assert said in str(error)


def test_an_instance_by_itself_has_definitions_too():
    from dagster.components.core.load_defs import build_defs_for_component

    defs = build_defs_for_component(DatasetPromotion(key_prefix="alone"))
    assert defs.resolve_job_def("alone__promote")
