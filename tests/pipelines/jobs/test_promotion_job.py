import base64
import io
import logging
import re
import uuid

import dagster as dg
import httpx
import pytest
from PIL import Image

from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.common.urls import expand
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.state.facts import FAILURE
from atdata_core.state.index_state import state_of
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.config.resources import AtprotoResource

STAGES = ["local_dataset", "published_schema", "copied_shards", "atmosphere_record"]


def shown(result, stage):
    [materialization] = result.asset_materializations_for_node(stage)
    return {name: value.value for name, value in materialization.metadata.items()}


def failure(result):
    [event] = [event for event in result.all_events if event.is_step_failure]
    return event.step_key, event.step_failure_data


def retries(result):
    return [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY]


@pytest.fixture
def repository(stranger, account):
    """How many records the account has: schemas, entries, labels."""

    def counts():
        pages = [stranger.list_records(kind, repo=account.did)[0] for kind in (SCHEMA, ENTRY, LABEL)]
        return [len(page) for page in pages]

    return counts


# A whole run, as people start it: what it publishes, marks, tags, logs and shows.
def test_a_dataset_is_published_through_four_assets(lab, run, instance, stranger, repository, account_environ, box):
    entry = lab.insert("pictures")
    result = run("pictures", said={"version": "1.0.0"})
    assert result.success
    shown_last = shown(result, "atmosphere_record")
    assert stranger.get_record(shown_last["at_uri"]).value["name"] == "pictures"
    for stage in STAGES:
        [materialization] = result.asset_materializations_for_node(stage)
        assert materialization.partition == "pictures"
        assert materialization.tags["dagster/data_version"] == entry.cid
        assert "pictures" in instance.get_materialized_partitions(dg.AssetKey(stage))
    tags = instance.get_run_by_id(result.run_id).tags
    assert (tags["dataset"], tags["at_uri"]) == ("pictures", shown_last["at_uri"])
    assert repository() == [1, 1, 2]
    label = stranger.get_record(shown_last["version_label"])
    assert label.value["version"] == "1.0.0"
    assert label.value["datasetUri"] == shown_last["at_uri"]
    assert shown_last["readable_anonymously"] == "2 of 2 cannot be read: needs a key"
    logged = instance.all_logs(result.run_id)
    warned = [event.user_message for event in logged if event.level == logging.WARNING]
    assert [message for message in warned if "cannot be read anonymously" in message]
    assert box.s3["AWS_SECRET_ACCESS_KEY"] not in str(logged)
    assert account_environ["ATDATA_APP_PASSWORD"] not in str(logged)
    shows_shards_fields_samples_and_pictures(result)


def shows_shards_fields_samples_and_pictures(result):
    local = shown(result, "local_dataset")
    assert [column.type for column in local["dagster/column_schema"].columns] == [
        "ndarray[uint8]",
        "ndarray[float32]",
        "str",
        "int",
    ]
    assert [column.description for column in local["dagster/column_schema"].columns] == [
        "8×8 in the first samples",
        "32 in the first samples",
        None,
        None,
    ]
    assert local["dagster/partition_row_count"] == 6
    [materialization] = result.asset_materializations_for_node("local_dataset")
    rows = [record.data for record in materialization.metadata["shard_table"].records]
    assert [row["samples"] for row in rows] == [3, 3]
    assert sum(row["bytes"] for row in rows) == local["bytes"]
    preview = local["preview"]
    assert "<b>" not in preview
    assert "&lt;b>0&lt;/b> \\| `[x](http://e.example)`" in preview
    pictures = [base64.b64decode(found) for found in re.findall(r"data:image/png;base64,([^)]+)\)", preview)]
    assert len(pictures) == 2
    assert all(Image.open(io.BytesIO(png)).format == "PNG" for png in pictures)


def test_a_refused_record_leaves_nothing_half_written_and_is_noted_for_people_until_one_succeeds(
    lab, run, promote, repository
):
    lab.insert("pictures")
    ledger = state_of(lab.index).ledger
    for attempts in (1, 2):
        stage, data = failure(run("pictures", said={"description": "x" * 60_000}))
        error = data.user_failure_data.metadata["error_class"].value
        assert (stage, error) == ("published_schema", "PreflightError")
        kept = ledger.get(FAILURE("pictures"))
        assert (kept.stage, kept.attempts, kept.transient) == ("published_schema", attempts, False)
    assert "description" in kept.reason
    assert repository() == [0, 0, 0]
    promote("pictures")
    assert ledger.get(FAILURE("pictures")) is None


def test_an_unchanged_run_says_so_asks_the_pds_three_times_and_makes_no_commit(
    lab, run, promote, pds, stranger, account, monkeypatch
):
    lab.insert("pictures")
    promote("pictures")
    AtprotoResource().did()  # asked for once by a process
    commit = stranger.latest_commit(account.did)
    asked = []
    send = httpx.HTTPTransport.handle_request

    def counted(transport, request):
        if str(request.url).startswith(pds.url):
            asked.append(request.url.path)
        return send(transport, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", counted)
    again = run("pictures")
    assert asked == ["/xrpc/com.atproto.repo.getRecord"] * 3
    assert shown(again, "atmosphere_record")["change"] == "unchanged"
    assert shown(again, "published_schema")["change"] == "reused"
    assert stranger.latest_commit(account.did) == commit


# Three runs, as each is compared with what Dagster has of the one before.
def test_each_stage_tells_what_a_person_said_and_what_changed_since_the_last_time(lab, run, stranger):
    lab.insert("pictures")
    first = run("pictures", said={"name": "better", "description": "Ramps", "tags": ["a", "b"]})
    assert shown(first, "atmosphere_record")["change"] == "created"
    assert {shown(first, stage)["changed"] for stage in STAGES} == {"first time"}
    again = run("pictures", said={"name": "better", "description": "Ramps and waves", "license": "MIT"})
    assert [shown(again, stage)["changed"] for stage in STAGES] == [
        "nothing",
        "nothing",
        "nothing",
        "description 'Ramps' → 'Ramps and waves'; license none → 'MIT'",
    ]
    value = stranger.get_record(shown(again, "atmosphere_record")["at_uri"]).value
    said = {"name": "better", "description": "Ramps and waves", "tags": ["a", "b"], "license": "MIT"}
    assert {key: value[key] for key in said} == said
    lab.insert("pictures", start=6)
    new = run("pictures")
    assert all("entry …" in shown(new, stage)["changed"] for stage in STAGES if stage != "published_schema")
    assert "2 shards added: s3://" in shown(new, "local_dataset")["changed"]


def test_a_stage_reruns_alone_from_the_ledger(lab, run, promote, stranger):
    lab.insert("pictures")
    promote("pictures")
    result = run("pictures", stages=["atmosphere_record"], said={"description": "New words"})
    assert result.success
    after = shown(result, "atmosphere_record")
    assert after["change"] == "updated"
    assert stranger.get_record(after["at_uri"]).value["description"] == "New words"


def test_shards_that_strangers_cannot_read_are_refused_where_that_is_required(lab, run):
    lab.insert("others", start=100)
    result = run("others", said={"require_public": True})
    assert not result.success
    assert {event.step_key for event in result.get_step_failure_events()} == {"published_schema"}


def test_a_stage_alone_works_out_what_a_lost_ledger_does_not_tell(lab, run, instance):
    lab.insert("pictures")
    result = run("pictures", stages=["atmosphere_record"])
    assert result.success
    assert shown(result, "atmosphere_record")["shards"] == 2
    assert instance.get_run_by_id(result.run_id).tags["dataset"] == "pictures"


def test_shards_are_copied_where_a_bucket_is_set(lab, run, monkeypatch, stranger, box):
    from atdata_core.stores.s3.objects import S3Endpoint

    S3Endpoint.from_credentials(box.s3).client.create_bucket(Bucket=f"{lab.bucket}-public")
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", f"{lab.bucket}-public")
    lab.insert("pictures")
    result = run("pictures")
    assert shown(result, "copied_shards")["copied"] == 2
    again = run("pictures", stages=["copied_shards"])
    assert shown(again, "copied_shards")["copied"] == 0
    record = stranger.get_record(shown(result, "atmosphere_record")["at_uri"])
    assert f"{lab.bucket}-public" in str(record.value["storage"])


def test_a_missing_schema_fails_at_once_and_says_what_to_do(lab, run, repository):
    lab.insert("pictures", schema=False)
    result = run("pictures")
    stage, data = failure(result)
    assert stage == "local_dataset"
    assert "publish_schema" in data.user_failure_data.description
    assert data.user_failure_data.metadata["error_class"].value == "SchemaNotFoundError"
    assert retries(result) == []
    assert repository() == [0, 0, 0]


def test_a_wrong_password_fails_at_once_and_is_shown_nowhere(lab, run, instance, monkeypatch):
    monkeypatch.setenv("ATDATA_APP_PASSWORD", "correct-horse-battery")
    lab.insert("pictures")
    result = run("pictures")
    stage, data = failure(result)
    assert (stage, data.user_failure_data.metadata["error_class"].value) == ("published_schema", "LoginError")
    assert retries(result) == []
    logged = instance.all_logs(result.run_id)
    assert "correct-horse-battery" not in str(logged)


def test_a_variable_that_is_not_set_is_named_when_a_run_needs_it(lab, run, monkeypatch):
    monkeypatch.delenv("ATDATA_HANDLE")
    lab.insert("pictures")
    stage, data = failure(run("pictures"))
    assert stage == "published_schema"
    assert data.user_failure_data.description.startswith("ATDATA_HANDLE is not set.")


def test_a_pds_that_is_down_is_tried_again_and_the_run_goes_on(lab, run, instance, monkeypatch, unused_url, pds):
    monkeypatch.setenv("ATDATA_PDS_URL", unused_url)
    lab.insert("pictures")
    run_id = str(uuid.uuid4())

    def comes_back(event):
        if event.dagster_event and event.dagster_event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            monkeypatch.setenv("ATDATA_PDS_URL", pds.url)

    instance.add_event_listener(run_id, comes_back)
    result = run("pictures", run_id=run_id)
    assert result.success
    assert [event.step_key for event in retries(result)] == ["published_schema"]


@pytest.fixture
def unused_url():
    """An address at which nothing listens."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_samples_are_shown_of_the_first_shard_that_has_some(lab, run, s3):
    client, empty = S3Endpoint.from_credentials(s3).client, io.BytesIO()
    with ShardWriter(empty):
        pass
    [first, _] = expand(lab.insert("full").data_urls)
    client.put_object(Bucket=lab.bucket, Key="gaps-0.tar", Body=empty.getvalue())
    source = first.removeprefix(f"s3://{lab.bucket}/")
    client.copy_object(Bucket=lab.bucket, Key="gaps-1.tar", CopySource={"Bucket": lab.bucket, "Key": source})
    lab.register("gaps", f"s3://{lab.bucket}/gaps-{{0..1}}.tar")
    assert "data:image/png" in shown(run("gaps", stages=["local_dataset"]), "local_dataset")["preview"]
    lab.register("nothing", f"s3://{lab.bucket}/gaps-0.tar")
    assert shown(run("nothing", stages=["local_dataset"]), "local_dataset")["preview"].endswith(
        "0.tar has no samples."
    )


def test_values_of_a_run_that_is_refused_in_its_last_stage_were_not_given(lab, publish, run, stranger):
    publish("pictures")
    lab.insert("pictures", start=6)
    # Strangers would lose what they can read: no destination is configured here.
    assert not run("pictures", said={"license": "MIT"}).success
    again = run("pictures", said={"allow_private": True})
    assert again.success
    records, _ = stranger.list_records(ENTRY, repo=AtprotoResource().did())
    assert [record.value["license"] for record in records] == ["CC-BY-4.0"] * 2
