"""What was deleted from the index is promoted by nobody, and ``remove`` says what stays."""

import json
from types import SimpleNamespace

import pytest

from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.errors import RecordNotFoundError
from atdata_pipelines.config.partitions import add_keys

DELETED = ("dropped", "removed")


@pytest.fixture
def deleted(lab):
    """``deleted.insert()`` puts two datasets in, and ``deleted.delete()`` takes them out again.

    One as another program does it, the other as its owner does it here.
    """

    def insert():
        for number, name in enumerate(DELETED, 1):
            lab.insert(name, start=10 * number)

    def delete():
        entry = lab.index.get_entry_by_name("dropped")
        lab.index.redis.delete(f"LocalDatasetEntry:{entry.cid}")
        lab.index.remove("removed")

    return SimpleNamespace(insert=insert, delete=delete)


@pytest.fixture
def published(lab, promote):
    lab.insert("pictures")
    return promote("pictures")


def test_the_sensor_leaves_what_was_deleted_and_takes_it_up_when_it_is_back(lab, tick, deleted):
    deleted.insert()
    deleted.delete()
    lab.insert("kept")
    for _ in range(2):
        assert [request.partition_key for request in tick().run_requests] == ["kept"]
    deleted.insert()
    assert {request.partition_key for request in tick().run_requests} == {*DELETED, "kept"}


def test_the_sensor_asks_for_one_name_alone_that_is_added_to_data_whose_names_were_deleted(lab, tick):
    entry = lab.insert("pictures")
    lab.register("pictures again", entry.data_urls)
    assert {request.partition_key for request in tick().run_requests} == {"pictures", "pictures again"}
    lab.index.redis.delete(f"LocalDatasetEntry:{entry.cid}")
    lab.register("new name", entry.data_urls)
    for _ in range(2):
        assert [request.partition_key for request in tick().run_requests] == ["new name"]


def test_what_is_deleted_after_the_sensor_has_seen_it_is_not_asked_for_again(tick, deleted):
    deleted.insert()
    assert {request.partition_key for request in tick().run_requests} == {*DELETED}
    deleted.delete()
    for _ in range(2):
        assert tick().run_requests == []


def test_a_run_that_was_queued_before_the_deletion_fails_and_says_why(lab, run, deleted, stranger, account):
    deleted.insert()
    for name in DELETED:
        assert run(name, stages=["local_dataset", "published_schema"]).success
    deleted.delete()
    for name in DELETED:
        for stages in (None, ["copied_shards", "atmosphere_record"]):
            result = run(name, stages=stages)
            assert not result.success
            failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
            assert any(
                f"has no dataset '{name}'" in str(failure.user_failure_data.description) for failure in failures
            )
    assert stranger.list_records(ENTRY, repo=account.did)[0] == []


@pytest.mark.parametrize(
    "said", [{"pattern": "*"}, {"datasets": [*DELETED, "kept"]}, {}], ids=["like", "named", "due"]
)
def test_a_bulk_leaves_what_was_deleted(lab, run_bulk, deleted, stranger, account, said):
    deleted.insert()
    lab.insert("kept")
    deleted.delete()
    result = run_bulk(**said)
    assert result.success is ("datasets" not in said)
    assert [record.value["name"] for record in stranger.list_records(ENTRY, repo=account.did)[0]] == ["kept"]


def test_the_nightly_schedule_leaves_what_was_deleted(lab, night, deleted):
    deleted.insert()
    deleted.delete()
    assert "published and unchanged" in night().skip_message
    lab.insert("kept")
    assert [request.tags["datasets"] for request in night().run_requests] == ["1"]


def test_the_command_promotes_nothing_that_was_deleted(command, deleted):
    deleted.insert()
    deleted.delete()
    # With a license each is promoted in a run of its own.
    result = command("promote", *DELETED, "--license", "MIT")
    assert result.exit_code == 1
    for name in DELETED:
        assert f"has no dataset '{name}'" in result.stderr


def test_the_partition_of_a_deleted_dataset_is_one_that_prune_removes(lab, command, instance, monkeypatch, deleted):
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    deleted.insert()
    lab.insert("kept")
    add_keys(instance, [*DELETED, "kept"])
    deleted.delete()
    assert command("prune", "--yes").exit_code == 0
    assert instance.get_dynamic_partitions("dataset") == ["kept"]


def test_status_tells_what_is_published_of_a_deleted_dataset(promote, command, deleted):
    deleted.insert()
    published = {name: promote(name) for name in DELETED}
    deleted.delete()
    for name, uri in published.items():
        text = command("status", name).stdout
        assert text.startswith(
            f"{name}: removed\n  the dataset is not in the index any more; what was published of it stays\n"
        )
        assert uri in text
        found = json.loads(command("status", name, "--json").stdout)
        told = (found["state"], found["uri"], len(found["records"]), len(found["labels"]))
        assert told == ("removed", uri, 1, 1)
    rows = command("status").stdout.splitlines()[1:]
    assert sorted(row.split()[:2] for row in rows) == [[name, "removed"] for name in DELETED]


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
