"""A record that was edited elsewhere is left alone; one that came back from a backup is brought up to date."""

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from atdata_core.errors import RecordChangedError
from atdata_core.promote import plan_promotion, promote_to_atmosphere
from atdata_core.state.facts import ENTRY_NOTE
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger


def rkey_of(uri):
    return uri.rsplit("/", 1)[1]


@pytest.fixture
def edit(atmosphere):
    """Change fields of a record as another program would."""

    def change(uri, **fields):
        collection = uri.rsplit("/", 2)[1]
        record = atmosphere.client.get_record(uri)
        value = {**record.value, **fields}
        return atmosphere.client.replace(collection, rkey_of(uri), value, swap=record.cid)

    return change


class Killed(BaseException):
    """Ends a run where nothing catches it."""


class Dying(httpx.HTTPTransport):
    """Lets ``writes`` writes of a collection through; the answer of the last of them is never heard."""

    def __init__(self, collection, writes=1):
        super().__init__()
        self.collection, self.writes = collection, writes

    def handle_request(self, request):
        answer = super().handle_request(request)
        if request.url.path.endswith("putRecord") and self.collection.encode() in request.content:
            self.writes -= 1
            if self.writes == 0:
                raise Killed
        return answer


@pytest.fixture
def dying(atmosphere, account, closing):
    """A client of the same account whose process ends with an answer of the PDS."""

    def client(collection):
        transport = closing(Dying(f'"collection":"{collection}"'))
        made = AtmosphereClient(atmosphere.client.base_url, transport=transport)
        made.login(account.handle, account.password)
        return made

    return client


def test_an_edit_made_elsewhere_is_refused_by_its_fields_and_nothing_is_written(lab, atmosphere, edit):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="ours", tags=["a"])
    edit(uri, description="theirs", license="MIT")
    commit = atmosphere.commit
    for begin in (promote_to_atmosphere, plan_promotion):
        for said in ({}, {"tags": ["b"]}):
            with pytest.raises(RecordChangedError, match="description, license") as caught:
                begin(entry, lab.index, atmosphere.client, **said)
            assert caught.value.uri == uri
    assert plan_promotion(entry, lab.index, atmosphere.client, take_over=True).entry == "update"
    assert atmosphere.commit == commit
    # What was refused is no override.
    promote_to_atmosphere(entry, lab.index, atmosphere.client, take_over=True)
    record = atmosphere.client.get_record(uri).value
    assert (record["description"], record["tags"]) == ("ours", ["a"])
    assert "license" not in record


def test_taking_over_writes_what_is_said_now(lab, atmosphere, edit):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="ours")
    edit(uri, description="theirs")
    promote_to_atmosphere(entry, lab.index, atmosphere.client, description="new", take_over=True)
    assert atmosphere.client.get_record(uri).value["description"] == "new"
    promote_to_atmosphere(entry, lab.index, atmosphere.client, license="MIT")
    assert atmosphere.client.get_record(uri).value["description"] == "new"


def test_an_edit_that_says_what_is_promoted_is_adopted(lab, atmosphere, edit):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client)
    edit(uri, description="agreed")
    commit = atmosphere.commit
    promote_to_atmosphere(entry, lab.index, atmosphere.client, description="agreed")
    assert atmosphere.commit == commit
    promote_to_atmosphere(entry, lab.index, atmosphere.client, description="later")
    assert atmosphere.client.get_record(uri).value["description"] == "later"


def test_a_record_restored_from_a_backup_is_brought_up_to_date(lab, atmosphere, edit):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="first")
    before = atmosphere.client.get_record(uri)
    promote_to_atmosphere(entry, lab.index, atmosphere.client, description="second")
    newest = atmosphere.client.get_record(uri)
    assert edit(uri, **before.value).cid == before.cid
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.client.get_record(uri) == newest


def test_a_label_edited_elsewhere_is_refused_before_the_entry_is_written(lab, atmosphere, edit):
    old = lab.insert("points")
    promote_to_atmosphere(old, lab.index, atmosphere.client)
    (label,) = atmosphere.records(LABEL)
    edit(label.uri, description="theirs")
    new = lab.insert("points", start=50)
    commit = atmosphere.commit
    with pytest.raises(RecordChangedError, match="datasetUri, description") as caught:
        promote_to_atmosphere(new, lab.index, atmosphere.client)
    assert caught.value.uri == label.uri
    assert atmosphere.commit == commit
    uri = promote_to_atmosphere(new, lab.index, atmosphere.client, take_over=True)
    (label,) = atmosphere.records(LABEL)
    assert label.value["datasetUri"] == uri
    assert "description" not in label.value


@pytest.mark.parametrize("collection", [ENTRY, LABEL])
def test_a_run_that_dies_with_the_answer_is_not_taken_for_an_edit(lab, atmosphere, dying, collection):
    first = lab.insert("points")
    promote_to_atmosphere(first, lab.index, atmosphere.client, description="one")
    second = lab.insert("points", start=50) if collection == LABEL else first
    with pytest.raises(Killed):
        promote_to_atmosphere(second, lab.index, dying(collection), description="two")
    uri = promote_to_atmosphere(second, lab.index, atmosphere.client, description="three")
    assert atmosphere.client.get_record(uri).value["description"] == "three"
    (label,) = atmosphere.records(LABEL)
    assert label.value["datasetUri"] == uri


def test_two_ledgers_for_one_account_never_make_a_second_record(lab, atmosphere):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="from here")

    class Elsewhere:
        """The same data in another lab's index, with a ledger of its own."""

        ledger = MemoryLedger()
        data_store = None
        get_dataset = staticmethod(lab.index.get_dataset)
        get_schema = staticmethod(lab.index.get_schema)

    there = Elsewhere()
    commit = atmosphere.commit
    assert promote_to_atmosphere(entry, there, atmosphere.client) == uri
    assert atmosphere.commit == commit
    assert promote_to_atmosphere(entry, there, atmosphere.client, description="from there") == uri
    with pytest.raises(RecordChangedError, match=r"description.*take_over"):
        promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert promote_to_atmosphere(entry, lab.index, atmosphere.client, description="from there") == uri
    assert atmosphere.counts == [1, 1, 1]


def test_the_ledger_remembers_a_bounded_number_of_contents(lab, atmosphere):
    entry = lab.insert()
    uri = promote_to_atmosphere(entry, lab.index, atmosphere.client, description="0")
    first = atmosphere.client.get_record(uri).cid
    for number in range(1, 24):
        promote_to_atmosphere(entry, lab.index, atmosphere.client, description=str(number))
    facts = state_of(lab.index).ledger.get_all("dataset", "points")
    ((_, fact),) = facts.of(ENTRY_NOTE)
    assert fact.cid == atmosphere.client.get_record(uri).cid
    assert len(fact.earlier) == 19
    assert first not in fact.earlier
