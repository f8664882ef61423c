"""Many published datasets are checked in one run, each on the checks of its own partition."""

from datetime import datetime, timedelta

import dagster as dg
import pytest

from atdata_core.atmosphere.record_format.build import label_record
from atdata_core.atmosphere.record_format.record_keys import LABEL, label_rkey
from atdata_pipelines.assets.check_config import CHECKS
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.resources import AtprotoResource
from atdata_pipelines.config.settings import Settings
from atdata_pipelines.jobs.verification_jobs import VERIFY_JOB

LOOKS = dg.AssetKey("verification")


@pytest.fixture
def verify_many(instance, defined):
    def run(partitions=(), *, pattern="*", **config):
        add_keys(instance, partitions)
        job = defined(Settings(pattern=pattern)).resolve_job_def(VERIFY_JOB)
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {"verify_datasets": {"config": config}}} if config else None,
        )
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        logs = instance.all_logs(result.run_id, of_type=kind)
        found = [each.dagster_event.asset_check_evaluation_data for each in logs]
        failed = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
        return {(each.partition, each.check_name): each.passed for each in found}, failed

    return run


def test_all_that_is_published_is_looked_at_and_nothing_else(publish, lab, verify_many):
    publish("first")
    publish("second", start=6)
    lab.insert("never published", start=12)
    found, failed = verify_many(["first", "second", "never published"])
    assert found == {(name, check): True for name in ("first", "second") for check in CHECKS}
    assert failed == []


def test_what_is_not_as_published_fails_the_run_and_stands_in_its_table(publish, verify_many, spoil, stranger):
    publish("first")
    url = stranger.get_record(publish("second", start=6)).value["storage"]["shards"][0]["url"]
    spoil(url)
    found, [failure] = verify_many(["first", "second"])
    wrong = {("second", "shards_as_published"), ("second", "samples_of_published_schema")}
    assert {key for key, passed in found.items() if not passed} == wrong
    assert failure.description.startswith("1 of 2 datasets are not as published")
    rows = [record.data for record in failure.metadata["failed_table"].records]
    assert {(row["dataset"], row["check"]) for row in rows} == wrong
    assert all(url in row["problem"] for row in rows)


def test_a_warning_does_not_fail_the_run(lab, promote, verify_many):
    lab.insert("pictures")
    promote("pictures")
    found, failed = verify_many(["pictures"])
    assert {check for (_, check), passed in found.items() if not passed} == {
        "readable_anonymously",
        "license_known",
    }
    assert failed == []


def test_a_dataset_that_is_named_and_not_published_is_an_error(lab, verify_many):
    lab.insert("fresh")
    found, [failure] = verify_many(["fresh"], datasets=["fresh"])
    assert (found, "has published nothing under the name 'fresh'" in failure.description) == ({}, True)


def test_the_weekly_look_reads_one_shard_of_each(publish, verify_many, instance, defined):
    publish("first")
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime(2026, 1, 4, 4)) as context:
        weekly = defined().get_repository_def().get_schedule_def("weekly_verification")
        [request] = weekly.evaluate_tick(context).run_requests
    assert request.run_key == "2026-01-04"
    said = request.run_config["ops"]["verify_datasets"]["config"]
    assert said["sample"] == 1
    found, failed = verify_many(["first"], **said)
    assert (len(found), failed) == (len(CHECKS), [])


@pytest.fixture
def looks(instance):
    """What each look at everything has said of itself, the last one first."""

    def told():
        records = instance.fetch_materializations(LOOKS, limit=1_000).records
        return [record.asset_materialization.metadata["datasets"].value for record in records]

    return told


def first_shard(stranger, uri):
    return stranger.get_record(uri).value["storage"]["shards"][0]["url"]


def test_what_is_published_under_another_name_is_looked_at_with_the_dataset(publish, verify_many, spoil, stranger):
    shared = publish("one", under="public-name")
    publish("one", start=6)
    assert verify_many(["one"]) == ({("one", check): True for check in CHECKS}, [])
    spoil(first_shard(stranger, shared))
    found, [failure] = verify_many(["one"])
    assert len(found) == len(CHECKS)
    assert {check for (_, check), passed in found.items() if not passed} == {
        "shards_as_published",
        "samples_of_published_schema",
    }
    assert failure.description.startswith("1 of 2 datasets are not as published")
    assert {row.data["dataset"] for row in failure.metadata["failed_table"].records} == {"one as public-name"}


def test_what_is_published_and_no_partition_any_more_is_looked_at(publish, verify_many, looks, spoil, stranger):
    publish("first")
    url = first_shard(stranger, publish("second", start=6))
    assert verify_many() == ({}, [])
    assert looks()[0] == 2
    spoil(url)
    found, [failure] = verify_many(["first"])
    assert found == {("first", check): True for check in CHECKS}
    rows = [row.data for row in failure.metadata["failed_table"].records]
    assert {row["dataset"] for row in rows} == {"second"}
    assert all(url in row["problem"] for row in rows)


def test_a_look_at_nothing_is_none_where_there_are_labels(publish, verify_many, looks):
    record = label_record(
        name="images-1", dataset_uri="at://x", version=None, created_at="2026-01-01T00:00:00.000Z"
    )
    # As another program makes it.
    AtprotoResource().client().create_once(LABEL, "3jzfcijpj2z2a", record)
    before = looks()
    assert verify_many(pattern="images-*") == ({}, [])
    assert looks() == before
    # An instance that takes no such names has nothing published.
    assert verify_many(pattern="others-*") == ({}, [])
    assert looks() == [0, *before]
    publish("images-2")
    assert verify_many(pattern="images-*") == ({}, [])
    assert looks() == [1, 0, *before]


def test_a_label_that_was_edited_by_hand_costs_no_other_dataset_its_look(publish, lab, verify_many):
    publish("first")
    client = AtprotoResource().client()
    rkey = label_rkey(client.did, "broken")
    record = label_record(name="broken", dataset_uri="at://x", version=None, created_at="2026-01-01T00:00:00.000Z")
    client.create_once(LABEL, rkey, {**record, "datasetUri": "at://not a uri"})
    found, [failure] = verify_many(["first"])
    assert found == {("first", check): True for check in CHECKS}
    assert {row.data["dataset"] for row in failure.metadata["failed_table"].records} == {"broken"}


def test_a_look_at_everything_is_fresh_until_the_next_one_is_late(publish, verify_many, instance, defined):
    key = LOOKS
    publish("first")
    before = len(instance.fetch_materializations(key, limit=100).records)
    verify_many(["first"], datasets=["first"])
    assert len(instance.fetch_materializations(key, limit=100).records) == before
    verify_many(["first"])
    assert len(instance.fetch_materializations(key, limit=100).records) == before + 1
    shown = instance.get_latest_materialization_event(key).asset_materialization.metadata
    assert (shown["datasets"].value, shown["failed_checks"].value) == (1, 0)
    policy = defined().get_repository_def().asset_graph.get(key).freshness_policy
    windows = policy.warn_window.to_timedelta(), policy.fail_window.to_timedelta()
    assert windows == (timedelta(days=7, hours=6), timedelta(days=8))
    never = defined(Settings(verification_cron=None)).get_repository_def().asset_graph.get(key)
    assert never.freshness_policy is None


def test_without_a_ledger_labels_tell_what_is_published(publish, lab, verify_many):
    publish("first")
    for key in lab.index.redis.scan_iter("atdata:ledger:*"):
        lab.index.redis.delete(key)
    assert {name for name, _ in verify_many(["first", "other"])[0]} == {"first"}
