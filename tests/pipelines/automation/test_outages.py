"""Services that go away while the sensor works: said where people look, and mended without their hands."""

import socket
from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest
import redis

from atdata_core.errors import ServiceUnavailableError
from atdata_core.local.entry import EVENTS
from atdata_core.promotion.bulk.many import promote_many
from atdata_core.promotion.scheduling import retry_policy
from atdata_core.state.facts import FAILURE
from atdata_core.state.index_state import state_of
from atdata_pipelines.automation import ticks
from atdata_pipelines.config import environment
from atdata_pipelines.config.resources import AtprotoResource
from atdata_pipelines.config.settings import Settings

PAUSES = [timedelta(seconds=seconds) for seconds in retry_policy.PASSING_PAUSES]
PUBLISHED = "{} datasets looked at are published and unchanged"


@pytest.fixture
def pds_down(pds, monkeypatch):
    """``pds_down.now = True`` drops every connection to the PDS."""
    state = SimpleNamespace(now=False)
    send = httpx.HTTPTransport.handle_request

    def dropping(transport, request):
        if state.now and str(request.url).startswith(pds.url):
            raise httpx.ConnectError("connection refused", request=request)
        return send(transport, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", dropping)
    return state


@pytest.fixture
def redis_down(monkeypatch):
    """``redis_down.after = 2`` lets Redis answer twice and then no more; None: as long as it is asked."""
    state = SimpleNamespace(after=None)
    send = redis.Connection.send_packed_command

    def dropping(connection, command, check_health=True):
        if state.after is not None:
            state.after -= 1
            if state.after < 0:
                raise redis.ConnectionError("connection reset by peer")
        return send(connection, command, check_health)

    monkeypatch.setattr(redis.Connection, "send_packed_command", dropping)
    return state


def asked_for(result):
    return sorted(request.partition_key for request in result.run_requests or [])


def run_effects(run, result):
    for request in result.run_requests:
        said = request.run_config["ops"]["atmosphere_record"]["config"]
        yield run(request.partition_key, said=said)


def failure(lab, name):
    return state_of(lab.index).ledger.get(FAILURE(name))


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_redis_gone_during_a_tick_fails_the_tick_and_the_next_one_finds_the_same(
    lab, tick, redis_down, empty_instance, answers
):
    lab.insert("first")
    tick()
    before = tick.state.cursor
    lab.insert("second", start=6)
    redis_down.after = answers
    with pytest.raises(ServiceUnavailableError, match="Redis at"):
        tick()
    assert tick.state.cursor == before
    assert set(empty_instance.get_dynamic_partitions("dataset")) == {"first"}
    redis_down.after = None
    assert asked_for(tick()) == ["first", "second"]


@pytest.fixture
def silent():
    """The port of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield listening.getsockname()[1]


def test_a_service_that_hangs_is_named_before_dagster_ends_the_tick(lab, tick, silent, monkeypatch):
    # Together, with three and four tries, they stay below the 60 seconds of Dagster.
    assert 3 * ticks.SILENCE + 4 * environment.DID_SILENCE < 50
    monkeypatch.setattr(ticks, "SILENCE", 0.05)
    monkeypatch.setattr(environment, "DID_SILENCE", 0.05)
    with monkeypatch.context() as hangs:
        hangs.setenv("ATDATA_REDIS_URL", f"redis://127.0.0.1:{silent}/0")
        with pytest.raises(ServiceUnavailableError, match=f"Redis at 127.0.0.1:{silent} does not answer"):
            tick()
    with monkeypatch.context() as hangs:
        hangs.setenv("ATDATA_PDS_URL", f"http://127.0.0.1:{silent}")
        with pytest.raises(ServiceUnavailableError, match=f"127.0.0.1:{silent}"):
            tick()
    lab.insert("one")
    assert asked_for(tick()) == ["one"]


@pytest.mark.parametrize("pattern", ["*", "images-*"])
def test_an_entry_without_a_readable_name_is_reported_whatever_names_are_taken(lab, sensor_of, pattern):
    values = {"name": b"\xff\xfe", "schema_ref": "local://schemas/a.B@1.0.0", "data_urls": b"\x91\xa5a.tar"}
    lab.index.redis.hset("LocalDatasetEntry:nameless", mapping=values)
    with pytest.warns(UserWarning, match="LocalDatasetEntry:nameless"):
        said = sensor_of(Settings(pattern=pattern))().skip_message
    assert "cannot be promoted: LocalDatasetEntry:nameless (" in said
    assert "it has no readable name" in said


@pytest.mark.parametrize("pattern", ["*", "images-*"])
def test_an_event_without_a_readable_name_is_reported_once_and_holds_nothing_back(lab, sensor_of, pattern):
    tick, add = sensor_of(Settings(pattern=pattern)), lab.index.redis.xadd
    tick()
    wrong = [{"foo": "bar"}, {"name": b"\xff\xfe", "cid": "x"}, {"name": "", "cid": "x"}]
    keys = [f"{EVENTS} {add(EVENTS, fields).decode()}" for fields in wrong]
    said = tick().skip_message
    assert all(f"{key} (Event {key.split()[1]} " in said and f"XDEL {key} removes" in said for key in keys)
    assert EVENTS not in tick().skip_message
    add(EVENTS, wrong[0])
    lab.insert("images-1")
    add(EVENTS, wrong[1])
    assert asked_for(tick()) == ["images-1"]


def test_a_pds_that_is_down_is_found_out_once_for_all_and_costs_no_attempt(lab, tick, clock, pds_down, run):
    # Long: more failures than a dataset of its own may have, and three runs.
    entries = [lab.insert(name, start=6 * number) for number, name in enumerate(["one", "two", "three"])]
    client = AtprotoResource().client()
    tick()
    for pause in [*PAUSES, PAUSES[-1], PAUSES[-1], PAUSES[-1]]:
        pds_down.now = True
        with pytest.raises(ServiceUnavailableError):
            promote_many(entries[:1], lab.index, client)
        found = tick()
        assert asked_for(found) == []
        assert "nothing can be published, tried again later: one (not before " in found.skip_message
        assert "connection refused" in found.skip_message
        clock.passes(pause)
        pds_down.now = False
        found = tick()
        assert asked_for(found) == ["one", "three", "two"]
    assert [failure(lab, name) for name in ("one", "three")] == [None, None]
    assert all(result.success for result in run_effects(run, found))
    assert PUBLISHED.format(3) in tick().skip_message
    assert failure(lab, "one") is None


def test_a_revoked_password_is_said_for_all_and_they_go_on_once_it_is_right(
    lab, tick, clock, run, monkeypatch, account, command
):
    # Long: a run for each failure, more than a dataset of its own may have.
    lab.insert("one")
    [first] = tick().run_requests
    monkeypatch.setenv("ATDATA_APP_PASSWORD", "revoked")
    assert not run("one").success
    lab.insert("two", start=6)
    found = tick()
    assert "nothing can be published, tried again later: two (not before " in found.skip_message
    for pause in [*PAUSES, *[PAUSES[-1]] * 3]:
        assert asked_for(found) == []
        assert account.handle in found.skip_message
        clock.passes(pause)
        assert asked_for(tick()) == ["one", "two"]
        assert not run("one").success
        found = tick()
    text = command("status", "two").stdout
    assert text.startswith("two: paused\n")
    assert account.handle in text
    assert "by sensor or schedule" in text
    monkeypatch.setenv("ATDATA_APP_PASSWORD", account.password)
    clock.passes(PAUSES[-1])
    found = tick()
    assert first.run_key not in [request.run_key for request in found.run_requests]
    assert all(result.success for result in run_effects(run, found))
    assert PUBLISHED.format(2) in tick().skip_message


def test_many_whose_password_is_revoked_cost_one_run_a_pause_and_go_on_once_it_is_right(
    lab, together, clock, run_bulk, monkeypatch, account, instance
):
    entry = lab.insert("one")
    lab.register("two", entry.data_urls)
    lab.register("three", entry.data_urls)
    together()
    monkeypatch.setenv("ATDATA_APP_PASSWORD", "revoked")
    keys = set()
    for pause in PAUSES:
        [request] = together().run_requests
        keys.add(request.run_key)
        assert not run_bulk(request.run_config).success
        found = together()
        assert asked_for(found) == []
        assert "nothing can be published, tried again later: one (not before " in found.skip_message
        clock.passes(pause)
    assert len(keys) == len(PAUSES)
    assert failure(lab, "two") is None
    monkeypatch.setenv("ATDATA_APP_PASSWORD", account.password)
    [request] = together().run_requests
    assert request.run_key not in keys
    assert run_bulk(request.run_config).success
    assert PUBLISHED.format(3) in together().skip_message


def test_a_deleted_bucket_is_named_and_found_again_once_it_is_back(lab, tick, clock, run, monkeypatch, box):
    from atdata_core.stores.s3.objects import S3Endpoint

    client = S3Endpoint.from_credentials(box.s3).client
    bucket = f"{lab.bucket}-published"
    monkeypatch.setenv("ATDATA_PUBLISH_BUCKET", bucket)
    monkeypatch.setenv("ATDATA_PUBLISH_PUBLIC_URL", f"{box.public_url}/{bucket}")
    lab.insert("pictures")
    [result] = run_effects(run, tick())
    assert not result.success
    found = tick()
    assert asked_for(found) == []
    assert bucket in found.skip_message
    client.create_bucket(Bucket=bucket)
    clock.passes(timedelta(seconds=retry_policy.PAUSES[0]))
    [result] = run_effects(run, tick())
    assert result.success
    assert "1 dataset looked at is published and unchanged" in tick().skip_message


def test_events_that_were_trimmed_away_are_made_up_for_by_a_look_at_all_names(lab, tick, monkeypatch):
    from atdata_pipelines.automation import ticks

    monkeypatch.setattr(ticks, "NAMES_A_TICK", 2)
    entry = lab.insert("d0")
    tick()
    for number in range(1, 6):
        lab.register(f"d{number}", entry.data_urls)
    lab.index.redis.xtrim(EVENTS, maxlen=1, approximate=False)
    found = [asked_for(tick()) for _ in range(3)]
    assert "d5" in found[0]
    assert {name for names in found for name in names} == {f"d{number}" for number in range(6)}


def test_a_stream_that_begins_anew_with_an_earlier_clock_is_read_from_its_start(lab, tick, monkeypatch):
    from atdata_pipelines.automation import ticks

    monkeypatch.setattr(ticks, "NAMES_A_TICK", 1)
    entry = lab.insert("a")
    lab.index.redis.xadd(EVENTS, {"name": "a", "cid": entry.cid}, id="99999999999999-0")
    for _ in range(2):
        tick()
    lab.index.redis.flushdb()
    for name in ("b", "c", "d", "e"):
        lab.register(name, entry.data_urls)
    lab.publish_schema()
    tick()
    assert asked_for(tick()) == ["b", "c", "d", "e"]
