"""What was deleted from the index is promoted by nobody, and ``remove`` says what stays."""

import json

import pytest

from atdata_core.atmosphere.record_format.nsids import ENTRY
from atdata_core.errors import RecordNotFoundError
from atdata_pipelines.config.partitions import add_keys


@pytest.fixture(params=["DEL", "remove"])
def delete(request, lab):
    """Delete a dataset as another program does, or as its owner does here."""

    def by(name):
        entry = lab.index.get_entry_by_name(name)
        if request.param == "remove":
            lab.index.remove(name)
        else:
            lab.index.redis.delete(f"LocalDatasetEntry:{entry.cid}")

    return by


@pytest.fixture
def published(lab, command):
    lab.insert("pictures")
    return command("promote", "pictures").stdout.split()[-1]


def test_the_sensor_leaves_what_was_deleted_and_takes_it_up_when_it_is_back(lab, tick, delete):
    lab.insert("pictures")
    delete("pictures")
    lab.insert("kept", start=6)
    for _ in range(2):
        assert [request.partition_key for request in tick().run_requests] == ["kept"]
    lab.insert("pictures")
    assert {request.partition_key for request in tick().run_requests} == {"pictures", "kept"}


def test_what_is_deleted_after_the_sensor_has_seen_it_is_not_asked_for_again(lab, tick, delete):
    lab.insert("pictures")
    assert [request.partition_key for request in tick().run_requests] == ["pictures"]
    delete("pictures")
    for _ in range(2):
        assert tick().run_requests == []


def test_a_run_that_was_queued_before_the_deletion_fails_and_says_why(lab, run, delete, stranger, account):
    lab.insert("pictures")
    assert run("pictures", stages=["local_dataset", "published_schema"]).success
    delete("pictures")
    for stages in (None, ["copied_shards", "atmosphere_record"]):
        result = run("pictures", stages=stages)
        assert not result.success
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        assert any(
            "has no dataset 'pictures'" in str(failure.user_failure_data.description) for failure in failures
        )
    assert stranger.list_records(ENTRY, repo=account.did)[0] == []


@pytest.mark.parametrize(
    "said", [{"pattern": "*"}, {"datasets": ["pictures", "kept"]}, {}], ids=["like", "named", "due"]
)
def test_a_bulk_leaves_what_was_deleted(lab, run_bulk, empty_instance, delete, stranger, account, said):
    lab.insert("pictures")
    lab.insert("kept", start=6)
    delete("pictures")
    result = run_bulk(**said)
    assert result.success is ("datasets" not in said)
    assert [record.value["name"] for record in stranger.list_records(ENTRY, repo=account.did)[0]] == ["kept"]


def test_the_nightly_schedule_leaves_what_was_deleted(lab, night, empty_instance, delete):
    lab.insert("pictures")
    delete("pictures")
    assert "published and unchanged" in night().skip_message
    lab.insert("kept", start=6)
    assert [request.tags["datasets"] for request in night().run_requests] == ["1"]


def test_the_command_promotes_nothing_that_was_deleted(lab, command, delete):
    lab.insert("pictures")
    delete("pictures")
    result = command("promote", "pictures")
    assert result.exit_code == 1
    assert "has no dataset 'pictures'" in result.stderr


def test_the_partition_of_a_deleted_dataset_is_one_that_prune_removes(
    lab, command, empty_instance, monkeypatch, delete
):
    monkeypatch.setenv("DAGSTER_HOME", empty_instance.root_directory)
    lab.insert("pictures")
    lab.insert("kept", start=6)
    add_keys(empty_instance, ["pictures", "kept"])
    delete("pictures")
    assert command("prune", "--yes").exit_code == 0
    assert empty_instance.get_dynamic_partitions("dataset") == ["kept"]


def test_status_tells_what_is_published_of_a_deleted_dataset(lab, published, command, delete):
    delete("pictures")
    text = command("status", "pictures").stdout
    assert text.startswith("pictures: removed\n  is not in the index any more; what was published of it stays\n")
    assert published in text
    found = json.loads(command("status", "pictures", "--json").stdout)
    assert (found["state"], found["uri"], len(found["records"]), len(found["labels"])) == (
        "removed",
        published,
        1,
        1,
    )
    [row] = command("status").stdout.splitlines()[1:]
    assert row.split()[:2] == ["pictures", "removed"]


def test_remove_shows_what_goes_and_what_stays_and_asks(lab, published, command):
    entry = lab.index.get_entry_by_name("pictures")
    result = command("remove", "pictures")
    assert result.exit_code == 1
    assert "Say --yes" in result.stderr
    head, *lines = result.stdout.splitlines()
    assert head == f"pictures, {lab.index!r}"
    assert f"  entry  {entry.cid}" in lines
    assert "  stays  the shards, where they are" in lines
    assert f"  stays  {published}" in lines
    assert "atdata-pipelines retract pictures" in lines[-1]
    assert lab.index.get_entry_by_name("pictures") == entry


def test_remove_takes_a_dataset_from_the_index_and_nothing_else(
    lab, published, command, stranger, objects, monkeypatch
):
    shards = objects(lab.bucket)
    result = command("remove", "pictures", "--yes")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "pictures: removed 1 entry")
    assert list(lab.index.names()) == []
    assert objects(lab.bucket) == shards
    assert stranger.get_record(published)
    assert command("retract", "pictures", "--all-versions", "--yes").exit_code == 0
    with pytest.raises(RecordNotFoundError):
        stranger.get_record(published)
    again = command("remove", "pictures", "--yes")
    assert again.exit_code == 1
    assert "has no dataset 'pictures'" in again.stderr


def test_remove_of_a_name_that_is_not_there_is_one_line_with_those_near_it(lab, command):
    lab.insert("pictures")
    result = command("remove", "pictoures", "--yes")
    [line] = result.stderr.splitlines()
    assert (result.exit_code, line.endswith("Near it: pictures.")) == (1, True)
