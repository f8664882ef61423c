"""A key that somebody else wrote wrongly costs its own dataset, and is named; no other is hidden by it."""

import msgpack
import pytest

import atdata_core as atdata
from atdata_core.errors import MetadataError, RefusedError, StorageError
from atdata_core.local import LocalIndex, schema_registry
from atdata_core.local.entry import StoredEntry
from atdata_core.local.registry import Position
from atdata_core.promotion.inventory import shard_urls
from atdata_core.state.facts import FAILURE
from atdata_core.state.index_state import state_of
from atdata_core.state.redis_state import RedisLeases

REF = "local://schemas/a.B@1.0.0"
URLS = ["s3://b/a.tar"]


@atdata.packable
class Word:
    """A word."""

    text: str


@pytest.fixture
def index(client):
    """An index with one honest dataset."""
    index = LocalIndex(client)
    index._registry.insert("honest", "bafyhonest", StoredEntry(REF, URLS, None))
    return index


def write(index, name, cid, **fields):
    values = {"name": name, "schema_ref": REF, "data_urls": msgpack.packb(URLS), **fields}
    index.redis.hset(b"LocalDatasetEntry:" + cid, mapping=values)


def test_an_entry_whose_key_ends_with_no_cid_is_left_out_with_a_warning(index):
    write(index, "other", b"\xff\x1b[2J")
    with pytest.warns(UserWarning, match=r"LocalDatasetEntry:\\\\xff\\x1b\[2J in Redis .* it ends with no CID"):
        assert [entry.name for entry in index.list_datasets()] == ["honest"]


def test_a_key_of_ours_that_is_no_hash_is_named_and_hides_no_other_dataset(index):
    index.redis.set("atdata:dataset:other", "text")
    write(index, "other", b"bafyother")
    with pytest.warns(UserWarning, match="atdata:dataset:other in Redis .* it is no hash"):
        assert [entry.name for entry in index.list_datasets()] == ["honest"]
    with pytest.raises(MetadataError, match="atdata:dataset:other"):
        index.get_entry_by_name("other")


def test_an_entry_of_which_our_record_is_damaged_is_as_the_other_program_wrote_it(index):
    index.redis.hset("atdata:dataset:honest", "entry:bafyhonest", b"\xc1")
    assert index.get_entry_by_name("honest").data_urls == URLS


def test_metadata_that_are_no_map_are_told_by_the_name_of_the_dataset(index):
    write(index, "listed", b"bafylisted", metadata=msgpack.packb([1]))
    with pytest.warns(UserWarning, match="'listed' are list, not a map"):
        assert [entry.name for entry in index.list_datasets()] == ["honest"]


def test_a_name_that_is_no_text_ends_no_walk_over_the_names(index):
    index.redis.zadd("atdata:datasets", {b"a\xff": 0, b"\xff": 0})
    assert list(index.names()) == ["honest"]
    position, seen = Position(), set()
    for _ in range(6):
        found, position = index.news(position, names=1)
        seen |= set(found)
    assert seen == {"honest"}


def test_a_label_that_names_no_text_points_nowhere(index):
    index.redis.hset("Label:ghost@", "cid", b"\xff")
    index.redis.hset("Label:ghost@" + "9" * 5000, mapping={"cid": "bafyhonest", "name": "ghost"})
    assert index.get_entry_by_name("ghost").cid == "bafyhonest"


def test_facts_that_are_no_hash_count_as_lost_for_their_dataset_alone(index):
    index.redis.set("atdata:ledger:dataset:other", "text")
    ledger = state_of(index).ledger
    found = ledger.get_many([FAILURE("other"), FAILURE("honest")])
    assert found[FAILURE("other")] is None
    index.redis.set("atdata:shards:bafyother", "text")
    with pytest.raises(RefusedError, match="atdata:shards:bafyother in Redis is damaged"):
        index.shard_claims("bafyother")


def test_addresses_without_end_are_refused_before_they_are_made(index):
    for urls in (["x" * 3_000_000], ["s3://b/{0..999999}.tar"]):
        write(index, "many", b"bafymany", data_urls=msgpack.packb(urls))
        entry = next(each for each in index.list_datasets() if each.name == "many")
        with pytest.raises(StorageError) as error:
            shard_urls(entry)
        assert len(str(error.value)) < 1_000


def test_what_is_noted_takes_the_place_of_a_ledger_key_that_is_no_hash(index):
    index.redis.rpush("atdata:ledger:dataset:other", "text")
    ledger = state_of(index).ledger
    place = ("dataset:other", "failure")
    assert ledger.commit([], {place[0]: {place[1]: b"{}"}, "dataset:honest": {"failure": b"{}"}}) == []
    assert ledger.fetch([place, ("dataset:honest", "failure")]) == [b"{}", b"{}"]


def test_a_lease_that_nobody_would_ever_give_back_is_dropped(index):
    leases = RedisLeases(index.redis)
    for key, write_it in (("a", index.redis.set), ("b", index.redis.rpush)):
        write_it(f"atdata:lease:{key}", b"\xff")
        assert leases.take(key) is None
        assert leases.take(key) is not None


def test_an_insert_goes_on_after_the_last_event_that_there_can_be(index):
    index.redis.xadd("atdata:events", {"name": "evil"}, f"{2**64 - 1}-{2**64 - 1}")
    index._registry.insert("later", "bafylater", StoredEntry(REF, URLS, None))
    write(index, "foreign", b"bafyforeign")
    assert {entry.name for entry in index.list_datasets()} == {"honest", "later", "foreign"}


def test_versions_of_a_class_that_are_no_text_hide_no_schema_of_another(index):
    index.redis.rpush("atdata:schemas:evil.Class", "1.0.0")
    index.redis.rpush("LocalSchema:evil.Class@1.0.0", "{}")
    assert schema_registry.reference_for(index.redis, Word) == f"local://schemas/{Word.__module__}.Word@1.0.0"
