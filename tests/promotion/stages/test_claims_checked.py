"""What a claim in a Redis that a lab shares is worth: no more than what this account has checked itself."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.errors import SampleError, ShardChangedError, ShardForbiddenError
from atdata_core.local import Repo, schema_registry
from atdata_core.local.shard_claims import claims_key, encoded
from atdata_core.promote import plan_promotion, promote_many, promote_to_atmosphere
from atdata_core.promotion.stages.copy_stage import copy_shards, recall_copies
from atdata_core.promotion.stages.inventory_stage import recall_inventory, shard_facts, take_inventory
from atdata_core.samples.schema import fields_digest
from atdata_core.state.facts import COPIES
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger
from faulty.edge import Answer, Edge, Rule, Tally

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


@atdata.packable
class Word:
    """Samples of another kind than points."""

    text: str


def falsified(copies):
    return replace(copies, shards=tuple(replace(shard, sha256="f" * 64) for shard in copies.shards))


def forge(index, entry, number=0, **false):
    """Write something else into a claim of an entry, as anybody can who reaches Redis."""
    url, claim = list(index.shard_claims(entry.cid).items())[number]
    index.redis.hset(claims_key(entry.cid), url, encoded(replace(claim, **false)))


def replace_schema(index, ref, sample_type):
    """Give a published schema other fields, as anybody can who reaches Redis."""
    fields = index.get_schema(index.publish_schema(sample_type))["fields"]
    record = {**index.get_schema(ref), "fields": fields}
    index.redis.set(schema_registry.PREFIX + ref.rpartition("/")[2], json.dumps(record))


@pytest.fixture
def another_machine(tmp_path, monkeypatch):
    """Go on as a process of another machine, which has a state folder of its own."""

    def go(name="another"):
        monkeypatch.setenv("ATDATA_STATE_DIR", str(tmp_path / name))

    return go


@pytest.fixture
def looks(lab):
    """How a new look at an entry knows each of its shards."""

    def look(entry, did=DID):
        return take_inventory(entry, lab.index, state_of(lab.index).ledger, did=did).looks

    return look


@pytest.fixture
def counted(environ, s3, bucket, index, monkeypatch):
    """A lab behind a proxy: ``asked()`` are the requests for shards since it was asked last."""
    with Edge({"s3": s3["AWS_ENDPOINT"]}) as edge:
        monkeypatch.setenv("ATDATA_S3_ENDPOINT", edge.urls["s3"])
        repo = Repo(s3_credentials={**s3, "AWS_ENDPOINT": edge.urls["s3"]}, hive_path=bucket, redis=index.redis)

        def asked():
            calls = [call.method for call in edge.rule.calls]
            edge.rule = Tally()
            return {method: calls.count(method) for method in set(calls)}

        edge.rule = Tally()
        yield SimpleNamespace(repo=repo, asked=asked, edge=edge)


def test_what_this_user_has_inserted_is_not_read_again(counted, index, point_type, write_tar, tmp_path):
    dataset = atdata.Dataset[point_type](write_tar(tmp_path / "a.tar", count=10))
    entry, _ = counted.repo.insert(dataset, name="own", maxcount=5)
    index.publish_schema(point_type)
    counted.asked()
    assert take_inventory(entry, index, state_of(index).ledger).looks == ("etag", "etag")
    assert counted.asked() == {"HEAD": 2}


def test_what_another_user_has_inserted_is_read_once(
    counted, index, point_type, write_tar, tmp_path, another_machine
):
    dataset = atdata.Dataset[point_type](write_tar(tmp_path / "a.tar", count=10))
    entry, _ = counted.repo.insert(dataset, name="theirs", maxcount=5)
    index.publish_schema(point_type)
    another_machine()
    counted.asked()
    assert take_inventory(entry, index, MemoryLedger()).looks == ("read", "read")
    assert counted.asked() == {"GET": 2}
    # Known by the seal of this user from now on, without the ledger.
    assert take_inventory(entry, index, MemoryLedger()).looks == ("etag", "etag")
    assert counted.asked() == {"HEAD": 2}


@pytest.mark.parametrize("number", [0, 2])
def test_a_false_digest_with_the_right_etag_and_size_is_refused_before_anything_is_written(
    lab, atmosphere, store, list_keys, number
):
    entry = lab.insert()
    forge(lab.index, entry, number, sha256="f" * 64)
    for options in ({}, {"data_store": store}):
        with pytest.raises(ShardChangedError, match="does not hold what is recorded"):
            promote_to_atmosphere(entry, lab.index, atmosphere.client, **options)
        with pytest.raises(ShardChangedError):
            plan_promotion(entry, lab.index, atmosphere.client, **options)
        [outcome] = promote_many([entry], lab.index, atmosphere.client, **options)
        assert isinstance(outcome.error, ShardChangedError)
    assert atmosphere.counts == [0, 0, 0]
    assert list_keys(store.bucket) == []


def test_a_false_number_of_samples_is_not_published(lab, atmosphere):
    entry = lab.insert()
    forge(lab.index, entry, samples=5_000)
    promote_to_atmosphere(entry, lab.index, atmosphere.client)
    assert atmosphere.records(ENTRY)[0].value["size"]["samples"] == 15
    assert [claim.samples for claim in lab.index.shard_claims(entry.cid).values()] == [5, 5, 5]


def test_a_claim_that_was_copied_from_another_shard_is_refused(lab, looks):
    entry = lab.insert()
    first, second = list(lab.index.shard_claims(entry.cid).items())[:2]
    lab.index.redis.hset(claims_key(entry.cid), second[0], encoded(first[1]))
    with pytest.raises(ShardChangedError):
        looks(entry)


def test_a_seal_that_is_no_text_of_ours_is_none(lab, looks):
    entry = lab.insert()
    forge(lab.index, entry, seal="\ud800é")
    assert looks(entry) == ("read", "etag", "etag")
    assert looks(entry) == ("etag",) * 3


def test_two_machines_of_one_account_read_once_between_them(lab, looks, another_machine):
    entry = lab.insert()
    another_machine("a")
    assert looks(entry) == ("read",) * 3
    another_machine("b")
    assert looks(entry) == ("etag",) * 3
    another_machine("a")
    assert looks(entry) == ("etag",) * 3
    another_machine("b")
    assert looks(entry, "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb") == ("read",) * 3


def test_what_one_machine_has_inserted_and_looked_at_no_other_of_the_account_reads(lab, looks, another_machine):
    entry = lab.insert()
    assert looks(entry) == ("etag",) * 3
    another_machine()
    assert looks(entry) == ("etag",) * 3


def test_a_claim_that_was_changed_after_the_account_has_checked_it_is_checked_again(lab, looks, another_machine):
    entry = lab.insert()
    looks(entry)
    another_machine()
    forge(lab.index, entry, samples=6)
    assert looks(entry) == ("read",) * 3
    forge(lab.index, entry, sha256="f" * 64)
    with pytest.raises(ShardChangedError):
        looks(entry)


def test_without_a_state_folder_the_account_still_reads_once(lab, looks, monkeypatch):
    monkeypatch.setenv("ATDATA_STATE_DIR", "/dev/null/none")
    entry = lab.insert()
    assert looks(entry, None) == ("read",) * 3
    assert looks(entry, None) == ("read",) * 3
    assert looks(entry) == ("read",) * 3
    assert looks(entry) == ("etag",) * 3


def test_a_look_ahead_makes_no_key_and_no_claim(lab, atmosphere, another_machine, tmp_path):
    entry = lab.insert()
    claims = lab.index.shard_claims(entry.cid)
    another_machine("new")
    assert shard_facts(entry, lab.index).looks == ("read",) * 3
    assert not (tmp_path / "new" / "seals").exists()
    assert lab.index.shard_claims(entry.cid) == claims


class Closed(Rule):
    """Nobody may look at a shard."""

    def asked(self, call):
        return Answer(403) if call.method in ("GET", "HEAD") else None


def test_a_shard_that_may_not_be_looked_at_is_published_only_on_a_claim_of_this_account(
    counted, index, point_type, write_tar, tmp_path, another_machine
):
    dataset = atdata.Dataset[point_type](write_tar(tmp_path / "a.tar"))
    entry, _ = counted.repo.insert(dataset, name="closed")
    index.publish_schema(point_type)
    ledger = state_of(index).ledger
    counted.edge.rule = Closed()
    found = take_inventory(entry, index, ledger, did=DID)
    assert (found.looks, len(found.warnings)) == (("claim",), 1)
    # Another machine of the account knows it from the ledger, another account does not.
    another_machine()
    assert take_inventory(entry, index, ledger, did=DID).looks == ("claim",)
    for did in (None, "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"):
        with pytest.raises(ShardForbiddenError, match="recorded by somebody else and was never checked by this"):
            take_inventory(entry, index, ledger, did=did)


def test_samples_of_another_schema_than_the_entry_names_are_refused_before_anything_is_written(
    lab, atmosphere, store, list_keys, point_type, write_tar, tmp_path
):
    other = lab.index.publish_schema(Word)
    dataset = atdata.Dataset[point_type](write_tar(tmp_path / "a.tar"))
    entry, _ = lab.repo.insert(dataset, name="mislabelled", schema_ref=other)
    for options in ({}, {"data_store": store}):
        with pytest.raises(SampleError):
            promote_to_atmosphere(entry, lab.index, atmosphere.client, **options)
        [outcome] = promote_many([entry], lab.index, atmosphere.client, **options)
        assert isinstance(outcome.error, SampleError)
    assert atmosphere.counts == [0, 0, 0]
    assert list_keys(store.bucket) == []


def test_a_type_that_packs_in_its_own_way_makes_no_claim_on_its_schema(lab, looks, write_tar, tmp_path, point_type):
    class Odd(point_type):
        @property
        def packed(self):
            return super().packed

    Odd.__name__, Odd.__module__ = point_type.__name__, point_type.__module__
    lab.index.publish_schema(point_type)
    entry, _ = lab.repo.insert(atdata.Dataset[Odd](write_tar(tmp_path / "a.tar")), name="odd")
    assert [claim.schema for claim in lab.index.shard_claims(entry.cid).values()] == [None]
    assert looks(entry) == ("read",)
    assert looks(entry) == ("etag",)


def test_stages_that_run_alone_do_not_go_by_an_inventory_of_other_fields(lab, point_type):
    entry, ledger = lab.insert(), state_of(lab.index).ledger
    inventory = take_inventory(entry, lab.index, ledger)
    copies = copy_shards(entry, inventory, lab.index, ledger)
    assert recall_inventory(entry, lab.index, ledger) == inventory
    assert recall_copies(entry, lab.index, ledger) == copies

    replace_schema(lab.index, entry.schema_ref, Word)

    assert recall_inventory(entry, lab.index, ledger) is None
    assert recall_copies(entry, lab.index, ledger) is None
    with pytest.raises(SampleError):
        take_inventory(entry, lab.index, ledger)


def test_copies_of_other_bytes_than_the_inventory_found_are_not_recalled(lab, store):
    entry, ledger = lab.insert(), state_of(lab.index).ledger
    inventory = take_inventory(entry, lab.index, ledger, destination=store)
    copy_shards(entry, inventory, lab.index, ledger, data_store=store)
    ledger.update(COPIES("points"), falsified)
    assert recall_copies(entry, lab.index, ledger, store) is None


def test_the_order_of_fields_and_what_they_are_make_another_digest():
    one = {"name": "a", "fieldType": {"$type": "local#primitive", "primitive": "int"}, "optional": False}
    two = {**one, "name": "b"}
    records = [[one, two], [two, one], [one], [{**one, "optional": True}, two]]
    assert len({fields_digest({"fields": fields}) for fields in records}) == 4
    assert fields_digest({"fields": [one], "name": "A"}) == fields_digest({"name": "B", "fields": [dict(one)]})
