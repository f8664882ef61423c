"""Leases on many shards: taken, renewed and released in one step each."""

import time

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from atdata_core.state.lease import AT_ONCE, LOOK, Leases, leased
from atdata_core.state.redis_state import RedisLeases

PLACES = [f"place {number}" for number in range(64)]


class Counted(redis_py.Connection):
    """Counts what is sent: one round trip each, be it of many commands."""

    round_trips = 0

    def send_packed_command(self, *args, **kwargs):
        Counted.round_trips += 1
        super().send_packed_command(*args, **kwargs)


@pytest.fixture
def redis(redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def counted(redis_url):
    """Leases whose round trips are counted, from the first one on."""
    pool = redis_py.ConnectionPool.from_url(redis_url, connection_class=Counted)
    with redis_py.Redis(connection_pool=pool) as client:
        client.ping()
        Counted.round_trips = 0
        yield RedisLeases(client)


def held_places(redis):
    return {key.decode().removeprefix("atdata:lease:") for key in redis.keys("atdata:lease:*")}


def soon(holds):
    for _ in range(200):
        if holds():
            return True
        time.sleep(LOOK / 10)
    return False


def test_many_leases_are_taken_in_one_round_trip_and_released_in_one(redis, counted):
    with leased(counted, PLACES) as held:
        assert (len(held), held_places(redis)) == (64, set(PLACES))
        assert all(place in held for place in PLACES)
    assert held_places(redis) == set()
    assert Counted.round_trips == 2


def test_what_a_rival_holds_is_not_held_and_not_released(redis):
    rival = RedisLeases(redis)
    assert rival.take(PLACES[3]) is not None
    with leased(RedisLeases(redis), PLACES) as held:
        assert PLACES[3] not in held
        assert rival.take(PLACES[4]) is None
    assert held_places(redis) == {PLACES[3]}


def test_what_waits_for_its_turn_is_renewed(redis):
    leases = RedisLeases(redis, seconds=4 * LOOK)
    with leased(leases, PLACES) as held:
        before = time.monotonic()
        while time.monotonic() - before < 5 * LOOK:
            assert soon(lambda: held_places(redis) == set(PLACES))
            time.sleep(LOOK / 10)
        assert len(held) == 64
        assert RedisLeases(redis).take(PLACES[0]) is None


def test_an_error_releases_what_is_held(redis):
    with pytest.raises(RuntimeError), leased(RedisLeases(redis), PLACES):
        raise RuntimeError
    assert held_places(redis) == set()


def test_no_more_are_held_than_one_step_takes(redis):
    with leased(RedisLeases(redis), [str(number) for number in range(AT_ONCE + 1)]) as held:
        assert len(held) == AT_ONCE
        assert str(AT_ONCE) not in held


def test_nothing_is_held_where_leases_cannot_be_reached():
    nowhere = redis_py.Redis(port=9, retry=Retry(NoBackoff(), 0))
    for leases in (RedisLeases(nowhere), Leases()):
        with leased(leases, PLACES) as held:
            assert len(held) == 0
