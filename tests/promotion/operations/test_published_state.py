"""What stands on the network of an account's datasets: by the ledger, and by labels where it knows nothing."""

import pytest

from atdata_core.atmosphere.record_format.build import label_record
from atdata_core.atmosphere.record_format.record_keys import LABEL, label_rkey
from atdata_core.promotion.operations.published_state import PublishedStates
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger

CLOCK_KEY = "3lb2aaaaaaa2a"


@pytest.fixture
def standing(lab, atmosphere):
    def look(known=(), *, taken=lambda _: True, ledger=None):
        return PublishedStates(
            atmosphere.client, ledger or state_of(lab.index).ledger, atmosphere.client.did, known, taken
        )

    return look


@pytest.fixture
def label(atmosphere):
    """Write the label of a name, under the key that it has of this program or another one."""

    def write(name, uri, rkey=None):
        record = label_record(name=name, dataset_uri=uri, version=None, created_at="2026-01-01T00:00:00.000Z")
        atmosphere.client.create_once(LABEL, rkey or label_rkey(atmosphere.client.did, name), record)

    return write


def shown(standing):
    return {dataset: [(each.name, each.uri) for each in some] for dataset, some in standing}


def test_a_dataset_stands_under_each_name_that_it_was_published_as(lab, publish, take_back, standing):
    shared = publish(lab.insert("one"), name="public-name")
    own = publish(lab.insert("one", start=50))
    assert shown(standing()) == {"one": [("one", own), ("public-name", shared)]}
    assert [str(each) for _, some in standing() for each in some] == ["one", "one as public-name"]
    take_back("public-name")
    assert shown(standing()) == {"one": [("one", own)]}


def test_a_name_belongs_to_its_dataset_and_not_to_one_that_is_called_so(lab, publish, standing):
    uri = publish(lab.insert("one"), name="two")
    assert shown(standing(taken=lambda name: name == "one")) == {"one": [("two", uri)]}
    elsewhere = standing(taken=lambda name: name == "two")
    assert (shown(elsewhere), elsewhere.labels, elsewhere.passed_over) == ({}, 0, 0)
    # What somebody looks after already stays so, whatever names are taken.
    assert shown(standing(["one"], taken=lambda _: False)) == {"one": [("two", uri)]}


def test_without_a_ledger_the_labels_of_this_program_count_and_others_of_known_datasets(
    lab, publish, label, standing
):
    uri = publish(lab.insert("one"))
    label("theirs", uri, CLOCK_KEY)
    lost = standing(ledger=MemoryLedger())
    assert (shown(lost), lost.labels, lost.passed_over) == ({"one": [("one", uri)]}, 2, 1)
    lost = standing(["theirs"], ledger=MemoryLedger(), taken=lambda _: False)
    assert (shown(lost), lost.labels, lost.passed_over) == ({"theirs": [("theirs", uri)]}, 1, 0)


def test_of_two_labels_of_a_name_the_one_of_this_program_counts(lab, publish, label, standing):
    uri = publish(lab.insert("one"))
    label("one", publish(lab.insert("other", start=50)), CLOCK_KEY)
    assert shown(standing(["one"], ledger=MemoryLedger()))["one"] == [("one", uri)]


def test_a_label_costs_no_request_and_no_question_of_its_own(
    lab, publish, label, standing, requests_of, round_trips
):
    uri = publish(lab.insert("one"))
    costs = []
    for count in (0, 60):
        for number in range(count):
            label(f"more-{number}", uri)
        found = []
        requests = requests_of(lambda found=found: found.extend(standing()))
        costs.append((requests, round_trips.of(lambda: list(standing()))))
        assert len(found) == 1 + count
    # The PDS gives a cursor after its last page, too.
    assert costs == [(2, 2), (2, 2)]
