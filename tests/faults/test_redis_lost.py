"""Redis emptied, killed or there twice: never a second record."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import atdata_core as atdata
from atdata_core.errors import ServiceUnavailableError
from atdata_core.local import LocalIndex
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.operations.reconcile import reconcile
from atdata_core.promotion.options import PromotionOptions
from atdata_core.promotion.prepare import validate
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.promotion.stages.publish import begin_publishing
from atdata_core.promotion.stages.schema_stage import publish_schema
from atdata_core.state.index_state import state_of
from faulty.edge import Fault, Rule
from faulty.samples import Reading
from stages import publish_last, resolved_for


def insert_again(lane, entry):
    """The entry as it is after somebody inserted the same data into an index that had lost it."""
    ref = lane.index.publish_schema(Reading)
    return lane.index.add_entry(atdata.Dataset[Reading](entry.data_urls), name=entry.name, schema_ref=ref)


@pytest.mark.measured
def test_redis_emptied_between_all_stages_makes_no_second_record(lane, reliability):
    first = lane.insert(shards=2)
    store = lane.data_store()
    index, client, options = lane.user_index, lane.user, PromotionOptions()
    ledger = state_of(index).ledger

    def stages():
        inventory = take_inventory(first, index, ledger, destination=store)
        yield
        resolved = resolved_for(first, client, ledger, store=store, options=options)
        validate(inventory, resolved, client)
        begin_publishing(resolved)
        yield
        schema = publish_schema(inventory.schema, client, ledger)
        yield
        copies = copy_shards(first, inventory, index, ledger, data_store=store)
        yield
        yield publish_last(first, copies, schema.uri, index, client, ledger, store=store, options=options).uri

    def emptied():
        said = []
        for uri in stages():
            said.append(uri)
            lane.redis.flushdb()
            assert insert_again(lane, first).cid == first.cid
        return said[-1]

    uris = {emptied() for _ in range(3)}
    assert len(uris) == 1
    assert lane.counts() == [1, 1, 1]
    assert len(lane.objects()) == 2
    assert lane.states() == {"readings": "due"}
    reconcile(lane.index, lane.client, ledger)
    assert lane.states() == {"readings": "published"}
    reliability(
        "Redis emptied between all stages, and the dataset inserted again",
        "never a second record",
        "1 schema, 1 entry, 1 label, 2 copies of 2 shards",
        runs=3,
    )


@pytest.mark.measured
def test_two_redis_servers_with_one_account_make_one_record(lane, other_box, reliability):
    import redis

    entry = lane.insert(shards=2)
    with redis.Redis.from_url(other_box.redis_url) as elsewhere:
        elsewhere.flushdb()
        other = LocalIndex(elsewhere, data_store=lane.user_index.data_store)
        ref = other.publish_schema(Reading)
        twin = other.add_entry(atdata.Dataset[Reading](entry.data_urls), name=entry.name, schema_ref=ref)
        assert twin.cid == entry.cid

        def promote(number):
            of, index = [(entry, lane.user_index), (twin, other)][number % 2]
            return promote_to_atmosphere(of, index, lane.user, data_store=lane.data_store())

        uris = {lane.promote(entry, copy=True, tags=["said here"]), promote(1)}
        with ThreadPoolExecutor(4) as pool:
            uris |= set(pool.map(promote, range(8)))
    assert len(uris) == 1
    assert lane.counts() == [1, 1, 1]
    assert lane.client.get_record(uris.pop()).value["tags"] == ["said here"]
    assert lane.states() == {"readings": "published"}
    assert len(lane.objects()) == 2
    reliability(
        "two Redis servers, one account, 4 promotions at a time",
        "never a second record",
        "1 schema, 1 entry, 1 label; tags given through one server stay",
        runs=10,
    )


class KillsRedis(Rule):
    """Kills the server at the n-th command, before or after it is carried out; starts it again if told to."""

    def __init__(self, valkey, number, when, *, restart):
        self.valkey, self.number, self.when, self.restart = valkey, number, when, restart
        self.seen = 0
        self.killed = False

    def kill(self):
        self.killed = True
        self.valkey.kill()
        if self.restart:
            self.valkey.start()
        return Fault.RESET

    def asked(self, call):
        self.seen += call.service == "redis"
        due = call.service == "redis" and self.seen == self.number
        return self.kill() if due and self.when == "before" else None

    def answered(self, call, answer):
        due = call.service == "redis" and self.seen == self.number and not self.killed
        return self.kill() if due and self.when == "after" else None


def killed_at(lane, valkey, number, when, *, restart):
    """Promote while Redis is killed at a command, and again until it is done; the rule that killed it."""
    for collection, records in lane.records().items():
        for record in records:
            lane.client.delete(collection, record.uri.rpartition("/")[2])
    lane.redis.flushdb()
    entry = insert_again(lane, lane.entry)
    lane.edge.rule = rule = KillsRedis(valkey, number, when, restart=restart)
    try:
        lane.promote(entry)
    except ServiceUnavailableError:
        lane.edge.rule = Rule()
        if not restart:
            valkey.start()
        lane.promote(entry)
    lane.edge.rule = Rule()
    assert lane.counts() == [1, 1, 1]
    assert lane.states() == {"readings": "published"}
    return rule


def prepared(new_lane, valkey):
    lane = new_lane(valkey.url)
    lane.entry = lane.insert(shards=1)
    lane.promote(lane.entry)
    return lane


@pytest.mark.slow
def test_redis_killed_within_a_run_makes_no_second_record(new_lane, valkey):
    lane = prepared(new_lane, valkey)
    commands = killed_at(lane, valkey, None, "after", restart=False).seen
    assert killed_at(lane, valkey, commands - 4, "after", restart=False).killed


@pytest.mark.faults
def test_redis_killed_at_every_command_makes_no_second_record(new_lane, valkey, reliability):
    lane = prepared(new_lane, valkey)
    killed, number = 0, 0
    while killed == number * 4:
        number += 1
        for when in ("before", "after"):
            for restart in (True, False):
                killed += killed_at(lane, valkey, number, when, restart=restart).killed
    assert number > 10
    reliability(
        "Redis killed (`kill -9`) before and after every command of a run, and started again at once or when the "
        "run has failed",
        "never a second record",
        f"1 schema, 1 entry, 1 label at all {killed} points",
        runs=killed,
    )
