"""Of two runs with different values the one that said them last wins; the other writes nothing."""

import threading
from concurrent.futures import Future

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.errors import PreflightError, RecordChangedError, ServiceUnavailableError
from atdata_core.local import LocalIndex
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.inventory import publication_of
from atdata_core.promotion.options import PromotionOptions, Values
from atdata_core.promotion.overrides import KEPT, Overrides
from atdata_core.promotion.records import early_finds
from atdata_core.promotion.scheduling.due import due
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.promotion.stages.schema_stage import publish_schema
from atdata_core.state.index_state import state_of
from stages import publish_last


class Interrupted(httpx.HTTPTransport):
    """Does something else once, before a request about an entry record is sent."""

    def __init__(self, method, meanwhile):
        super().__init__()
        self.method, self.meanwhile = method, meanwhile

    def handle_request(self, request):
        about_entry = "dataset.entry" in str(request.url) or b'"science.alt.dataset.entry"' in request.content
        if request.url.path.endswith(self.method) and about_entry and self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return super().handle_request(request)


@pytest.fixture
def interrupted(atmosphere, account, closing, monkeypatch):
    """A client of the same account; ``meanwhile`` happens before its first such request."""
    # As where no thread can be started: each record is asked for when it is needed, not while the run begins.
    monkeypatch.setattr(early_finds, "in_background", lambda _: Future())

    def client(method, meanwhile):
        transport = closing(Interrupted(method, meanwhile))
        made = AtmosphereClient(atmosphere.client.base_url, transport=transport)
        made.login(account.handle, account.password)
        return made

    return client


@pytest.mark.parametrize(
    ("published_before", "method"), [(False, "putRecord"), (True, "getRecord"), (True, "putRecord")]
)
def test_the_run_that_spoke_first_writes_nothing(lab, atmosphere, interrupted, published_before, method):
    entry = lab.insert()
    if published_before:
        promote_to_atmosphere(entry, lab.index, atmosphere.client, description="old")
    commits = []

    def rival():
        promote_to_atmosphere(entry, LocalIndex(), atmosphere.client, description="second", tags=["s"])
        commits.append(atmosphere.commit)

    client = interrupted(method, rival)
    uri = promote_to_atmosphere(entry, lab.index, client, description="first", license="MIT")
    assert [atmosphere.commit] == commits
    record = atmosphere.client.get_record(uri).value
    # What the first run alone said still stands; what both said is the second's.
    assert (record["description"], record["tags"], record["license"]) == ("second", ["s"], "MIT")
    assert atmosphere.counts == [1, 1, 1]


def stages(entry, index, client):
    """The results that the last stage needs."""
    ledger = state_of(index).ledger
    inventory = take_inventory(entry, index, ledger)
    schema = publish_schema(inventory.schema, client, ledger)
    return copy_shards(entry, inventory, index, ledger), schema.uri


def test_a_superseded_run_says_so_and_leaves_the_label(lab, atmosphere, interrupted):
    entry = lab.insert()
    ledger = state_of(lab.index).ledger
    publication = publication_of(entry, entry.cid, atmosphere.client.did, None)

    def rival():
        Overrides(entry, publication, ledger).add(Values.of("second"), "rival")

    promote_to_atmosphere(entry, lab.index, atmosphere.client, description="old")
    commit = atmosphere.commit
    client = interrupted("getRecord", rival)
    ready = stages(entry, lab.index, atmosphere.client)
    options = PromotionOptions(values=Values.of("first"))
    result = publish_last(entry, *ready, lab.index, client, ledger, options=options)
    assert (result.change, result.label_uri, result.label_change) == ("superseded", None, "unchanged")
    assert result.cid == atmosphere.client.get_record(result.uri).cid
    assert "run that was asked for them" in result.note
    assert atmosphere.commit == commit


def test_what_the_newer_run_could_not_write_is_written_by_the_next(lab, atmosphere, interrupted, account, closing):
    entry = lab.insert()
    promote_to_atmosphere(entry, lab.index, atmosphere.client, description="old")

    class Down(httpx.HTTPTransport):
        def handle_request(self, request):
            if request.url.path.endswith("putRecord"):
                return httpx.Response(503, request=request)
            return super().handle_request(request)

    down = AtmosphereClient(atmosphere.client.base_url, transport=closing(Down()))
    down.login(account.handle, account.password)

    def rival():
        with pytest.raises(ServiceUnavailableError):
            promote_to_atmosphere(entry, LocalIndex(), down, description="second")

    uri = promote_to_atmosphere(entry, lab.index, interrupted("getRecord", rival), description="first")
    assert atmosphere.client.get_record(uri).value["description"] == "old"
    ledger = state_of(lab.index).ledger
    found = due(entry, lab.index, ledger, atmosphere.client.did)
    # That run noted its failure: what runs by itself tries again after a pause.
    assert (found.state, found.retry_at is None) == ("failed", False)
    assert "putRecord: 503" in found.reason
    promote_to_atmosphere(entry, lab.index, atmosphere.client, restore=False)
    assert atmosphere.client.get_record(uri).value["description"] == "second"
    assert due(entry, lab.index, ledger, atmosphere.client.did).state == "published"


def test_many_runs_with_different_values_end_with_the_last_that_was_said(lab, atmosphere):
    entry = lab.insert()
    uris = []

    def run(number):
        uris.append(promote_to_atmosphere(entry, LocalIndex(), atmosphere.client, description=f"said by {number}"))

    threads = [threading.Thread(target=run, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(uris) == 6
    (uri,) = set(uris)
    ledger = state_of(lab.index).ledger
    publication = publication_of(entry, entry.cid, atmosphere.client.did, None)
    layers = Overrides(entry, publication, ledger).layers()
    assert layers.order == 6
    assert atmosphere.client.get_record(uri).value["description"] == layers.values.description
    assert atmosphere.counts == [1, 1, 1]
    assert due(entry, lab.index, ledger, atmosphere.client.did).state == "published"


def test_values_outlive_a_ledger_that_is_lost_while_they_are_written(lab, atmosphere, interrupted):
    entry = lab.insert()
    promote_to_atmosphere(entry, lab.index, atmosphere.client, description="old", license="MIT")
    redis = lab.index.redis

    def lose():
        for key in redis.scan_iter("atdata:ledger:*"):
            redis.delete(key)

    uri = promote_to_atmosphere(entry, lab.index, interrupted("getRecord", lose), description="new")
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    record = atmosphere.client.get_record(uri).value
    assert (record["description"], record["license"]) == ("new", "MIT")


def test_values_that_were_refused_were_not_said(lab, atmosphere):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="good")
    with pytest.raises(PreflightError):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, description="x" * 5001)
    record = atmosphere.client.get_record(uri)
    atmosphere.client.replace(
        "science.alt.dataset.entry", uri.rsplit("/", 1)[1], {**record.value, "license": "MIT"}, swap=record.cid
    )
    with pytest.raises(RecordChangedError):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, tags=["refused"])
    assert due(entry, lab.index, state_of(lab.index).ledger, atmosphere.client.did).state == "published"
    promote_to_atmosphere(entry, lab.index, atmosphere.client, license="MIT")
    value = atmosphere.client.get_record(uri).value
    assert (value["description"], value.get("tags")) == ("good", None)


@pytest.fixture
def overrides(lab):
    """What is said of a publication; in Redis."""
    entry = lab.insert(shards=1)
    publication = publication_of(entry, entry.cid, "did:plc:abc", None)
    return Overrides(entry, publication, state_of(lab.index).ledger)


def test_a_run_that_is_tried_again_keeps_its_place(overrides):
    assert overrides.add(Values(), "silent") is None
    assert overrides.add(Values.of("a"), "one") == 1
    assert overrides.add(Values.of("b"), "two") == 2
    assert overrides.add(Values.of("a"), "one") == 1
    assert overrides.layers().values.description == "b"


@pytest.mark.parametrize("refused", [("one", "two"), ("two", "one")])
def test_overrides_are_removed_in_any_order(overrides, refused):
    overrides.recover({"license": "MIT"})
    overrides.add(Values.of("a", ["t"]), "one")
    overrides.add(Values.of("b"), "two")
    overrides.remove(refused[0])
    left = {"one": Values.of("b", None, "MIT"), "two": Values.of("a", ["t"], "MIT")}
    assert overrides.layers().values == left[refused[0]]
    overrides.remove(refused[1])
    assert (overrides.layers().values, overrides.layers().order) == (Values.of(license="MIT"), 0)


def test_old_overrides_become_one(overrides):
    overrides.add(Values.of(license="MIT"), "first")
    for number in range(1, KEPT + 5):
        assert overrides.add(Values.of(str(number)), str(number)) == number + 1
    layers = overrides.layers()
    assert (layers.values, layers.order) == (Values.of(str(KEPT + 4), None, "MIT"), KEPT + 5)


def test_everybody_gets_another_number(overrides):
    numbers = []
    threads = [
        threading.Thread(target=lambda run=str(run): numbers.append(overrides.add(Values.of(run), run)))
        for run in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 13))
