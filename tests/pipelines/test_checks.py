import dagster as dg
import pytest

from atdata_pipelines.checks import CHECKS
from atdata_pipelines.partitions import add_keys
from atdata_pipelines.pipeline import promotion_definitions


@pytest.fixture(scope="module")
def definitions():
    return promotion_definitions()


@pytest.fixture
def verify(definitions, instance):
    """Run the job ``verify`` for a dataset; the evaluations by check, or the reason of the failure."""
    job = definitions.resolve_job_def("verify")

    def run(name, **config):
        add_keys(instance, [name])
        result = job.execute_in_process(
            partition_key=name,
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {"verify_published": {"config": config}}} if config else None,
        )
        if not result.success:
            (failed,) = [event for event in result.all_events if event.is_step_failure]
            return failed.step_failure_data.user_failure_data.description
        return {found.check_name: found for found in evaluations(result)}

    return run


def evaluations(result):
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    return [event.asset_check_evaluation_data for event in result.all_events if event.event_type == kind]


def test_the_job_reports_all_checks_for_the_partition(publish, verify, instance):
    uri = publish()
    found = verify("pictures")
    assert list(found) == list(CHECKS)
    assert all(
        each.passed and each.partition == "pictures" and each.asset_key == dg.AssetKey("atmosphere_record")
        for each in found.values()
    )
    shown = found["shards_as_published"].metadata
    assert shown["at_uri"].value == uri
    assert (shown["shards"].value, shown["shards_checked"].value, shown["samples"].value) == (2, 2, 6)
    part = verify("pictures", sample=1)["shards_as_published"]
    assert (part.passed, part.metadata["shards_checked"].value) == (True, 1)
    kept = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(dg.AssetKey("atmosphere_record"), name) for name in CHECKS], partition_filter=None
    )
    assert {each.event.dagster_event.asset_check_evaluation_data.partition for each in kept.values()} == {
        "pictures"
    }


def test_a_check_that_fails_shows_what_differs(publish, verify, spoil, stranger):
    uri = publish()
    url = stranger.get_record(uri).value["storage"]["shards"][0]["url"]
    spoil(url)
    found = verify("pictures")
    assert {name for name, each in found.items() if not each.passed} == {
        "shards_as_published",
        "samples_of_published_schema",
    }
    shards = found["shards_as_published"]
    assert shards.severity == dg.AssetCheckSeverity.ERROR
    assert shards.description.startswith(f"{url}: other bytes")
    (row,) = shards.metadata["finding_table"].records
    assert (row.data["kind"], row.data["where"]) == ("differs", url)
    assert len(row.data["expected"]) == len(row.data["found"]) == 64


def test_shards_that_strangers_cannot_read_are_a_warning(lab, verify, run):
    lab.insert("pictures")
    assert run("pictures", said={"license": "MIT"}).success
    found = verify("pictures")
    assert {name for name, each in found.items() if not each.passed} == {"readable_by_strangers"}
    assert found["readable_by_strangers"].severity == dg.AssetCheckSeverity.WARN
    assert found["readable_by_strangers"].description == "0 of 2 shards can be read without a key."


def test_a_license_that_spdx_does_not_know_is_a_warning_that_says_what_may_be_meant(lab, verify, run):
    lab.insert("pictures")
    for given, said in (("CC BY 4.0", "Write CC-BY-4.0, or"), ("", "No license is given")):
        assert run("pictures", said={"license": given}).success
        found = verify("pictures")["license_known"]
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert said in found.description
    assert run("pictures", said={"license": "CC-BY-4.0"}).success
    assert verify("pictures")["license_known"].passed


def test_a_lost_ledger_is_no_obstacle_and_an_unpublished_dataset_is_named(publish, lab, verify):
    publish()
    for key in lab.index.redis.scan_iter("atdata:ledger:*"):
        lab.index.redis.delete(key)
    assert all(each.passed for each in verify("pictures").values())
    lab.insert("fresh")
    assert "has published nothing under the name 'fresh'" in verify("fresh")


def test_a_promotion_does_not_read_everything_again(lab, definitions, run, instance):
    lab.insert("pictures")
    assert evaluations(run("pictures")) == []
    # What "Materialize" of the asset's page starts: the stages, and by Dagster's rule their checks.
    result = (
        definitions.get_repository_def()
        .get_implicit_global_asset_job_def()
        .execute_in_process(
            partition_key="pictures", instance=instance, asset_selection=[dg.AssetKey("atmosphere_record")]
        )
    )
    assert result.success
    assert evaluations(result) == []


def test_the_checks_can_be_launched_one_by_one_for_a_partition(publish, definitions, instance):
    publish()
    add_keys(instance, ["pictures"])
    key = dg.AssetCheckKey(dg.AssetKey("atmosphere_record"), "record_resolves")
    job = (
        definitions.get_repository_def()
        .get_implicit_global_asset_job_def()
        .get_subset(asset_selection=set(), asset_check_selection={key})
    )
    result = job.execute_in_process(partition_key="pictures", instance=instance)
    (found,) = evaluations(result)
    assert (found.check_name, found.passed, found.partition) == ("record_resolves", True, "pictures")
    without = job.execute_in_process(instance=instance, raise_on_error=False)
    (failed,) = [event for event in without.all_events if event.is_step_failure]
    assert "Launch the job `verify`" in failed.step_failure_data.user_failure_data.description
