"""``atdata-pipelines prune``: partitions whose dataset is gone leave Dagster, and nothing else does."""

import pytest

from atdata_core.local.entry import dataset_key
from atdata_pipelines.cli.commands import prune_command as prune_command
from atdata_pipelines.config import partitions
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import Settings


def keys(instance):
    return set(instance.get_dynamic_partitions("dataset"))


@pytest.fixture
def home(empty_instance, monkeypatch):
    """The instance, as DAGSTER_HOME names it."""
    monkeypatch.setenv("DAGSTER_HOME", empty_instance.root_directory)
    return empty_instance


def test_partitions_without_a_dataset_go_and_what_is_published_stays(lab, run, home, command, stranger):
    lab.insert("pictures")
    lab.insert("kept", start=6)
    published = run("pictures").asset_materializations_for_node("atmosphere_record")[0].metadata["at_uri"].value
    add_keys(home, ["kept", "never-there"])
    lab.index.redis.delete(dataset_key("pictures"))
    for key in lab.index.redis.scan_iter("LocalDatasetEntry:*"):
        if lab.index.redis.hget(key, "name") == b"pictures":
            lab.index.redis.delete(key)
    asked = command("prune")
    assert asked.exit_code == 1
    head, *names = asked.stdout.splitlines()
    assert head == "3 of at most 100,000 partitions; the dataset of 2 is gone"
    assert [name.strip() for name in names] == ["pictures", "never-there"]
    assert "Say --yes" in asked.stderr
    assert keys(home) == {"pictures", "kept", "never-there"}
    done = command("prune", "--yes")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "removed 2 partitions, 1 are left"
    assert keys(home) == {"kept"}
    assert stranger.get_record(published)
    assert command("prune").stdout == "1 of at most 100,000 partitions; the dataset of 0 is gone\n"


def test_an_empty_index_is_taken_for_the_wrong_one(account_environ, home, command):
    add_keys(home, ["a", "b"])
    result = command("prune", "--yes")
    assert result.exit_code == 1
    assert "has no dataset at all" in result.stderr
    assert keys(home) == {"a", "b"}


def test_a_dataset_that_comes_back_while_a_person_thinks_keeps_its_partition(lab, home, command, monkeypatch):
    lab.insert("pictures")
    add_keys(home, ["pictures", "slow", "gone"])

    def answered(question, *, yes):
        lab.register("slow", f"s3://{lab.bucket}/slow.tar")

    monkeypatch.setattr(prune_command.context, "confirm", answered)
    assert command("prune").stdout.splitlines()[-1] == "removed 1 partitions, 2 are left"
    assert keys(home) == {"pictures", "slow"}


def test_a_long_list_is_cut_unless_it_is_asked_for(lab, home, command, monkeypatch):
    monkeypatch.setattr(prune_command, "EVERY", 20)
    lab.insert("pictures")
    add_keys(home, [f"d{number:03d}" for number in range(60)])
    assert command("prune").stdout.splitlines()[-1] == "  and 10 more (--all shows them)"
    assert len(command("prune", "--all").stdout.splitlines()) == 61
    assert command("prune", "--yes").stderr.splitlines() == [f"  {done} of 60" for done in (20, 40, 60)]
    assert keys(home) == set()


def test_names_of_the_index_are_listed_without_reading_entries(crowd, round_trips, home, command):
    from atdata_core.local import LocalIndex

    index = LocalIndex(crowd(600))
    add_keys(home, [f"gone{number}" for number in range(3)])
    found = []
    # One step over 3,000 keys for other programs' entries and the mark that all was looked at; two pages of 500
    # names with a look whether each has an entry; and the end of the names.
    assert round_trips.of(lambda: found.extend(partitions.gone_keys(home, index))) == 7
    assert found == ["gone0", "gone1", "gone2"]


@pytest.mark.parametrize(
    ("given", "said"),
    [("", "DAGSTER_HOME is not set"), ("relative", "no absolute path"), ("/nowhere/at/all", "is no folder")],
)
def test_a_home_that_is_none_is_said_in_one_line(lab, command, monkeypatch, given, said):
    monkeypatch.setenv("DAGSTER_HOME", given)
    result = command("prune", "--yes")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert said in line


def test_the_partitions_of_a_component_are_those_of_its_prefix(lab, home, command):
    lab.insert("kept")
    settings = Settings(key_prefix=("lab", "images"))
    add_keys(home, ["kept", "gone"], settings)
    add_keys(home, ["gone"])
    done = command("prune", "--yes", "--key-prefix", "lab/images")
    assert done.exit_code == 0, done.output
    assert home.get_dynamic_partitions(settings.partitions_name) == ["kept"]
    assert keys(home) == {"gone"}


@pytest.mark.parametrize(
    ("given", "said"),
    [("lab/image", "Near it: lab/images."), ("nosuch", "There are: lab/images, sounds.")],
    ids=["near", "far"],
)
def test_a_prefix_that_nothing_has_is_refused_with_those_that_there_are(lab, home, command, given, said):
    for prefix in ("lab", "images"), ("sounds",), ():
        add_keys(home, ["gone"], Settings(key_prefix=prefix))
    result = command("prune", "--yes", "--key-prefix", given)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: Dagster has no partitions under the key prefix {given}. {said}\n"
