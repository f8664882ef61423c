import json
from types import SimpleNamespace

import msgpack
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.common.urls import expand
from atdata_core.errors import BlockedError, ServiceUnavailableError
from atdata_core.local import LocalIndex
from atdata_core.local.entry import EVENTS
from atdata_core.local.registry import Position
from atdata_core.promotion.operations.accept import accept, changes_of
from atdata_core.state.index_state import state_of
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.automation import ticks
from atdata_pipelines.config.settings import Settings
from atdata_pipelines.jobs.planner import look


def partitions(instance):
    return set(instance.get_dynamic_partitions("dataset"))


def attempt_of(request):
    """What a run key is for, and how many attempts failed before."""
    entry, _, attempts = request.run_key.rsplit("@", 2)
    return entry, attempts


def write_foreign(redis, name, cid, *, schema_ref, urls):
    """An entry as another program writes it: upstream's hash, and nothing beside it."""
    values = {"name": name, "schema_ref": schema_ref, "cid": cid, "data_urls": msgpack.packb(urls)}
    redis.hset(f"LocalDatasetEntry:{cid}", mapping=values)


def test_the_sensor_adds_the_partition_of_a_new_entry_and_promotes_it(lab, tick, instance):
    first = lab.insert("first")
    [request] = tick().run_requests
    assert (request.partition_key, attempt_of(request)) == ("first", (f"first@{first.cid}", "0"))
    assert request.tags["dataset"] == "first"
    assert request.run_config["ops"]["atmosphere_record"]["config"]["restore"] is False
    second = lab.insert("second", start=6)
    assert f"second@{second.cid}" in [attempt_of(request)[0] for request in tick().run_requests]
    assert partitions(instance) == {"first", "second"}


def test_many_new_partitions_are_there_after_the_tick_and_the_daemon_need_not_add_them(lab, together, instance):
    entry = lab.insert("first")
    assert [request.partition_keys for request in together().dynamic_partitions_requests] == [["first"]]
    names = [f"more-{number}" for number in range(3)]
    for name in names:
        lab.register(name, entry.data_urls)
    assert together().dynamic_partitions_requests == []
    assert partitions(instance) == {"first", *names}


def test_a_requested_run_is_one_that_the_job_takes(lab, tick, run):
    lab.insert("first")
    [request] = tick().run_requests
    assert run(request.partition_key, said=request.run_config["ops"]["atmosphere_record"]["config"]).success
    found = tick()
    assert found.run_requests == []
    assert "1 dataset looked at is published" in found.skip_message


def test_the_sensor_finds_what_another_program_wrote(lab, tick, instance):
    entry = lab.insert("ours")
    write_foreign(lab.index.redis, "theirs", "bafyforeign", schema_ref=entry.schema_ref, urls=entry.data_urls)
    found = tick()
    assert "theirs@bafyforeign" in [attempt_of(request)[0] for request in found.run_requests]
    assert partitions(instance) == {"ours", "theirs"}


def test_an_entry_without_a_schema_waits_and_is_promoted_once_it_has_one(lab, tick, instance):
    lab.insert("early", schema=False)
    found = tick()
    assert found.run_requests == []
    assert "waiting: early (waits for its schema" in found.skip_message
    assert partitions(instance) == {"early"}
    lab.publish_schema()
    assert [request.partition_key for request in tick().run_requests] == ["early"]


def test_a_name_that_cannot_be_a_partition_is_named_not_dropped(lab, tick, instance):
    write_foreign(lab.index.redis, "a...b", "bafybad", schema_ref="local://schemas/x.Y@1.0.0", urls=["s3://b/k"])
    assert "cannot be promoted: a...b (" in tick().skip_message
    lab.insert("good")
    assert [request.partition_key for request in tick().run_requests] == ["good"]
    assert partitions(instance) == {"good"}


def test_a_dataset_that_there_is_no_room_for_is_named_and_the_others_go_on(
    lab, tick, promote, monkeypatch, instance
):
    monkeypatch.setattr("atdata_pipelines.config.partitions.MOST", 1)
    lab.insert("first")
    lab.insert("second", start=6)
    [request] = tick().run_requests
    assert partitions(instance) == {request.partition_key}
    [beyond] = {"first", "second"} - partitions(instance)
    [said] = [line for line in tick.state.logged if line.startswith("Cannot")]
    assert said.startswith(
        f"Cannot be promoted: {beyond} (there are 1 partitions already; `atdata-pipelines prune`"
    )
    promote(request.partition_key)
    found = tick()
    assert found.run_requests == []
    assert found.skip_message == ("1 dataset looked at is published and unchanged; as told before: 1 refused")


def test_what_is_published_already_becomes_visible_without_a_run(lab, tick, promote, instance):
    lab.insert("pictures")
    promote("pictures")
    assert tick().run_requests == []
    assert partitions(instance) == {"pictures"}


def test_a_tick_is_bounded_and_the_next_ones_see_the_rest(lab, tick, monkeypatch, instance):
    monkeypatch.setattr(ticks, "NAMES_A_TICK", 2)
    monkeypatch.setattr(ticks, "EVENTS_A_TICK", 1)
    entry = lab.insert("d0")
    for number in range(1, 5):
        write_foreign(
            lab.index.redis, f"d{number}", f"bafy{number}", schema_ref=entry.schema_ref, urls=entry.data_urls
        )
    for _ in range(3):
        assert len(tick().run_requests) <= 3
    assert partitions(instance) == {f"d{number}" for number in range(5)}


def test_the_sensor_goes_on_after_redis_lost_its_data(lab, tick, instance):
    lab.insert("before")
    tick()
    lab.index.redis.flushdb()
    lab.insert("after", start=6)
    assert [request.partition_key for request in tick().run_requests] == ["after"]


UNREADABLE = [
    "no json",
    "null",
    '{"event": null}',
    '{"event": "abc"}',
    '{"event": 5}',
    '{"event": "18446744073709551616-0"}',
    '{"event": "٣-0"}',
    '{"event": "1-0", "name": ["x"]}',
    '{"event": "1-0", "name": "\\ud800"}',
]


def test_an_unreadable_cursor_starts_a_new_look(lab, tick):
    entry = lab.insert("first")
    last = lab.index.redis.xrevrange(EVENTS)[0][0].decode()
    for cursor in UNREADABLE:
        tick.state.cursor = cursor
        assert [attempt_of(request)[0] for request in tick().run_requests] == [f"first@{entry.cid}"], cursor
        assert json.loads(tick.state.cursor)["event"] == last


def test_a_tick_without_redis_fails_and_says_where_it_should_be(lab, tick, monkeypatch):
    monkeypatch.setenv("ATDATA_REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(ServiceUnavailableError, match=r"Redis at 127\.0\.0\.1:1 does not answer"):
        tick()


@pytest.mark.parametrize("count", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_tick_without_news_takes_three_round_trips_however_many_entries_there_are(crowd, round_trips, count):
    index = LocalIndex(crowd(count))
    state = SimpleNamespace(position=Position(), published=0)

    def look_once(did="did:plc:crowd"):
        found, state.position = index.news(state.position, names=200)
        findings = look(found, index, did)
        state.published = len(findings.published)
        return findings

    look_once()
    for _ in range(3):
        assert round_trips.of(look_once) == 3
        assert state.published == 200
    # Whoever has published nothing asks once more, and once for the schema that all of these share.
    assert round_trips.of(lambda: look_once("did:plc:another")) == 5
    assert state.published == 0


@pytest.mark.parametrize("bulk_from", [20, 100])
def test_a_tick_with_fifty_new_datasets_takes_the_round_trips_of_one(lab, sensor_of, round_trips, bulk_from):
    # Over a second: fifty names are registered, and the first tick imports what ticks need.
    urls = lab.insert("first").data_urls
    tick = sensor_of(Settings(bulk_from=bulk_from))
    found = tick()

    def look_again():
        nonlocal found
        found = tick()

    lab.register("second", urls)
    assert round_trips.of(look_again) == 4
    assert len(found.run_requests) == 2
    for number in range(50):
        lab.register(f"more-{number}", urls)
    assert round_trips.of(look_again) == 4
    assert len(found.run_requests) == (1 if bulk_from == 20 else 52)


def test_the_schedule_promotes_what_is_missing_or_changed_in_one_run(lab, night, run_bulk, promote, instance):
    first = lab.insert("nightly")
    lab.register("as-well", first.data_urls)
    [request] = night().run_requests
    assert (request.partition_key, request.run_key, request.tags["datasets"]) == (None, "2026-01-02", "2")
    assert {"nightly", "as-well"} <= partitions(instance)
    for name in ("nightly", "as-well"):
        promote(name)
    assert night().run_requests == []
    changed = lab.insert("nightly", start=6)
    [request] = night().run_requests
    result = run_bulk(request.run_config)
    marked = result.asset_materializations_for_node("promote_datasets")
    assert {(mark.partition, mark.tags["dagster/data_version"]) for mark in marked} == {("nightly", changed.cid)}


def test_the_schedule_publishes_accepted_bytes(lab, night, promote, s3):
    entry = lab.insert("accepted")
    promote("accepted")
    client = S3Endpoint.from_credentials(s3).client
    first, second = (url.removeprefix("s3://").split("/", 1)[1] for url in expand(entry.data_urls))
    other = client.get_object(Bucket=lab.bucket, Key=second)["Body"].read()
    client.put_object(Bucket=lab.bucket, Key=first, Body=other)
    assert night().run_requests == []
    accept(changes_of(entry, lab.index), lab.index, state_of(lab.index).ledger)
    assert [request.tags["datasets"] for request in night().run_requests] == ["1"]
    promote("accepted")
    assert night().run_requests == []


def test_another_account_has_everything_to_publish(lab, night, promote, monkeypatch, box):
    lab.insert("pictures")
    promote("pictures")
    monkeypatch.setenv("ATDATA_HANDLE", box.handle)
    assert [request.tags["datasets"] for request in night().run_requests] == ["1"]


def test_what_was_deleted_by_hand_is_left_to_a_person(lab, tick, night, promote, run_bulk, account):
    entry = lab.insert("pictures", metadata={"description": "old"})
    promote("pictures")
    client = AtmosphereClient()
    client.login(account.handle, account.password)
    [record], _ = client.list_records(ENTRY)
    client.delete(ENTRY, record.uri.rsplit("/", 1)[1])
    # The entry's metadata are others now, so it is due; the run that is asked for finds its record gone.
    lab.register("pictures", entry.data_urls)
    [request] = night().run_requests
    [row] = failed(run_bulk(request.run_config))
    assert (row["dataset"], row["stage"]) == ("pictures", "atmosphere_record")
    assert "there no more" in row["reason"]
    left = f"left to a person: pictures ({record.uri} was deleted elsewhere)"
    assert left in night().skip_message
    assert left in tick().skip_message
    with pytest.raises(BlockedError, match="blocked"):
        promote("pictures", restore=False)
    assert client.list_records(ENTRY)[0] == []
    promote("pictures")
    [restored], _ = client.list_records(ENTRY)
    assert restored.uri == record.uri
    assert restored.value["createdAt"] == record.value["createdAt"]
    assert "left to a person" not in night().skip_message


def failed(result):
    """What a bulk says of the datasets that failed."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    return [row.data for row in event.step_failure_data.user_failure_data.metadata["failed_table"].records]
