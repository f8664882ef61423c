"""What was published without Dagster is shown as materialised, once."""

import dagster as dg
import pytest

from atdata_pipelines.automation import outside_publications
from atdata_pipelines.config.settings import STAGES


@pytest.fixture
def marks(instance):
    """How often each stage of a dataset was materialised."""

    def of(name):
        found = [
            instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey(stage), asset_partitions=[name]), limit=10
            ).records
            for stage in STAGES
        ]
        return [len(records) for records in found]

    return of


def test_a_dataset_that_the_library_published_is_materialised_once(lab, tick, promote, instance, marks):
    entry = lab.insert("pictures")
    uri = promote("pictures")
    assert tick().run_requests == []
    assert marks("pictures") == [1, 1, 1, 1]
    for stage in STAGES:
        assert instance.get_materialized_partitions(dg.AssetKey(stage)) == {"pictures"}
    mark = instance.get_latest_materialization_event(dg.AssetKey("atmosphere_record")).asset_materialization
    assert (mark.metadata["at_uri"].value, mark.tags["dagster/data_version"]) == (uri, entry.cid)
    assert tick().asset_events == []
    assert marks("pictures") == [1, 1, 1, 1]


# Two promotions: only of the second one Dagster does not know.
def test_new_data_that_were_published_outside_are_reported_and_what_a_run_published_is_not(
    lab, tick, run, promote, marks
):
    lab.insert("pictures")
    assert run("pictures").success
    assert tick().asset_events == []
    lab.insert("pictures", start=6)
    promote("pictures")
    assert len(tick().asset_events) == len(STAGES)
    assert marks("pictures") == [2, 2, 2, 2]


def test_what_a_run_is_about_to_mark_is_left_to_it(lab, tick, promote, instance):
    lab.insert("pictures")
    promote("pictures")
    tags = {"dagster/partition": "pictures"}
    instance.add_run(dg.DagsterRun("promote", tags=tags, status=dg.DagsterRunStatus.STARTED))
    assert tick().asset_events == []


def test_a_retracted_dataset_fails_its_check_in_dagster_once_until_it_is_promoted_again(
    lab, tick, run, promote, command, instance
):
    lab.insert("pictures")
    assert run("pictures").success
    key = dg.AssetCheckKey(dg.AssetKey("atmosphere_record"), "record_resolves")

    def seen():
        [found] = instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).values()
        return found.event.dagster_event.asset_check_evaluation_data

    assert seen().passed
    assert command("retract", "pictures", "--yes").exit_code == 0
    [told] = tick().asset_events
    assert (seen().passed, seen().partition, told.partition) == (False, "pictures", "pictures")
    assert "retracted" in seen().description
    assert tick().asset_events == []
    assert run("pictures").success
    assert seen().passed
    assert tick().asset_events == []


def test_one_tick_reports_some_and_the_next_ones_the_rest(lab, tick, promote, instance, monkeypatch, round_trips):
    monkeypatch.setattr(outside_publications, "MOST", 1)
    entry = lab.insert("one")
    lab.register("two", entry.data_urls)
    for name in ("one", "two"):
        promote(name)
    reported: list[int] = []
    trips = [round_trips.of(lambda: reported.append(len(tick().asset_events))) for _ in range(3)]
    assert reported == [4, 4, 0]
    # The first one knows neither the partitions nor the schema.
    assert trips[1:] == [3, 3]
    assert instance.get_materialized_partitions(dg.AssetKey("atmosphere_record")) == {"one", "two"}
