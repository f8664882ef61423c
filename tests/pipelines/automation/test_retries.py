"""What failed is tried again by the sensor after growing pauses, and in the end left alone with its reason."""

import re
import time
from datetime import timedelta

import dagster as dg
import pytest

from atdata_core.common.urls import expand
from atdata_core.errors import AtdataError
from atdata_core.promotion.operations.accept import accept, changes_of
from atdata_core.promotion.scheduling import retry_policy
from atdata_core.state.facts import FAILURE
from atdata_core.state.index_state import state_of
from atdata_core.stores.s3.objects import S3Endpoint

PAUSES = [timedelta(seconds=seconds) for seconds in retry_policy.PAUSES]


@pytest.fixture
def promoted(promote):
    """Promote what the sensor asked for, as it was asked for; whether that succeeds."""

    def succeeds(request):
        try:
            promote(request.partition_key, **request.run_config["ops"]["atmosphere_record"]["config"])
        except AtdataError:
            return False
        return True

    return succeeds


ENDS = {
    dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.PIPELINE_SUCCESS.value,
    dg.DagsterRunStatus.FAILURE: dg.DagsterEventType.PIPELINE_FAILURE.value,
    dg.DagsterRunStatus.CANCELED: dg.DagsterEventType.PIPELINE_CANCELED.value,
}


@pytest.fixture
def given(instance):
    """A run as the daemon makes it of a request, with a status of our own."""

    made = []

    def make(request, status, **tags):
        tags |= {"dagster/run_key": request.run_key, "dagster/sensor_name": "new_datasets", **request.tags}
        if request.partition_key:
            tags["dagster/partition"] = request.partition_key
        config = request.run_config
        run = dg.DagsterRun(job_name=request.job_name or "promote", run_config=config, status=status, tags=tags)
        made.append(keep(run))

    def ends(status):
        run = made[-1]
        instance.delete_run(run.run_id)
        made[-1] = keep(run._replace(status=status))

    def keep(run):
        """As the daemon's storage keeps a run: with the fraction of a second in which it ended."""
        kept = instance.add_run(run)
        if run.status in ENDS:
            event = dg.DagsterEvent(event_type_value=ENDS[run.status], job_name=run.job_name)
            instance.run_storage.handle_run_event(run.run_id, event)
        return kept

    make.ends = ends
    yield make
    for run in made:
        instance.delete_run(run.run_id)


def requests(result):
    return [request.partition_key for request in result.run_requests or []]


def remove_shard(lab, s3, entry):
    client = S3Endpoint.from_credentials(s3).client
    key = expand(entry.data_urls)[0].removeprefix(f"s3://{lab.bucket}/")
    before = client.get_object(Bucket=lab.bucket, Key=key)["Body"].read()
    client.delete_object(Bucket=lab.bucket, Key=key)
    return lambda: client.put_object(Bucket=lab.bucket, Key=key, Body=before)


def test_a_failed_entry_is_tried_again_after_pauses_that_grow_and_then_given_up(
    lab, tick, night, promoted, clock, s3, promote
):
    back = remove_shard(lab, s3, lab.insert("pictures"))
    lab.insert("others", start=6)
    keys = set()
    for number, pause in enumerate([*PAUSES, timedelta(days=30)]):
        request = next(each for each in tick().run_requests if each.partition_key == "pictures")
        keys.add(request.run_key)
        assert request.run_key.endswith(f"@{number}")
        assert not promoted(request)
        clock.passes(pause - timedelta(seconds=1))
        found = tick()
        assert requests(found) == ["others"]
        clock.passes(timedelta(seconds=1))
    assert len(keys) == len(PAUSES) + 1
    # A month later the sensor still leaves it, and says why; so does the schedule. The other one is not blocked.
    assert requests(tick()) == ["others"]
    assert promoted(tick().run_requests[0])
    assert "as told before: 1 retries exhausted" in tick().skip_message
    tick.state.cursor = None
    said = tick().skip_message
    assert "retries exhausted, promote them yourself once that is mended: pictures (5 attempts failed" in said
    assert "local_dataset: " in said
    assert "retries exhausted" in night().skip_message
    back()
    assert requests(tick()) == []
    promote("pictures")
    assert "2 datasets looked at are published" in tick().skip_message


def test_the_schedule_tries_what_the_sensor_tries_later(lab, tick, night, promoted, clock, s3):
    remove_shard(lab, s3, lab.insert("pictures"))
    assert not promoted(tick().run_requests[0])
    assert "failed, tried again later: pictures (not before " in tick().skip_message
    assert night().run_requests


@pytest.mark.parametrize("change", ["data", "metadata"])
def test_what_changes_begins_anew(lab, tick, promoted, clock, s3, change):
    entry = lab.insert("pictures")
    remove_shard(lab, s3, entry)
    first = tick().run_requests[0]
    assert not promoted(first)
    assert requests(tick()) == []
    if change == "data":
        lab.insert("pictures", start=6)
    else:
        lab.register("pictures", entry.data_urls, {"license": "MIT"})
    [second] = tick().run_requests
    assert second.run_key != first.run_key
    assert second.run_key.endswith("@0")


def test_accepted_bytes_begin_anew(lab, tick, promoted, clock, s3):
    entry = lab.insert("pictures")
    client = S3Endpoint.from_credentials(s3).client
    one, two = (url.removeprefix(f"s3://{lab.bucket}/") for url in expand(entry.data_urls))
    other = client.get_object(Bucket=lab.bucket, Key=two)["Body"].read()
    client.put_object(Bucket=lab.bucket, Key=one, Body=other)
    first = tick().run_requests[0]
    assert not promoted(first)
    assert requests(tick()) == []
    accept(changes_of(entry, lab.index), lab.index, state_of(lab.index).ledger)
    [second] = tick().run_requests
    assert second.run_key != first.run_key
    assert promoted(second)


def test_values_that_are_said_after_a_failure_begin_anew(lab, tick, promoted, run, clock, s3):
    clock.passes(timedelta(minutes=-2))
    back = remove_shard(lab, s3, lab.insert("pictures"))
    assert not promoted(tick().run_requests[0])
    assert requests(tick()) == []
    back()
    clock.passes(timedelta(seconds=1))
    # Somebody says something and stops the run before the record is written.
    stages = ["local_dataset", "published_schema"]
    assert run("pictures", said={"description": "Ramps"}, stages=stages).success
    assert requests(tick()) == ["pictures"]


def test_new_metadata_of_the_same_data_are_published_by_the_sensor(lab, tick, promoted):
    entry = lab.insert("pictures", metadata={"description": "old"})
    [first] = tick().run_requests
    assert promoted(first)
    for text in ("new", "old"):
        lab.register("pictures", entry.data_urls, {"description": text})
        [request] = tick().run_requests
        assert promoted(request)
        assert request.run_key.startswith(f"pictures@{entry.cid}@")
        assert request.run_key != first.run_key


def test_what_a_run_works_on_is_not_asked_for_again(lab, tick, given, instance):
    lab.insert("pictures")
    [request] = tick().run_requests
    given(request, dg.DagsterRunStatus.STARTED)
    assert re.search(r"under way: pictures \(run [0-9a-f]{8} promotes it\)", tick().skip_message)
    lab.insert("pictures", start=6)
    assert requests(tick()) == []


def test_what_a_person_stopped_is_no_failed_attempt_and_is_left_to_that_person(lab, tick, given, clock):
    lab.insert("pictures")
    [request] = tick().run_requests
    given(request, dg.DagsterRunStatus.CANCELED)
    clock.passes(timedelta(days=2))
    assert "stopped: pictures (run " in tick().skip_message
    assert state_of(lab.index).ledger.get(FAILURE("pictures")) is None


def test_a_run_whose_process_was_lost_is_tried_again_after_a_pause(lab, tick, given, clock):
    lab.insert("pictures")
    [request] = tick().run_requests
    given(request, dg.DagsterRunStatus.FAILURE)
    assert "failed, tried again later: pictures (run " in tick().skip_message
    kept = state_of(lab.index).ledger.get(FAILURE("pictures"))
    assert (kept.stage, kept.attempts) == ("run", 1)
    clock.passes(PAUSES[0])
    [second] = tick().run_requests
    assert second.run_key.endswith("@1")


def test_a_lost_run_of_many_is_noted_for_each_of_them(lab, together, given, clock):
    entry = lab.insert("one")
    lab.register("two", entry.data_urls)
    [request] = together().run_requests
    given(request, dg.DagsterRunStatus.STARTED)
    by = r"\(run [0-9a-f]{8} promotes it, with others\)"
    assert re.search(f"under way: one {by}, two {by}", together().skip_message)
    given.ends(dg.DagsterRunStatus.FAILURE)
    assert "failed, tried again later: one (run " in together().skip_message
    clock.passes(PAUSES[0])
    [second] = together().run_requests
    assert second.run_key != request.run_key
    assert second.run_config == request.run_config


def test_a_lost_run_that_dagster_repeats_is_left_to_dagster(lab, tick, given):
    lab.insert("pictures")
    [request] = tick().run_requests
    given(request, dg.DagsterRunStatus.FAILURE, **{"dagster/will_retry": "true"})
    assert "under way: pictures (run " in tick().skip_message
    assert state_of(lab.index).ledger.get(FAILURE("pictures")) is None


def test_what_the_ledger_lost_is_published_again_though_a_run_of_it_succeeded(lab, tick, given, clock, promoted):
    entry = lab.insert("pictures")
    [request] = tick().run_requests
    assert promoted(request)
    given(request, dg.DagsterRunStatus.SUCCESS)
    lab.index.redis.flushdb()
    lab.publish_schema()
    lab.register("pictures", entry.data_urls)
    [second] = tick().run_requests
    assert second.run_key != request.run_key
    assert "Promoted again, as the ledger knows nothing of a run that succeeded: pictures" in tick.state.logged
    assert promoted(second)
    assert tick().skip_message == "1 dataset looked at is published and unchanged"


@pytest.fixture
def copy_of_redis(lab):
    """What Redis holds, to be brought back later as from a backup."""

    def copy():
        kept = {key: lab.index.redis.dump(key) for key in lab.index.redis.keys("*")}

        def bring_back():
            lab.index.redis.flushdb()
            for key, value in kept.items():
                lab.index.redis.restore(key, 0, value)

        return bring_back

    return copy


def test_a_restored_older_redis_leads_to_published_each_time(lab, tick, given, promoted, clock, copy_of_redis):
    lab.insert("pictures")
    bring_back = copy_of_redis()
    keys = set()
    for _ in range(3):
        [request] = tick().run_requests
        keys.add(request.run_key)
        assert promoted(request)
        given(request, dg.DagsterRunStatus.SUCCESS)
        assert tick().skip_message == "1 dataset looked at is published and unchanged"
        clock.passes(timedelta(days=1))
        bring_back()
    assert len(keys) == 3


def test_a_redis_that_is_lost_twice_within_minutes_leads_to_published(lab, tick, given, promoted, account):
    entry = lab.insert("pictures")
    for _ in range(3):
        [request] = tick().run_requests
        assert promoted(request)
        given(request, dg.DagsterRunStatus.SUCCESS)
        assert tick().skip_message == "1 dataset looked at is published and unchanged"
        time.sleep(0.01)
        lab.index.redis.flushdb()
        lab.publish_schema()
        lab.register("pictures", entry.data_urls)


def test_many_that_the_ledger_lost_are_published_again_in_one_run(
    lab, together, given, promote, clock, copy_of_redis
):
    entry = lab.insert("one")
    lab.register("two", entry.data_urls)
    bring_back = copy_of_redis()
    keys = set()
    for _ in range(2):
        [request] = together().run_requests
        keys.add(request.run_key)
        for name in request.run_config["ops"]["promote_datasets"]["config"]["datasets"]:
            promote(name)
        given(request, dg.DagsterRunStatus.SUCCESS)
        assert together().skip_message == "2 datasets looked at are published and unchanged"
        bring_back()
    assert len(keys) == 2


def test_runs_that_succeed_and_leave_a_dataset_due_end_in_pauses(lab, tick, given, clock):
    lab.insert("pictures")
    asked = 0
    # In less time than a run's success stays suspicious.
    for pause in PAUSES[:2]:
        # The first one may have been forgotten; the second one shows that something else is wrong.
        for _ in range(2):
            [request] = tick().run_requests
            asked += 1
            given(request, dg.DagsterRunStatus.SUCCESS)
        assert requests(tick()) == []
        failure = state_of(lab.index).ledger.get(FAILURE("pictures"))
        assert "succeeded, but the ledger knows nothing of it, for the second time" in failure.reason
        clock.passes(pause)
    assert asked == 4


# A run of the job: it must not refuse what a person asks for.
def test_a_dataset_whose_metadata_say_so_is_promoted_by_a_person_only(lab, tick, night, run, command):
    lab.insert("pictures", metadata={"promote": False})
    said = "skipped: pictures (its metadata say promote: false)"
    assert said in tick().skip_message
    assert said in night().skip_message
    text = command("status", "pictures").stdout
    assert text.startswith("pictures: skipped\n  its metadata say promote: false\n")
    assert "atdata-pipelines promote pictures publishes it all the same" in text
    assert run("pictures").success
    assert "1 dataset looked at is published" in tick().skip_message
    assert command("status", "pictures").stdout.startswith("pictures: published")


def test_a_policy_that_is_neither_true_nor_false_is_named(lab, tick):
    lab.insert("odd", metadata={"promote": "no"})
    assert (
        "cannot be promoted: odd (The metadata of 'odd' say promote: 'no', which is neither" in tick().skip_message
    )
    lab.insert("good", start=6, metadata={"promote": True})
    assert requests(tick()) == ["good"]
