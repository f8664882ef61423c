"""Leases on many shards: taken, renewed and released in one step each."""

import time

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from atdata_core.state.lease import LOOK, Leases, RedisLeases
from atdata_core.state.lease_batch import AT_ONCE, LeaseSlot

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
    with LeaseSlot(counted, PLACES) as held:
        assert (len(held), held_places(redis)) == (64, set(PLACES))
        for place in PLACES:
            lease = held.lease(place)
            assert lease is not None
            lease.release()
    assert held_places(redis) == set()
    # Where it takes longer than a moment, the thread may have released some of them before the end.
    assert Counted.round_trips in (2, 3)


def test_a_place_that_is_done_is_free_before_the_others_are(redis):
    with LeaseSlot(RedisLeases(redis), PLACES) as held:
        held.lease(PLACES[3]).release()
        assert soon(lambda: PLACES[3] not in held_places(redis))
        assert held_places(redis) == set(PLACES) - {PLACES[3]}


def test_what_a_rival_holds_is_not_held_and_not_released(redis):
    rival = RedisLeases(redis)
    assert rival.take(PLACES[3]) is not None
    with LeaseSlot(RedisLeases(redis), PLACES) as held:
        assert PLACES[3] not in held
        assert held.lease(PLACES[3]) is None
        assert rival.take(PLACES[4]) is None
    assert held_places(redis) == {PLACES[3]}


def test_a_place_is_given_to_one_alone(redis):
    with LeaseSlot(RedisLeases(redis), PLACES) as held:
        assert held.lease(PLACES[0]) is not None
        assert held.lease(PLACES[0]) is None


def test_what_waits_for_its_turn_is_renewed(redis):
    leases = RedisLeases(redis, seconds=4 * LOOK)
    with LeaseSlot(leases, PLACES) as held:
        before = time.monotonic()
        while time.monotonic() - before < 5 * LOOK:
            assert soon(lambda: held_places(redis) == set(PLACES))
            time.sleep(LOOK / 10)
        assert len(held) == 64
        assert RedisLeases(redis).take(PLACES[0]) is None


def test_who_renews_a_lease_has_it_alone_from_then_on(redis):
    with LeaseSlot(RedisLeases(redis), PLACES) as held:
        lease = held.lease(PLACES[0])
        lease.renew()
        assert PLACES[0] not in held
        assert PLACES[0] in held_places(redis)
        lease.release()
        assert PLACES[0] not in held_places(redis)


def test_an_error_releases_what_is_held(redis):
    with pytest.raises(RuntimeError), LeaseSlot(RedisLeases(redis), PLACES):
        raise RuntimeError
    assert held_places(redis) == set()


def test_no_more_are_held_than_one_step_takes(redis):
    with LeaseSlot(RedisLeases(redis), [str(number) for number in range(AT_ONCE + 1)]) as held:
        assert len(held) == AT_ONCE
        assert str(AT_ONCE) not in held


def test_nothing_is_held_where_leases_cannot_be_reached():
    nowhere = redis_py.Redis(port=9, retry=Retry(NoBackoff(), 0))
    for leases in (RedisLeases(nowhere), Leases()):
        with LeaseSlot(leases, PLACES) as held:
            assert len(held) == 0
