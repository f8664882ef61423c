"""Runs that automation conditions start, where a team prefers them: nothing is passed over, nothing runs away."""

from datetime import timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.promotion.inventory import cid_of
from atdata_pipelines.automation.entry_marks import PATIENCE
from atdata_pipelines.components.dataset_promotion import promotion_definitions
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import STAGES, Settings, Tag
from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, JOB, BulkConfig, bulk_config, run_config

DECLARED = {"dagster/from_automation_condition": "true"}


@dg.asset
def rendered() -> None: ...


SETTINGS = Settings(key_prefix=("declared",), automation=True, upstream=rendered.key, bulk_from=3)


@pytest.fixture(scope="module")
def definitions():
    """Those of a team with conditions; to resolve them takes longer than most tests."""
    defs = dg.Definitions.merge(dg.Definitions(assets=[rendered]), promotion_definitions(SETTINGS))
    jobs = {name: defs.resolve_job_def(SETTINGS.named(name)) for name in (JOB, BULK_JOB)}
    return SimpleNamespace(all=defs, jobs=jobs)


@pytest.fixture
def team(definitions, sensor_of, promote, instance, lab):
    """A team's sensor, conditions and runs."""
    settings = SETTINGS
    state = SimpleNamespace(cursor=None)
    sensor = sensor_of(settings)

    def requested():
        """What the conditions ask for now: by stage the partitions."""
        found = dg.evaluate_automation_conditions(
            definitions.all, instance, dg.AssetSelection.all(), cursor=state.cursor
        )
        state.cursor = found.cursor
        asked = {stage: found.get_requested_partitions(settings.key(stage)) for stage in STAGES}
        return {stage: partitions for stage, partitions in asked.items() if partitions}

    def run(name, stages=STAGES, tags=None):
        add_keys(instance, [name], settings)
        config = run_config(settings=settings) if "atmosphere_record" in stages else None
        return definitions.jobs[JOB].execute_in_process(
            partition_key=name,
            instance=instance,
            raise_on_error=False,
            run_config=config,
            asset_selection=[settings.key(stage) for stage in stages],
            tags=tags,
        )

    def bulk(**said):
        return definitions.jobs[BULK_JOB].execute_in_process(
            instance=instance, raise_on_error=False, run_config=bulk_config(BulkConfig(**said), settings)
        )

    def partitions():
        return set(instance.get_dynamic_partitions(settings.partitions_name))

    def promoted(name):
        """Publish it as a run does, with what Dagster has of the stages then."""
        promote(name)
        add_keys(instance, [name], settings)
        tags = {Tag.DATA_VERSION: cid_of(lab.index.get_entry_by_name(name)), Tag.DATA_VERSION_IS_GIVEN: "true"}
        for key in settings.keys:
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=name, tags=tags))

    return SimpleNamespace(
        settings=settings,
        sensor=sensor,
        requested=requested,
        run=run,
        bulk=bulk,
        promoted=promoted,
        partitions=partitions,
    )


def all_stages(*names):
    return {stage: set(names) for stage in STAGES}


# A whole run, as the conditions start it.
def test_conditions_ask_for_one_run_of_a_new_dataset_and_of_a_changed_one_and_the_sensor_for_none(lab, team):
    assert team.requested() == {}
    lab.insert("fresh")
    found = team.sensor()
    assert (found.run_requests, team.partitions()) == ([], {"fresh"})
    assert "left to automation conditions: fresh (missing or changed)" in found.skip_message
    assert team.requested() == all_stages("fresh")
    assert team.sensor().run_requests == []
    assert team.requested() == {}
    assert team.run("fresh", tags=DECLARED).success
    assert "1 dataset looked at is published" in team.sensor().skip_message
    # Other data, before the conditions have seen that the run ended.
    lab.insert("fresh", start=6)
    assert team.sensor().run_requests == []
    assert team.requested() == all_stages("fresh")


def test_a_dataset_whose_run_failed_is_asked_for_again_after_its_pause(lab, team, clock):
    entry = lab.insert("good", metadata={"promote": False})
    team.requested()
    lab.register("gone", f"s3://{lab.bucket}/not-there.tar")
    team.sensor()
    assert team.requested() == all_stages("gone")
    assert not team.run("gone").success
    found = team.sensor()
    assert "failed, tried again later: gone" in found.skip_message
    assert (found.asset_events, team.requested()) == ([], {})
    clock.passes(timedelta(hours=1))
    assert team.sensor().run_requests == []
    assert team.requested() == all_stages("gone")
    lab.register("gone", entry.data_urls)
    assert [event.partition for event in team.sensor().asset_events] == ["gone"]


def test_an_upstream_without_partitions_asks_for_nothing(lab, team, instance):
    lab.insert("first")
    for name in ("first", "second", "third"):
        add_keys(instance, [name], team.settings)
    team.promoted("first")
    team.requested()
    dg.materialize([rendered], instance=instance)
    assert team.requested() == {}


def test_what_was_there_before_the_first_evaluation_is_promoted_by_the_sensor(lab, team, clock):
    entry = lab.insert("backlog")
    assert [event.partition for event in team.sensor().asset_events] == ["backlog"]
    assert team.requested() == {}
    found = team.sensor()
    assert (found.asset_events, found.run_requests) == ([], [])
    clock.passes(PATIENCE + timedelta(minutes=1))
    [request] = team.sensor().run_requests
    assert (request.partition_key, request.run_key.rsplit("@", 2)[0]) == ("backlog", f"backlog@{entry.cid}")


# A whole run of many: what it marks must start no other.
def test_more_than_a_few_go_through_one_run_and_ask_for_no_other(lab, team):
    team.requested()
    entry = lab.insert("many-0")
    for number in range(1, 4):
        lab.register(f"many-{number}", entry.data_urls)
    found = team.sensor()
    assert [(request.job_name, request.tags["datasets"]) for request in found.run_requests] == [
        (team.settings.named(BULK_JOB), "4")
    ]
    assert (found.asset_events, team.requested()) == ([], {})
    names = found.run_requests[0].run_config["ops"][team.settings.named("promote_datasets")]["config"]["datasets"]
    assert team.bulk(datasets=names).success
    assert team.requested() == {}


def test_what_is_published_or_not_to_be_promoted_is_asked_for_by_nobody(lab, team):
    lab.insert("published")
    team.promoted("published")
    lab.insert("private", start=6, metadata={"promote": False})
    team.requested()
    found = team.sensor()
    assert (found.run_requests, found.asset_events, team.requested()) == ([], [], {})
    assert team.partitions() == {"published", "private"}


def test_a_stage_that_is_materialised_alone_pulls_those_after_it(lab, team):
    lab.insert("pulled")
    team.promoted("pulled")
    team.requested()
    assert team.run("pulled", stages=["published_schema"]).success
    assert team.requested() == {stage: {"pulled"} for stage in ("copied_shards", "atmosphere_record")}
    assert team.requested() == {}


def test_a_run_that_a_person_stopped_is_left_alone(lab, team, instance, clock):
    team.requested()
    lab.insert("stopped")
    team.sensor()
    assert team.requested() == all_stages("stopped")
    instance.add_run(
        dg.DagsterRun(
            job_name="__ASSET_JOB",
            status=dg.DagsterRunStatus.CANCELED,
            tags={**DECLARED, "dagster/partition": "stopped"},
            asset_selection=frozenset(team.settings.keys),
        )
    )
    clock.passes(PATIENCE + timedelta(minutes=1))
    found = team.sensor()
    assert found.run_requests == []
    assert "was stopped by a person" in found.skip_message


def test_what_was_deleted_by_hand_is_not_restored_by_a_condition(lab, team, account):
    lab.insert("deleted")
    team.promoted("deleted")
    client = AtmosphereClient()
    client.login(account.handle, account.password)
    [record], _ = client.list_records(ENTRY)
    client.delete(ENTRY, record.uri.rsplit("/", 1)[1])
    assert not team.run("deleted", tags=DECLARED).success
    assert client.list_records(ENTRY)[0] == []
