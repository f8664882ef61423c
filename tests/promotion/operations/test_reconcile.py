"""What the ledger lost is learnt from the account's records; what is gone or edited is told."""

from dataclasses import replace

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from atdata_core.errors import EntryNotFoundError
from atdata_core.promotion.operations.reconcile import reconcile
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.scheduling.due import due
from atdata_core.state.facts import BLOCK, CREATED, LAST_RESULT, NAME_OWNER, RECORDS
from atdata_core.state.index_state import state_of


@pytest.fixture
def ledger(lab):
    return state_of(lab.index).ledger


@pytest.fixture
def compare(lab, atmosphere, ledger):
    """The findings as pairs of kind and at-uri; the network stays as it is."""

    def found(*names):
        commit = atmosphere.commit
        result = reconcile(lab.index, atmosphere.client, ledger, names)
        assert atmosphere.commit == commit
        return sorted((finding.kind, finding.uri) for finding in result.discrepancies)

    return found


@pytest.fixture
def state(lab, atmosphere, ledger):
    def of(entry):
        return due(entry, lab.index, ledger, atmosphere.client.did).state

    return of


@pytest.fixture
def again(lab, point_type):
    """The same data once more, with other metadata."""

    def insert(entry, metadata):
        return lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name=entry.name, metadata=metadata)

    return insert


@pytest.fixture
def forget(lab):
    def forget(pattern="*"):
        for key in lab.index.redis.scan_iter(f"atdata:ledger:{pattern}"):
            lab.index.redis.delete(key)

    return forget


@pytest.fixture
def remove(atmosphere):
    def delete(uri):
        *_, collection, rkey = uri.split("/")
        atmosphere.client.delete(collection, rkey)

    return delete


@pytest.fixture
def edit(atmosphere):
    """Write over a record as another program would; what stood there before."""

    def change(uri, **fields):
        *_, collection, rkey = uri.split("/")
        before = atmosphere.client.get_record(uri)
        atmosphere.client.replace(collection, rkey, {**before.value, **fields}, swap=before.cid)
        return before

    return change


def test_where_nothing_is_wrong_nothing_is_found(lab, publish, compare):
    publish(lab.insert("points"))
    publish(lab.insert("points", start=50), version="2")
    assert compare() == []


def test_a_lost_ledger_is_rebuilt_so_that_nothing_is_promoted_needlessly(
    lab, atmosphere, publish, compare, ledger, forget, state
):
    entry = lab.insert("points", metadata={"license": "MIT", "x": 1.5})
    uri = publish(entry, tags=["a"], version="1")
    facts = ledger.get_all("dataset", "points")
    forget()
    assert state(entry) == "due"
    assert {kind for kind, _ in compare()} == {"rebuilt"}
    assert state(entry) == "published"
    after = ledger.get_all("dataset", "points")
    for key, created in after.of(CREATED):
        assert facts[key] == created
    for key, note in facts.of(*RECORDS):
        assert replace(after[key], at=None) == replace(note, at=None)
    assert after[LAST_RESULT("points")] is not None
    commit = atmosphere.commit
    assert publish(entry) == uri
    assert atmosphere.commit == commit
    assert atmosphere.client.get_record(uri).value["tags"] == ["a"]
    assert compare() == []


def test_values_of_the_metadata_are_not_taken_for_what_a_person_said(
    lab, atmosphere, publish, compare, forget, again
):
    entry = lab.insert("points", metadata={"license": "MIT"})
    uri = publish(entry, description="typed")
    entry = again(entry, {"license": "CC0-1.0"})
    forget()
    compare()
    publish(entry)
    record = atmosphere.client.get_record(uri).value
    assert (record["license"], record["description"]) == ("CC0-1.0", "typed")


def test_new_metadata_and_new_entries_are_still_to_be_promoted(lab, publish, compare, forget, state, again):
    publish(lab.insert("points"))
    dots = lab.insert("dots", start=20)
    publish(dots)
    new = lab.insert("points", start=50)
    changed = again(dots, {"k": 1})
    forget()
    assert {kind for kind, _ in compare()} == {"rebuilt"}
    assert (state(new), state(changed)) == ("due", "due")


def test_other_names_of_a_dataset_are_known_again(lab, publish, compare, forget, ledger, atmosphere):
    entry = lab.insert("points")
    publish(entry)
    other = publish(entry, name="dots")
    forget()
    assert ("rebuilt", other) in compare()
    assert ledger.get(NAME_OWNER(atmosphere.client.did, "dots")).dataset == "points"
    assert ledger.get(LAST_RESULT("points")).publication.name == "points"


def test_records_of_others_are_left_alone(lab, atmosphere, publish, compare):
    publish(lab.insert("points"))
    foreign = {"$type": ENTRY, "name": "theirs", "createdAt": atmosphere.client.now()}
    record, _ = atmosphere.client.create_once(ENTRY, "3lbslb7qzc22a", foreign)
    ours, _ = atmosphere.client.create_once(ENTRY, "2lbslb7qzc22a", {**foreign, "name": "points"})
    assert compare() == [("foreign", ours.uri), ("foreign", record.uri)]


def test_a_deleted_record_holds_its_dataset_until_a_person_promotes_it(
    lab, atmosphere, publish, compare, remove, state, ledger
):
    entry = lab.insert("points")
    uri = publish(entry)
    before = atmosphere.client.get_record(uri)
    remove(uri)
    assert compare() == [("gone", uri)]
    assert state(entry) == "blocked"
    assert ledger.get(BLOCK("points")).kind == "gone"
    assert publish(entry) == uri
    assert atmosphere.client.get_record(uri) == before
    assert (compare(), state(entry)) == ([], "published")


def test_a_deleted_label_is_found_too(lab, atmosphere, publish, compare, remove, state):
    entry = lab.insert("points")
    publish(entry)
    (label,) = atmosphere.records(LABEL)
    remove(label.uri)
    assert compare() == [("gone", label.uri)]
    assert state(entry) == "blocked"


def test_a_deleted_older_version_does_not_hold_the_present_one(lab, publish, compare, remove, state):
    old = publish(lab.insert("points"))
    new = lab.insert("points", start=50)
    publish(new)
    remove(old)
    assert compare() == [("gone", old)]
    assert state(new) == "published"


def test_a_retraction_is_not_taken_for_a_loss(lab, atmosphere, publish, compare, ledger, state):
    entry = lab.insert("points")
    publish(entry)
    retract(plan_retraction("points", atmosphere.client, ledger=ledger), atmosphere.client, ledger)
    assert compare() == []
    assert ledger.get(BLOCK("points")).kind == "retracted"
    publish(entry)
    assert compare() == []


def test_an_edit_made_elsewhere_is_told_and_left(lab, atmosphere, publish, compare, edit, state):
    entry = lab.insert("points")
    uri = publish(entry)
    edit(uri, description="by hand")
    (label,) = atmosphere.records(LABEL)
    edit(label.uri, datasetUri="at://did:plc:somebody/science.alt.dataset.entry/3lbslb7qzc22a")
    assert compare() == [("edited", uri), ("edited", label.uri)]
    assert state(entry) == "published"


def test_a_pds_put_back_from_a_backup_is_told_and_brought_up_to_date(lab, atmosphere, publish, compare):
    entry = lab.insert("points")
    uri = publish(entry)
    old = atmosphere.client.get_record(uri)
    publish(entry, tags=["new"])
    newer = atmosphere.client.get_record(uri)
    atmosphere.client.replace(ENTRY, uri.rpartition("/")[2], old.value, swap=newer.cid)
    assert compare() == [("older", uri)]
    publish(entry)
    assert atmosphere.client.get_record(uri) == newer
    assert compare() == []


def test_a_record_without_its_label_is_promoted_again(lab, atmosphere, publish, compare, remove, forget, state):
    entry = lab.insert("points")
    uri = publish(entry)
    remove(atmosphere.records(LABEL)[0].uri)
    forget()
    assert compare() == [("rebuilt", uri), ("unlabelled", uri)]
    assert state(entry) == "due"


def test_only_what_is_named_is_looked_at(lab, publish, compare, forget, ledger):
    one, two = publish(lab.insert("one")), publish(lab.insert("two", start=50))
    forget()
    found = compare("one")
    assert ("rebuilt", one) in found
    assert all(uri != two for _, uri in found)
    assert ledger.get(LAST_RESULT("two")) is None
    with pytest.raises(EntryNotFoundError, match="Near it: two"):
        compare("tow")


def test_a_label_that_is_gone_never_leads_to_a_new_entry(lab, publish, ledger, remove, state, atmosphere):
    publish(lab.insert("points"))
    entry = lab.insert("points", start=100)
    (label,) = atmosphere.records(LABEL)
    remove(label.uri)
    (finding,) = reconcile(lab.index, atmosphere.client, ledger).of("gone")
    assert (finding.uri, finding.cid) == (label.uri, None)
    assert state(entry) == "blocked"


@pytest.mark.parametrize("lost", [False, True])
def test_the_label_of_a_version_is_known_by_it(lab, publish, compare, remove, forget, ledger, atmosphere, lost):
    entry = lab.insert("points")
    publish(entry, version="1.0")
    if lost:
        forget()
        compare()
    fixed = next(record for record in atmosphere.records(LABEL) if record.value.get("version"))
    remove(fixed.uri)
    (finding,) = reconcile(lab.index, atmosphere.client, ledger).of("gone")
    assert (finding.uri, finding.name, finding.cid, finding.version) == (fixed.uri, "points", entry.cid, "1.0")
    assert due(entry, lab.index, ledger, atmosphere.client.did).state == "published"
