"""A retraction and runs that come at the same time: neither undoes or outlives the other by accident."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.errors import BlockedError, RecordGoneError
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.copies import usage
from atdata_core.promotion.copies.usage import in_use
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.verify.verification import verify_dataset
from atdata_core.state.facts import BLOCK, Block
from atdata_core.state.index_state import state_of
from atdata_core.state.lease import Leases


def test_a_promotion_that_comes_while_copies_are_removed_makes_them_again(
    lab, publish, store, list_keys, verified, atmosphere
):
    entry = lab.insert("points")
    publish(entry, data_store=store)
    ledger = state_of(lab.index).ledger
    client = atmosphere.client
    plan = plan_retraction("points", client, ledger=ledger, store=store, index=lab.index, shards=True)
    with ThreadPoolExecutor(1) as pool:
        rivals = []

        def say(step):
            if "/promoted/" in step and not rivals:
                rivals.append(pool.submit(publish, entry, data_store=store, name="renamed"))

        done = retract(plan, client, ledger, store, index=lab.index, say=say)
        verified(rivals[0].result())
    # From the moment on at which the rival has said that it will name them, they stay.
    assert (len(done.copies) + len(done.kept), len(done.copies) >= 1) == (3, True)
    assert len(list_keys(store.bucket)) == 3


@pytest.fixture
def verified(atmosphere, store):
    """See that a published entry is true."""

    def check(uri):
        assert verify_dataset(uri, client=atmosphere.client).findings == ()

    return check


@pytest.fixture
def meanwhile(atmosphere, account, closing):
    """A client of the account; something happens once, before it asks or writes about an entry record."""

    class Interrupted(httpx.HTTPTransport):
        what = method = None

        def handle_request(self, request):
            about_entry = ENTRY in str(request.url) or f'"{ENTRY}"'.encode() in request.content
            if self.what and request.url.path.endswith(self.method) and about_entry:
                what, self.what = self.what, None
                what()
            return super().handle_request(request)

    def client(what, method="putRecord"):
        transport = closing(Interrupted())
        made = AtmosphereClient(atmosphere.client.base_url, transport=transport)
        made.login(account.handle, account.password)
        transport.what, transport.method = what, method
        return made

    return client


def test_copies_that_a_run_is_about_to_name_stay(lab, publish, store, take_back, list_keys, meanwhile, verified):
    entry = lab.insert("points")
    publish(entry, data_store=store)
    kept = []

    def retracted():
        _, done = take_back("points", store=store, shards=True)
        kept.extend(done.kept)

    uri = promote_to_atmosphere(entry, lab.index, meanwhile(retracted), data_store=store, name="renamed")
    verified(uri)
    assert len(kept) == 3
    assert "a promotion under way since 20" in kept[0]
    take_back("renamed", store=store, shards=True)
    assert list_keys(store.bucket) == []


@pytest.mark.parametrize("restore", [True, False])
def test_a_run_does_not_write_what_is_retracted_while_it_runs(
    lab, atmosphere, publish, store, take_back, meanwhile, verified, restore
):
    entry = lab.insert("points")
    publish(entry, data_store=store)
    client = meanwhile(lambda: take_back("points", store=store, shards=True))
    with pytest.raises(RecordGoneError, match="somebody retracts it"):
        promote_to_atmosphere(
            entry, lab.index, client, data_store=store, description="other words", restore=restore
        )
    assert atmosphere.counts == [1, 0, 0]
    assert state_of(lab.index).ledger.get(BLOCK("points")).kind == "retracted"
    verified(publish(entry, data_store=store))


def test_a_run_that_was_killed_keeps_copies_for_a_day(lab, publish, store, take_back, list_keys, monkeypatch):
    entry = lab.insert("points")
    publish(entry, data_store=store)
    ledger = state_of(lab.index).ledger
    with in_use(ledger, Leases(), entry.cid, "a killed run"):
        pass
    assert len(take_back("points", store=store, shards=True)[1].kept) == 3
    monkeypatch.setattr(usage, "HONOURED", timedelta(0))
    assert take_back("points", store=store, shards=True)[1].kept == ()
    assert list_keys(store.bucket) == []


def test_a_run_that_nobody_asked_for_is_held_back_as_soon_as_a_retraction_begins(
    lab, atmosphere, publish, meanwhile
):
    entry = lab.insert("points")
    publish(entry)
    ledger = state_of(lab.index).ledger
    plan = plan_retraction("points", atmosphere.client, ledger=ledger)
    hold = Block("retracted", "it is retracted", atmosphere.client.did, plan.name)
    client = meanwhile(lambda: ledger.put(BLOCK("points"), hold), "getRecord")
    commit = atmosphere.commit
    with pytest.raises(BlockedError, match="it is retracted"):
        promote_to_atmosphere(entry, lab.index, client, description="other words", restore=False)
    assert atmosphere.commit == commit
