"""Rivals do not send the same bytes at the same time, and nobody waits for the dead."""

import subprocess
import sys
import threading
import time

import pytest
import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.promotion.copies.layout import names_of
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.state import lease
from atdata_core.state.index_state import state_of
from atdata_core.state.redis_state import RedisLeases
from atdata_core.stores.opening import open_shard, stat_shard


class SlowSource:
    """A store that reads slowly."""

    def __init__(self, store, pause=0.0):
        self.store, self.pause = store, pause

    def open_shard(self, url):
        return Slow(open_shard(url, store=self.store), self.pause)

    def stat_shard(self, url):
        return stat_shard(url, store=self.store)

    def read_url(self, url):
        return url


class Slow:
    def __init__(self, stream, pause):
        self.stream, self.pause = stream, pause

    def read(self, size=-1):
        time.sleep(self.pause)
        return self.stream.read(min(size, 2000))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()


@pytest.fixture
def copying(lab, new_bucket):
    """Where the shards of a dataset are copied, and a function that copies them with another index."""
    entry = lab.insert("points")
    inventory = take_inventory(entry, lab.index, state_of(lab.index).ledger)
    store = S3DataStore(lab.s3, bucket=new_bucket())
    source = SlowSource(lab.repo.data_store, 0.01)
    object.__setattr__(entry, "data_store", source)

    def copy(leases=None):
        index = LocalIndex()
        if leases is not None:
            index.leases = leases
        return copy_shards(entry, inventory, index, state_of(index).ledger, data_store=store)

    copy.inventory, copy.source, copy.store = inventory, source, store
    copy.places = [
        f"atdata:lease:{store.destination} {name}"
        for name in names_of(inventory, state_of(lab.index).ledger, store)
    ]
    return copy


def test_rivals_send_every_shard_once(copying, lab):
    results = []
    threads = [threading.Thread(target=lambda: results.append(copying())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert sum(result.bytes_written for result in results) == copying.inventory.size
    assert {result.shards for result in results} == {results[0].shards}
    assert not lab.index.redis.keys("atdata:lease:*")


class SomeLeases(RedisLeases):
    """Takes a part of what it is asked for, and goes on when its rival has taken the other one."""

    def __init__(self, redis, part, both):
        super().__init__(redis)
        self.part, self.both = part, both

    def take_all(self, places):
        taken = super().take_all(list(places)[self.part])
        self.both.wait(30)
        return taken


def test_rivals_of_which_each_holds_what_the_other_waits_for_both_end(copying, lab):
    both, results = threading.Barrier(2), []
    parts = (slice(0, 2), slice(2, None))
    leases = [SomeLeases(lab.index.redis, part, both) for part in parts]
    threads = [
        threading.Thread(target=lambda held=held: results.append(copying(held)), daemon=True) for held in leases
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(result.bytes_written for result in results) == copying.inventory.size
    assert [result.copied for result in results] in ([2, 1], [1, 2])


def test_a_lease_lives_as_long_as_bytes_pass(copying, lab, monkeypatch):
    monkeypatch.setattr(lease, "LOOK", 0.02)
    leases = RedisLeases(lab.index.redis, seconds=0.15)
    copying.source.pause = 0.08
    seen = []
    thread = threading.Thread(target=lambda: copying(leases))
    thread.start()
    while thread.is_alive():
        seen.append((time.monotonic(), sum(lab.index.redis.pttl(place) > 0 for place in copying.places)))
        time.sleep(0.01)
    thread.join()
    held = [moment for moment, count in seen if count]
    assert held[-1] - held[0] > 2 * 0.15
    assert all(count for moment, count in seen if held[0] <= moment <= held[-1])


def test_a_rival_elsewhere_that_died_is_waited_for_until_its_lease_ends(copying, lab):
    for place in copying.places:
        lab.index.redis.set(place, "elsewhere 1 x", px=600)
    before = time.monotonic()
    assert copying().bytes_written == copying.inventory.size
    # Not before it ended: that does not depend on the machine.
    assert time.monotonic() - before > 0.5


def test_what_a_rival_has_copied_meanwhile_is_not_sent_again(copying, lab):
    for place in copying.places:
        lab.index.redis.set(place, "elsewhere 1 x", px=5000)
    results = []
    thread = threading.Thread(target=lambda: results.append(copying()))
    thread.start()
    time.sleep(0.2)
    assert copying(RedisLeases(nowhere())).bytes_written == copying.inventory.size
    lab.index.redis.delete(*copying.places)
    thread.join()
    assert (results[0].copied, results[0].bytes_written) == (0, 0)


def nowhere():
    return redis_py.Redis(port=9, retry=Retry(NoBackoff(), 0))


KILLED = """
import os, sys
from atdata_core.local import LocalIndex
from atdata_core.state import lease
from atdata_core.state.redis_state import RedisLeases

for place in sys.argv[1:]:
    assert RedisLeases(LocalIndex().redis, seconds=60).take(place) is not None
os.kill(os.getpid(), 9)
"""


def test_a_process_of_this_machine_that_was_killed_is_not_waited_for(copying, lab):
    places = [place.removeprefix("atdata:lease:") for place in copying.places]
    assert subprocess.run([sys.executable, "-c", KILLED, *places]).returncode == -9
    assert all(lab.index.redis.pttl(place) > 50_000 for place in copying.places)
    assert copying().copied == 3


def test_copying_goes_on_where_the_leases_cannot_be_reached(copying):
    assert copying(RedisLeases(nowhere())).bytes_written == copying.inventory.size


def test_a_shard_that_fails_ends_the_waiting_for_others(copying, lab):
    lab.index.redis.set(copying.places[0], "elsewhere 1 x", px=60_000)
    copying.store.endpoint.client.put_object(
        Bucket=copying.store.bucket,
        Key=copying.places[1].partition(" ")[2],
        Body=b"somebody's",
    )
    with pytest.raises(ValueError, match="Another object lies"):
        copying()
