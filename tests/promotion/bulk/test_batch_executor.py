"""The records of many datasets in few requests, with every promise that one alone has."""

from __future__ import annotations

import hashlib
import threading
from types import SimpleNamespace

import httpx
import pytest
from redis.connection import AbstractConnection

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.errors import MetadataError, RecordChangedError, ServiceRefusedError, ServiceUnavailableError
from atdata_core.local import LocalDatasetEntry, LocalIndex
from atdata_core.promotion.bulk.batch_executor import Draft, publish_many
from atdata_core.promotion.options import PromotionOptions, Values
from atdata_core.promotion.scheduling.due import due_of_all
from atdata_core.promotion.stages.schema_stage import publish_schema
from atdata_core.promotion.stages.visibility import Visibility
from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import CREATED, ENTRY_NOTE, FAILURE, CopiedShards
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger
from stages import publish_last, resolved_for

PAGE, BATCH = 100, 200


class Network(httpx.HTTPTransport):
    """The network, with a list of what is sent; ``before`` meddles with each applyWrites."""

    def __init__(self):
        super().__init__()
        self.sent = []
        self.before = lambda number, request: None

    def handle_request(self, request):
        name = request.url.path.rpartition(".")[2]
        self.sent.append(name)
        if name == "applyWrites":
            instead = self.before(self.sent.count(name), request)
            if instead is not None:
                return instead
        return super().handle_request(request)


@pytest.fixture
def network(closing):
    return closing(Network())


@pytest.fixture
def client(network, environ, pds, account):
    client = AtmosphereClient(pds.url, transport=network)
    client.login(account.handle, account.password)
    return client


@pytest.fixture
def drafts(index, client, network, point_type):
    """Make drafts of datasets whose shards are said to lie on the web."""
    ref = index.publish_schema(point_type, version="1.0.0")
    schema = publish_schema(index.get_schema(ref), client, state_of(index).ledger)
    network.sent.clear()

    def make(count, *, start=0, metadata=None):
        return [draft(f"set-{number:04}", number, metadata) for number in range(start, start + count)]

    def draft(name, number, metadata=None):
        urls = [f"https://example.org/{number}/{part}.tar" for part in range(2)]
        entry = index.register(LocalDatasetEntry(name, ref, urls, metadata))
        shards = tuple(ShardFacts(url, 1000, hashlib.sha256(url.encode()).hexdigest(), samples=5) for url in urls)
        copies = CopiedShards(entry.cid, "claim", None, shards, ("read",) * 2)
        return Draft(entry, copies, schema.uri, resolved_for(entry, client, state_of(index).ledger), Visibility(2))

    make.one = draft
    return make


@pytest.fixture
def look(client, pds):
    """What the account has published."""
    onlooker = AtmosphereClient(pds.url)

    def counts():
        return [sum(1 for _ in onlooker.iter_records(name, repo=client.did)) for name in (SCHEMA, ENTRY, LABEL)]

    def labels():
        found = onlooker.iter_records(LABEL, repo=client.did)
        return {label.value["name"]: label.value["datasetUri"] for label in found}

    return SimpleNamespace(
        counts=counts, labels=labels, record=onlooker.get_record, commit=lambda: onlooker.latest_commit(client.did)
    )


@pytest.fixture
def round_trips(monkeypatch):
    """Counts what is sent to Redis."""
    sent = []
    send = AbstractConnection.send_packed_command

    def counted(self, command, check_health=True):
        sent.append(1)
        return send(self, command, check_health)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
    return sent


def test_four_hundred_and_fifty_datasets_are_five_commits_and_a_few_round_trips(
    drafts, index, client, network, look, round_trips
):
    many = drafts(450)
    network.sent.clear()
    round_trips.clear()
    published = publish_many(many, index, client, state_of(index).ledger)
    asked = len(round_trips)
    assert [(each.change, each.label_change) for each in published] == [("created", "created")] * 450
    assert look.counts() == [1, 450, 450]
    assert look.labels() == {draft.entry.name: each.uri for draft, each in zip(many, published, strict=True)}
    # The commit, an empty page of entries and of labels, and 900 records.
    assert network.sent.count("applyWrites") == -(-900 // BATCH)
    assert len(network.sent) == 3 + -(-900 // BATCH)
    # Of two hundred datasets: their facts, what is about to be written, the index before and after; each twice.
    assert asked <= 8 * -(-900 // BATCH)
    found = due_of_all([draft.entry for draft in many], index, state_of(index).ledger, client.did)
    assert {each.state for each in found} == {"published"}


def test_again_is_no_commit_and_a_page_for_a_hundred_records(drafts, index, client, network, look):
    many = drafts(450)
    first = publish_many(many, index, client, state_of(index).ledger)
    commit = look.commit()
    network.sent.clear()
    again = publish_many(many, index, client, state_of(index).ledger)
    assert [(each.uri, each.cid, each.change) for each in again] == [(e.uri, e.cid, "unchanged") for e in first]
    assert look.commit() == commit
    assert len(network.sent) == 1 + 2 * -(-450 // PAGE)


def test_a_lost_ledger_costs_no_commit(drafts, index, client, look):
    many = drafts(30)
    first = publish_many(many, index, client, state_of(index).ledger)
    commit = look.commit()
    for key in index.redis.scan_iter("atdata:ledger:*"):
        index.redis.delete(key)
    again = publish_many(many, index, client, state_of(index).ledger)
    assert [(each.uri, each.change, each.label_change) for each in again] == [
        (each.uri, "unchanged", "unchanged") for each in first
    ]
    assert look.commit() == commit


def test_one_that_cannot_be_written_fails_alone_with_its_reason(drafts, index, client, network, look):
    many = drafts(60)
    many[17] = drafts.one("set-0017", 17, {"at": "https://h/k?X-Amz-Signature=0123456789abcdef"})

    def refuse(number, request):
        if b'"set-0031"' in request.content:
            return httpx.Response(400, json={"error": "InvalidRequest", "message": "not this one"})
        return None

    network.before = refuse
    published = publish_many(many, index, client, state_of(index).ledger)
    failed = {number: each for number, each in enumerate(published) if isinstance(each, Exception)}
    assert failed.keys() == {17, 31}
    assert isinstance(failed[17], MetadataError)
    assert isinstance(failed[31], ServiceRefusedError)
    assert "not this one" in str(failed[31])
    assert look.counts() == [1, 58, 58]
    assert "not this one" in state_of(index).ledger.get(FAILURE("set-0031")).reason
    network.before = lambda number, request: None
    assert [each.change for each in publish_many(many[31:32], index, client, state_of(index).ledger)] == ["created"]
    assert state_of(index).ledger.get(FAILURE("set-0031")) is None


@pytest.mark.parametrize("commit", [1, 2])
def test_a_single_promotion_with_other_values_in_the_middle_is_not_undone(
    drafts, index, client, network, look, account, pds, commit
):
    many = drafts(20)
    alone = AtmosphereClient(pds.url)
    alone.login(account.handle, account.password)

    def rival(number, request):
        if number == commit:
            options = PromotionOptions(values=Values.of("second", ["s"]), run="rival")
            draft = many[7]
            publish_last(
                draft.entry, draft.copies, draft.schema_uri, index, alone, state_of(index).ledger, options=options
            )

    network.before = rival
    published = publish_many(many, index, client, state_of(index).ledger)
    assert not [each for each in published if isinstance(each, Exception)]
    record = look.record(published[7].uri)
    assert (record.value["description"], record.value["tags"]) == ("second", ["s"])
    assert look.counts() == [1, 20, 20]
    found = due_of_all([draft.entry for draft in many], index, state_of(index).ledger, client.did)
    assert {each.state for each in found} == {"published"}
    later = publish_many(many, index, client, state_of(index).ledger)
    assert {each.change for each in later} == {"unchanged"}


def test_several_bulks_at_once_publish_each_dataset_once(drafts, index, look, account, pds):
    many = drafts(60)
    outcomes, failures = [], []

    def run():
        client = AtmosphereClient(pds.url)
        client.login(account.handle, account.password)
        try:
            outcomes.append(publish_many(many, LocalIndex(), client, state_of(LocalIndex()).ledger))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not [each for published in outcomes for each in published if isinstance(each, Exception)]
    assert len({tuple((each.uri, each.cid) for each in published) for published in outcomes}) == 1
    assert look.counts() == [1, 60, 60]
    commit = look.commit()
    client = AtmosphereClient(pds.url)
    client.login(account.handle, account.password)
    assert {each.change for each in publish_many(many, index, client, state_of(index).ledger)} == {"unchanged"}
    assert look.commit() == commit


def test_an_edit_made_elsewhere_in_the_middle_is_refused_for_its_dataset(
    drafts, index, client, network, look, pds, account
):
    many = drafts(10)
    publish_many(many, index, client, state_of(index).ledger)
    changed = [drafts.one(draft.entry.name, number, {"n": 1}) for number, draft in enumerate(many)]
    theirs = AtmosphereClient(pds.url)
    theirs.login(account.handle, account.password)
    uri = publish_many(many[3:4], index, client, state_of(index).ledger)[0].uri

    def edit(number, request):
        if number == 1:
            seen = theirs.get_record(uri)
            edited = {**seen.value, "description": "theirs"}
            theirs.replace(ENTRY, uri.rpartition("/")[2], edited, swap=seen.cid)

    network.sent.clear()
    network.before = edit
    published = publish_many(changed, index, client, state_of(index).ledger)
    assert [type(each) for each in published].count(RecordChangedError) == 1
    assert isinstance(published[3], RecordChangedError)
    assert [each.change for number, each in enumerate(published) if number != 3] == ["updated"] * 9
    assert look.record(uri).value["description"] == "theirs"


def test_a_label_is_never_written_before_its_entry_and_not_for_an_older_one(drafts, index, client, network, look):
    many = drafts(5)
    order = []

    def newer(number, request):
        order.append(request.content.count(b'"collection":"%s"' % ENTRY.encode()) > 0)
        if number == 1:
            drafts.one("set-0002", 99)

    network.before = newer
    published = publish_many(many, index, client, state_of(index).ledger)
    assert order == [True, False]
    assert published[2].label_uri is None
    assert "newer entry" in published[2].note
    assert look.counts() == [1, 5, 4]


def test_a_service_that_goes_away_in_between_keeps_what_is_done_and_the_next_call_goes_on(
    drafts, index, client, network, look
):
    many = drafts(250)
    network.before = lambda number, request: httpx.Response(503) if number > 1 else None
    with pytest.raises(ServiceUnavailableError):
        publish_many(many, index, client, state_of(index).ledger)
    assert look.counts() == [1, 200, 0]
    network.before = lambda number, request: None
    published = publish_many(many, index, client, state_of(index).ledger)
    assert [each.change for each in published] == ["unchanged"] * 200 + ["created"] * 50
    assert look.counts() == [1, 250, 250]
    times = {look.record(each.uri).value["createdAt"] for each in published}
    ledger, names = state_of(index).ledger, [(d.entry.name, d.entry.cid) for d in many]
    records = [ENTRY_NOTE(name, client.did, name, cid) for name, cid in names]
    assert times == {ledger.get(CREATED(record.owner, record.name)).at for record in records}


def test_a_ledger_in_memory_and_an_index_that_is_asked_for_one_name_serve_as_well(drafts, index, client, look):
    class Plain:
        """An index of somebody else's."""

        data_store = None

        def get_dataset(self, ref):
            return index.get_dataset(ref)

    many = drafts(12)
    ledger = MemoryLedger()
    published = publish_many(many, Plain(), client, ledger)
    assert {each.change for each in published} == {"created"}
    assert {each.change for each in publish_many(many, Plain(), client, ledger)} == {"unchanged"}
    assert look.counts() == [1, 12, 12]
