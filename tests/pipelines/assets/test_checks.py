import logging
from functools import partial

import dagster as dg
import pytest

from atdata_core.atmosphere.receipt import receipt_of
from atdata_core.atmosphere.record_format.record_keys import SCHEMA
from atdata_core.local import LocalDatasetEntry
from atdata_core.promotion.options import PromotionOptions
from atdata_core.promotion.stages.schema_stage import publish_schema
from atdata_core.state.index_state import state_of
from atdata_pipelines.assets import stage_steps
from atdata_pipelines.assets.check_config import CHECKS, VerifyManyConfig
from atdata_pipelines.config.partitions import add_keys
from atdata_pipelines.config.settings import STAGES, Settings
from atdata_pipelines.jobs.verification_jobs import verify_config

SEEN = {
    "record_resolves",
    "shards_as_published",
    "readable_anonymously",
    "schema_compatible",
    "license_known",
}
"""What a promotion answers itself."""


STRICT = Settings(options=PromotionOptions(require_public=True, require_license=True))


@pytest.fixture
def definitions(defined):
    return defined()


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


def test_what_the_network_has_not_seen_is_a_warning_and_the_run_succeeds(lab, run, verify, instance, monkeypatch):
    lab.register("pictures", lab.insert("pictures").data_urls, {"license": "MIT"})
    # Nobody listens there.
    monkeypatch.setenv("ATDATA_APPVIEW_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(stage_steps, "receipt_of", partial(receipt_of, wait=0))
    result = run("pictures")
    assert result.success
    found = {each.check_name: each for each in evaluations(result)}["seen_by_the_network"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "has not confirmed it" in found.description
    assert not verify("pictures")["seen_by_the_network"].passed
    monkeypatch.delenv("ATDATA_APPVIEW_URL")
    asked = verify("pictures")["seen_by_the_network"]
    assert asked.passed
    assert asked.description.startswith("Nobody was asked: neither ")


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
    assert shards.description.startswith(f"`{url}`: other bytes")
    (row,) = shards.metadata["finding_table"].records
    assert (row.data["kind"], row.data["where"]) == ("differs", url)
    assert len(row.data["expected"]) == len(row.data["found"]) == 64


def test_shards_that_strangers_cannot_read_are_a_warning(lab, verify, promote):
    lab.insert("pictures")
    promote("pictures", license="MIT")
    found = verify("pictures")
    assert {name for name, each in found.items() if not each.passed} == {"readable_anonymously"}
    assert found["readable_anonymously"].severity == dg.AssetCheckSeverity.WARN
    assert found["readable_anonymously"].description == "0 of 2 shards can be read without a key."


def test_a_license_that_spdx_does_not_know_is_a_warning_that_says_what_may_be_meant(lab, verify, promote):
    lab.insert("pictures")
    for given, said in (("CC BY 4.0", "Write CC-BY-4.0, or"), ("", "No license is given")):
        promote("pictures", license=given)
        found = verify("pictures")["license_known"]
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert said in found.description
    promote("pictures", license="CC-BY-4.0")
    assert verify("pictures")["license_known"].passed


def test_a_lost_ledger_is_no_obstacle_and_an_unpublished_dataset_is_named(publish, lab, verify):
    publish()
    for key in lab.index.redis.scan_iter("atdata:ledger:*"):
        lab.index.redis.delete(key)
    assert all(each.passed for each in verify("pictures").values())
    lab.insert("fresh")
    assert "has published nothing under the name 'fresh'" in verify("fresh")


# A whole run, a verification and "Materialize": each answers in its own way.
def test_a_promotion_answers_the_checks_that_it_has_seen_and_a_run_that_has_them_all_by_looking_at_a_part(
    lab, definitions, run, verify, instance, published
):
    entry = lab.insert("verified")
    for name in ("verified", "pictures"):
        lab.register(name, entry.data_urls, {"license": "MIT"})
        add_keys(instance, [name])
    seen = evaluations(run("verified"))
    assert {each.check_name: each.passed for each in seen} == dict.fromkeys(SEEN, True)
    key = dg.AssetKey("atmosphere_record")
    assert {(each.partition, each.asset_key) for each in seen} == {("verified", key)}
    assert len(verify("verified")) == len(CHECKS)
    # What "Materialize" starts: the stages, and by Dagster's rule their checks.
    job = definitions.get_repository_def().get_implicit_global_asset_job_def()
    keys = [dg.AssetKey(stage) for stage in STAGES]
    result = job.execute_in_process(partition_key="pictures", instance=instance, asset_selection=keys)
    assert [(each.check_name, each.passed) for each in evaluations(result)] == [(name, True) for name in CHECKS]
    assert {each.metadata["shards_checked"].value for each in evaluations(result)} == {1}
    said = [event.message for event in instance.all_logs(result.run_id)]
    assert not [line for line in said if "did not yield" in line]
    last = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(keys[-1], name) for name in CHECKS], partition_filter=None
    )
    assert {(each.run_id, each.partition, each.status.value) for each in last.values()} == {
        (result.run_id, "pictures", "SUCCEEDED")
    }


def test_what_a_promotion_warns_of_stands_on_the_checks_and_in_the_log(lab, run, instance):
    lab.insert("pictures")
    result = run("pictures", said={"license": "CC BY 4.0"})
    found = {each.check_name: each for each in evaluations(result)}
    assert {name for name, each in found.items() if not each.passed} == {"license_known", "readable_anonymously"}
    for name in ("license_known", "readable_anonymously"):
        assert found[name].severity == dg.AssetCheckSeverity.WARN
    assert "Write CC-BY-4.0" in found["license_known"].description
    assert found["readable_anonymously"].description == "0 of 2 shards can be read without a key."
    warned = [event.user_message for event in instance.all_logs(result.run_id) if event.level == logging.WARNING]
    assert [line for line in warned if "Write CC-BY-4.0" in line]


def test_shards_that_nobody_could_look_at_are_not_called_seen(lab, run, promote, monkeypatch):
    lab.insert("pictures")
    promote("pictures")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-key-of-this-service")
    result = run("pictures")
    assert result.success
    assert "shards_as_published" not in {each.check_name for each in evaluations(result)}


def test_a_bulk_answers_the_same_checks_for_each_dataset(lab, run_bulk, instance):
    lab.insert("one")
    lab.insert("two", metadata={"license": "MIT"})
    lab.register("gone", f"s3://{lab.bucket}/not-there.tar")
    result = run_bulk(datasets=["one", "two", "gone"])
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    events = instance.all_logs(result.run_id, of_type=kind)
    found = [event.dagster_event.asset_check_evaluation_data for event in events]
    failed = {(each.partition, each.check_name) for each in found if not each.passed}
    assert {(each.partition, each.check_name) for each in found} == {(n, c) for n in ("one", "two") for c in SEEN}
    assert failed == {("one", "license_known"), ("one", "readable_anonymously"), ("two", "readable_anonymously")}


def test_what_is_required_is_refused_before_anything_is_written(lab, run, run_bulk, stranger, account):
    lab.insert("pictures", metadata={"license": "mit license"})
    refused = run("pictures", said={"require_license": True})
    (failed,) = [event for event in refused.all_events if event.is_step_failure]
    assert failed.step_key == "published_schema"
    assert "Write MIT" in failed.step_failure_data.user_failure_data.description
    assert not run_bulk(datasets=["pictures"], require_license=True).success
    assert stranger.list_records(SCHEMA, repo=account.did)[0] == []
    said = {"require_license": True, "license": "MIT", "require_compatible": True}
    assert run("pictures", stages=["local_dataset", "published_schema"], said=said).success
    assert run_bulk(datasets=["pictures"], require_license=True, require_compatible=True).success


def test_what_is_required_is_no_mere_warning_when_it_holds_no_more(lab, instance, promote, defined):
    lab.insert("turned-private")
    promote("turned-private", license="MIT")
    settings, definitions = STRICT, defined(STRICT)
    add_keys(instance, ["turned-private"])
    one = definitions.resolve_job_def("verify").execute_in_process(
        partition_key="turned-private", instance=instance
    )
    found = {each.check_name: (each.passed, each.severity.value) for each in evaluations(one)}
    assert found["readable_anonymously"] == (False, "ERROR")
    assert found["license_known"] == (True, "ERROR")
    assert found["schema_compatible"] == (True, "WARN")
    many = definitions.resolve_job_def("verify_many").execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config=verify_config(VerifyManyConfig(datasets=["turned-private"]), settings),
    )
    (failed,) = [event for event in many.all_events if event.is_step_failure]
    [row] = failed.step_failure_data.user_failure_data.metadata["failed_table"].records
    assert row.data["problem"] == "0 of 2 shards can be read without a key."
    seen = definitions.resolve_job_def("promote").execute_in_process(
        partition_key="turned-private", instance=instance, raise_on_error=False
    )
    assert not seen.success


def test_a_promotion_tells_what_is_required_as_an_error_and_the_rest_as_a_warning(
    lab, instance, defined, published
):
    lab.insert("pictures", metadata={"license": "MIT"})
    add_keys(instance, ["pictures"])
    result = (
        defined(STRICT).resolve_job_def("promote").execute_in_process(partition_key="pictures", instance=instance)
    )
    found = {each.check_name: (each.passed, each.severity.value) for each in evaluations(result)}
    assert found == dict.fromkeys(SEEN, (True, "ERROR")) | {"schema_compatible": (True, "WARN")}


# A run that is refused, one that warns, and a verification.
def test_a_schema_that_breaks_with_the_version_before_is_a_warning_or_refused(lab, run, verify, account, stranger):
    from atdata_pipelines.config.resources import AtprotoResource

    entry = lab.insert("pictures")
    local = lab.index.get_schema(entry.schema_ref)
    earlier = {**local, "fields": [field for field in local["fields"] if field["name"] != "label"]}
    publish_schema(earlier, AtprotoResource().client(), state_of(lab.index).ledger)
    lab.index.publish_schema(lab.index.decode_schema(entry.schema_ref), version="1.1.0")
    ref = entry.schema_ref.replace("@1.0.0", "@1.1.0")
    lab.index.register(LocalDatasetEntry("pictures", ref, entry.data_urls, None))
    refused = run("pictures", said={"require_compatible": True})
    (failed,) = [event for event in refused.all_events if event.is_step_failure]
    assert "label is new and required" in failed.step_failure_data.user_failure_data.description
    assert len(stranger.list_records(SCHEMA, repo=account.did)[0]) == 1
    told = [each for each in evaluations(run("pictures")) if each.check_name == "schema_compatible"]
    told.append(verify("pictures")["schema_compatible"])
    for each in told:
        assert (each.passed, each.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert "breaks with 1.0.0: label is new and required" in each.description
    assert len(told) == 2


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
