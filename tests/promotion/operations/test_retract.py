"""A retraction removes what a name published, in an order that may be interrupted, and nothing else."""

import secrets
from itertools import product

import httpx
import pytest

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.build import label_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from atdata_core.errors import BlockedError, RecordChangedError, RecordNotFoundError, ServiceError, StorageError
from atdata_core.local import S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.scheduling.due import due
from atdata_core.state.facts import BLOCK, ENTRY_NOTE, LAST_RESULT
from atdata_core.state.index_state import state_of


def forget_all(index):
    for key in index.redis.scan_iter("atdata:ledger:*"):
        index.redis.delete(key)


def test_label_and_entry_go_the_schema_stays_and_the_dataset_is_held(lab, atmosphere, publish, take_back):
    uri = publish(lab.insert("points"))
    commit = atmosphere.commit
    plan = plan_retraction("points", atmosphere.client, ledger=state_of(lab.index).ledger)
    assert atmosphere.commit == commit
    assert [removal.uri for removal in plan.entries] == [uri]
    assert plan.write_points == 2
    _, done = take_back("points")
    assert atmosphere.counts == [1, 0, 0]
    assert done.records[-1] == uri
    hold = state_of(lab.index).ledger.get(BLOCK("points"))
    assert hold is not None
    assert (hold.kind, hold.did, hold.name) == ("retracted", atmosphere.client.did, "points")


def test_what_a_person_promotes_again_has_the_same_keys_and_first_time(lab, atmosphere, publish, take_back):
    entry = lab.insert("points")
    uri = publish(entry, tags=["a"])
    before = atmosphere.client.get_record(uri)
    take_back("points")
    assert publish(entry) == uri
    assert atmosphere.client.get_record(uri) == before
    assert atmosphere.counts == [1, 1, 1]


def test_what_was_retracted_is_left_to_a_person(lab, atmosphere, publish, take_back):
    entry = lab.insert("points")
    publish(entry)
    take_back("points")
    found = due(entry, lab.index, state_of(lab.index).ledger, atmosphere.client.did)
    assert found.state == "blocked"
    with pytest.raises(BlockedError, match="retracted"):
        publish(entry, restore=False)
    assert atmosphere.counts == [1, 0, 0]


def test_a_name_that_is_not_published_is_refused_with_what_is_near(lab, atmosphere, publish, take_back):
    publish(lab.insert("points"))
    with pytest.raises(RecordNotFoundError, match="Near it: points"):
        take_back("pionts")
    take_back("points")
    with pytest.raises(RecordNotFoundError, match="published nothing"):
        take_back("points")


def test_older_versions_stay_unless_they_are_asked_for(lab, atmosphere, publish, take_back):
    old = publish(lab.insert("points"))
    new = publish(lab.insert("points", start=50))
    fixed = label_record(name="points", dataset_uri=old, version="1.0", created_at=atmosphere.client.now())
    atmosphere.client.create_once(LABEL, "2222222222222", fixed)
    plan, _ = take_back("points")
    assert [removal.uri for removal in plan.entries] == [new]
    assert any("1 older entry" in note for note in plan.stays)
    assert [record.uri for record in atmosphere.records(ENTRY)] == [old]
    assert [record.value["version"] for record in atmosphere.records(LABEL)] == ["1.0"]
    take_back("points", all_versions=True)
    assert atmosphere.counts == [1, 0, 0]


def test_other_names_stay_and_so_does_what_they_point_at(lab, atmosphere, publish, take_back):
    entry = lab.insert("points")
    publish(entry)
    other = publish(entry, name="dots")
    take_back("points", all_versions=True)
    assert [record.uri for record in atmosphere.records(ENTRY)] == [other]
    assert [record.value["name"] for record in atmosphere.records(LABEL)] == ["dots"]
    assert state_of(lab.index).ledger.get(ENTRY_NOTE(entry.name, atmosphere.client.did, "dots", entry.cid))


def test_retracting_another_name_does_not_hold_a_dataset_that_is_published_under_its_own(lab, publish, take_back):
    entry = lab.insert("points")
    publish(entry)
    publish(entry, name="dots")
    plan, _ = take_back("dots")
    assert not plan.blocks
    assert state_of(lab.index).ledger.get(BLOCK("points")) is None
    plan, _ = take_back("points")
    assert plan.blocks
    assert state_of(lab.index).ledger.get(BLOCK("points")) is not None


def test_without_a_ledger_and_a_label_the_newest_entry_is_the_current_one(lab, atmosphere, publish, take_back):
    publish(lab.insert("points"))
    new = publish(lab.insert("points", start=50))
    (label,) = atmosphere.records(LABEL)
    atmosphere.client.delete(LABEL, label.uri.rpartition("/")[2])
    forget_all(lab.index)
    plan, _ = take_back("points")
    assert [removal.uri for removal in plan.entries] == [new]
    assert plan.labels == ()


def test_a_record_that_changed_since_the_plan_stays(lab, atmosphere, publish):
    entry = lab.insert("points")
    uri = publish(entry)
    ledger = state_of(lab.index).ledger
    plan = plan_retraction("points", atmosphere.client, ledger=ledger)
    publish(entry, tags=["new"])
    with pytest.raises(RecordChangedError):
        retract(plan, atmosphere.client, ledger)
    assert atmosphere.client.get_record(uri).value["tags"] == ["new"]


def test_only_copies_that_nothing_else_names_go(lab, atmosphere, publish, take_back, store, list_keys):
    entry = lab.insert("points")
    publish(entry, data_store=store)
    publish(entry, data_store=store, name="dots")
    plan, done = take_back("points", store=store, shards=True)
    assert (plan.copies, done.copies) == ((), ())
    assert any("3 copies" in note and "names them" in note for note in plan.stays)
    assert len(list_keys(store.bucket)) == 3
    size = sum(claim.size for claim in lab.index.shard_claims(entry.cid).values())
    plan, done = take_back("dots", store=store, shards=True)
    assert (plan.bytes_to_remove, done.bytes_removed) == (size, size)
    assert list_keys(store.bucket) == []
    assert len(list_keys(lab.bucket)) == 3


def test_shards_that_were_not_copied_are_never_removed(lab, atmosphere, publish, take_back, list_keys):
    publish(lab.insert("points"))
    plan, done = take_back("points", store=S3DataStore(lab.s3, bucket=lab.bucket), shards=True)
    assert (plan.copies, done.copies) == ((), ())
    assert len(list_keys(lab.bucket)) == 3


def test_copies_that_were_left_can_be_removed_later(lab, atmosphere, publish, take_back, store, list_keys):
    publish(lab.insert("points"), data_store=store)
    take_back("points")
    assert len(list_keys(store.bucket)) == 3
    plan, done = take_back("points", store=store, shards=True)
    assert (plan.entries, len(done.copies)) == ((), 3)
    assert list_keys(store.bucket) == []


def test_a_copy_that_a_local_dataset_reads_stays(lab, atmosphere, publish, take_back, store, list_keys, point_type):
    uri = publish(lab.insert("points"), data_store=store)
    url = atmosphere.client.get_record(uri).value["storage"]["shards"][0]["key"]
    lab.index.add_entry(atdata.Dataset[point_type](f"s3://{store.bucket}/{url}"), name="again")
    plan, _ = take_back("points", store=store, shards=True)
    assert any("dataset 'again'" in note for note in plan.stays)
    assert list_keys(store.bucket) == [url]


def test_a_copy_with_other_bytes_stays(lab, atmosphere, publish, take_back, store, list_keys):
    publish(lab.insert("points"), data_store=store)
    key = list_keys(store.bucket)[0]
    store.endpoint.client.put_object(Bucket=store.bucket, Key=key, Body=b"another's")
    _, done = take_back("points", store=store, shards=True)
    assert len(done.copies) == 2
    assert len(done.kept) == 1
    assert list_keys(store.bucket) == [key]


def test_an_unreadable_record_keeps_all_copies(lab, atmosphere, publish, take_back, store):
    publish(lab.insert("points"), data_store=store)
    broken = {"$type": ENTRY, "name": "broken", "storage": {"$type": f"{ENTRY}.storageTape"}, "createdAt": "x"}
    atmosphere.client.create_once(ENTRY, "2222222222222", broken)
    with pytest.raises(StorageError, match="2222222222222 cannot be read"):
        take_back("points", store=store, shards=True)
    assert atmosphere.counts == [1, 2, 1]
    take_back("points")
    assert atmosphere.counts == [1, 1, 0]


def test_another_account_that_names_a_copy_keeps_it(lab, atmosphere, publish, take_back, store, pds, list_keys):
    entry = lab.insert("points")
    publish(entry, data_store=store)
    handle, password = f"other-{secrets.token_hex(4)}.test", secrets.token_hex(8)
    given = {"handle": handle, "password": password, "email": "other@example.com", **pds.invite}
    httpx.post(f"{pds.url}/xrpc/com.atproto.server.createAccount", json=given).raise_for_status()
    other = AtmosphereClient(pds.url)
    other.login(handle, password)
    promote_to_atmosphere(entry, lab.index, other, data_store=store)
    plan, _ = take_back("points", store=store, shards=True)
    assert any(other.did in note for note in plan.stays)
    assert len(list_keys(store.bucket)) == 3


class BrokenLine(httpx.HTTPTransport):
    """The real network until a request breaks it, before it is sent or once it was answered."""

    breaks_at = None
    answered = False

    def handle_request(self, request):
        if self.breaks_at is None:
            return super().handle_request(request)
        self.breaks_at -= 1
        if self.breaks_at >= 0:
            return super().handle_request(request)
        if self.breaks_at == -1 and self.answered:
            super().handle_request(request).read()
        raise httpx.ReadError("the line is broken", request=request)


# A promotion and two retractions at each of eight places.
def test_an_interrupted_retraction_goes_on(lab, pds, account, store, list_keys, closing):
    line = closing(BrokenLine())
    client = AtmosphereClient(pds.url, transport=line)
    client.login(account.handle, account.password)
    ledger = state_of(lab.index).ledger
    how = {"ledger": ledger, "store": store, "index": lab.index, "shards": True}
    for number, (breaks_at, answered) in enumerate(product(range(4), (False, True))):
        name = f"points-{number}"
        promote_to_atmosphere(lab.insert(name, start=100 * number), lab.index, client, data_store=store)
        plan = plan_retraction(name, client, **how)
        line.breaks_at, line.answered = breaks_at, answered
        with pytest.raises(ServiceError):
            retract(plan, client, ledger, store, index=lab.index)
        line.breaks_at = None
        assert ledger.get(BLOCK(name)) is not None, (breaks_at, answered)
        retract(plan_retraction(name, client, **how), client, ledger, store, index=lab.index)
        assert client.list_records(ENTRY)[0] == client.list_records(LABEL)[0] == [], (breaks_at, answered)
        assert list_keys(store.bucket) == [], (breaks_at, answered)


def test_a_retraction_that_is_run_again_takes_nothing_else(lab, atmosphere, publish, take_back):
    older = publish(lab.insert("points"))
    entry = lab.insert("points", start=100)
    publish(entry)
    take_back("points")
    with pytest.raises(RecordNotFoundError, match=r"retracted already. 1 older entry .*--all-versions"):
        take_back("points")
    assert [record.uri for record in atmosphere.records(ENTRY)] == [older]
    newer = publish(entry)
    take_back("points")
    assert [record.uri for record in atmosphere.records(ENTRY)] == [older]
    take_back("points", all_versions=True)
    assert newer != older
    assert atmosphere.counts == [1, 0, 0]


def test_an_interrupted_retraction_takes_the_entry_that_its_label_named(
    lab, atmosphere, publish, take_back, point_type
):
    first = lab.insert("points")
    labelled = publish(first)
    other = publish(lab.insert("points", start=100))
    lab.index.add_entry(atdata.Dataset[point_type](first.data_urls), name="points", schema_ref=first.schema_ref)
    assert publish(lab.index.get_entry_by_name("points")) == labelled

    def die(step):
        raise KeyboardInterrupt(step)

    plan = plan_retraction("points", atmosphere.client)
    with pytest.raises(KeyboardInterrupt):
        retract(plan, atmosphere.client, state_of(lab.index).ledger, say=die)
    assert atmosphere.counts == [1, 2, 0]
    _, done = take_back("points")
    assert done.records == (labelled,)
    assert [record.uri for record in atmosphere.records(ENTRY)] == [other]


def test_promoting_under_another_name_leaves_the_retracted_one_alone(lab, atmosphere, publish, take_back):
    entry = lab.insert("points")
    publish(entry)
    take_back("points")
    publish(entry, name="renamed")
    entry = lab.insert("points", start=100)
    ledger = state_of(lab.index).ledger
    assert due(entry, lab.index, ledger, atmosphere.client.did).state == "blocked"
    with pytest.raises(BlockedError, match="'points' was retracted"):
        publish(entry, restore=False)
    publish(entry)
    assert due(entry, lab.index, ledger, atmosphere.client.did).state == "published"


def test_what_stays_under_another_name_still_counts_as_published(lab, atmosphere, publish, take_back):
    entry = lab.insert("points")
    uri = publish(entry)
    publish(entry, name="renamed")
    take_back("renamed")
    found = due(entry, lab.index, state_of(lab.index).ledger, atmosphere.client.did)
    assert (found.state, found.reason) == ("published", f"published as {uri}")
    take_back("points")
    assert state_of(lab.index).ledger.get(LAST_RESULT("points")) is None
