"""What each stage says of what is other than the last time."""

from dataclasses import replace

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.common.urls import expand
from atdata_core.local import S3DataStore
from atdata_core.promote import promote_many
from atdata_core.promotion.operations.accept import accept, changes_of
from atdata_core.promotion.options import PromotionOptions, Values
from atdata_core.promotion.records.summary import Summary, changed_shards
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.promotion.stages.schema_stage import publish_schema_of
from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import FIRST_CLAIM, LAST_RESULT, FirstClaim
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger
from atdata_core.state.redis_state import RedisLedger
from stages import publish_last

STAGES = ["local_dataset", "published_schema", "copied_shards", "atmosphere_record"]
RECORD = {
    "name": "points",
    "description": "Points",
    "tags": ["a", "b"],
    "license": "MIT",
    "schemaRef": "at://did:plc:x/science.alt.dataset.schema/lab.Point:1.0.0",
    "storage": {"bucket": "b", "shards": [{"key": "0.tar", "checksum": {"algorithm": "sha256", "digest": "0a"}}]},
    "size": {"samples": 5, "bytes": 1000, "shards": 1},
}


@pytest.fixture
def one_by_one(lab, atmosphere):
    """Do the stages one after the other; what each of them says has changed, and the results."""

    def run(*, store=None, ledger=None, said=None, take_over=False):
        entry, ledger = lab.index.get_entry_by_name("points"), ledger or state_of(lab.index).ledger
        client = atmosphere.client
        options = PromotionOptions(values=Values.of(**(said or {})), take_over=take_over)
        inventory = take_inventory(entry, lab.index, ledger, destination=store)
        schema = publish_schema_of(inventory, client, ledger)
        copies = copy_shards(entry, inventory, lab.index, ledger, data_store=store)
        record = publish_last(entry, copies, schema.uri, lab.index, client, ledger, store=store, options=options)
        return dict(zip(STAGES, (each.changed for each in (inventory, schema, copies, record)), strict=True))

    return run


@pytest.fixture
def together(lab, atmosphere):
    """The same through the bulk."""

    def run():
        found = {}
        entry = lab.index.get_entry_by_name("points")

        def hear(done):
            found[done.stage] = done.result.changed

        promote_many([entry], lab.index, atmosphere.client, report=hear)
        return found

    return run


@pytest.mark.parametrize("how", ["one_by_one", "together"])
def test_the_first_time_is_none_and_the_second_one_finds_nothing(lab, request, how):
    promote = request.getfixturevalue(how)
    lab.insert()
    assert promote() == dict.fromkeys(STAGES)
    assert promote() == dict.fromkeys(STAGES, ())


@pytest.mark.parametrize("how", ["one_by_one", "together"])
def test_new_data_are_told_by_every_stage_that_sees_them(lab, request, how):
    promote = request.getfixturevalue(how)
    first = lab.insert(shards=1)
    promote()
    second = lab.insert(start=50, shards=2)
    found = promote()
    entry = f"entry …{first.cid[-8:]} → …{second.cid[-8:]}"
    sizes = [line for line in found["local_dataset"] if line.startswith("bytes ")]
    urls = expand(second.data_urls)
    assert found["local_dataset"] == (
        entry,
        f"2 shards added: {urls[0]}, {urls[1]}",
        f"1 shard removed: {expand(first.data_urls)[0]}",
        "shards 1 → 2",
        "samples 5 → 10",
        *sizes,
    )
    assert len(sizes) == 1
    assert found["copied_shards"] == found["local_dataset"]
    assert found["published_schema"] == ()
    assert found["atmosphere_record"] == (entry, "shards 1 → 2", "samples 5 → 10", *sizes)


def test_what_a_person_says_is_told_from_what_was_said_before(lab, one_by_one):
    lab.insert()
    one_by_one(said={"description": "Points\nin space", "tags": ["a", "b"]})
    found = one_by_one(said={"description": "x" * 500, "tags": ["b", "c"], "license": "MIT"})
    assert found["atmosphere_record"] == (
        f"description 'Points\\nin space' → '{'x' * 59}…'",
        "tags +'c' -'a'",
        "license none → 'MIT'",
    )
    assert one_by_one(said={"description": "x" * 500 + "y"})["atmosphere_record"] == (
        "description changed in its end",
    )
    assert one_by_one(said={"tags": ["c", "b"]})["atmosphere_record"] == ("tags in another order",)


def test_another_name_destination_and_metadata_are_told(lab, one_by_one, new_bucket, point_type):
    entry = lab.insert(metadata={"license": "MIT", "site": "north"})
    one_by_one()
    store = S3DataStore(lab.s3, bucket=new_bucket())
    lab.index.add_entry(atdata.Dataset[point_type](entry.data_urls), name="points", metadata={"site": "south"})
    found = one_by_one(store=store)
    endpoint = store.endpoint.endpoint_url
    assert found["copied_shards"][0] == f"destination where they are → {endpoint}/{store.bucket}/"
    assert found["copied_shards"][1].startswith("3 shards moved: s3://")
    assert len(found["copied_shards"]) == 2
    assert found["atmosphere_record"] == (
        "license 'MIT' → none",
        f"shards at s3://{lab.bucket} at {endpoint} → s3://{store.bucket} at {endpoint}",
        "other metadata",
    )


def test_bytes_that_were_accepted_are_other_bytes(lab, one_by_one, tmp_path, write_tar):
    entry = lab.insert()
    one_by_one()
    url = expand(entry.data_urls)[1]
    bucket, key = url.removeprefix("s3://").split("/", 1)
    path = write_tar(tmp_path / "other.tar", start=900)
    lab.repo.data_store.endpoint.client.upload_file(path, bucket, key)
    accept(changes_of(entry, lab.index), lab.index, state_of(lab.index).ledger)
    found = one_by_one()
    assert found["local_dataset"] == found["copied_shards"] == (f"1 shard with other bytes: {url}",)
    assert found["atmosphere_record"] == ("other bytes",)


def test_a_lost_ledger_is_made_up_for_by_the_record_that_is_there(lab, one_by_one):
    lab.insert()
    one_by_one(said={"description": "First"})
    found = one_by_one(ledger=MemoryLedger(), said={"description": "Second"})
    assert found == {**dict.fromkeys(STAGES), "atmosphere_record": ("description 'First' → 'Second'",)}


def test_an_edit_that_is_taken_over_is_told(lab, atmosphere, one_by_one):
    lab.insert()
    one_by_one(said={"description": "Ours"})
    (record,) = atmosphere.records(ENTRY)
    rkey = record.uri.rsplit("/", 1)[1]
    edited = {**record.value, "description": "Theirs", "size": "huge"}
    atmosphere.client.replace(ENTRY, rkey, edited, swap=record.cid)
    found = one_by_one(take_over=True)["atmosphere_record"]
    assert found[:2] == ("description 'Theirs' → 'Ours'", "shards unknown → 3")
    atmosphere.client.delete(ENTRY, rkey)
    assert one_by_one()["atmosphere_record"] == ("the record was gone, and is written again",)


def test_where_no_summary_was_kept_or_it_is_damaged_that_is_said(lab, one_by_one):
    lab.insert()
    one_by_one()
    ledger = state_of(lab.index).ledger
    kept = ledger.get(LAST_RESULT("points"))
    for start, summary in ((50, {"name": "x"}), (60, None)):
        ledger.put(LAST_RESULT("points"), replace(kept, summary=summary))
        lab.insert(start=start)
        assert one_by_one()["atmosphere_record"] == ("what it was before was not kept",)


def test_a_summary_is_the_same_after_it_was_kept_and_its_size_is_bounded():
    summary = Summary.of({**RECORD, "description": "y" * 50_000}, account="did:plc:x", entry="bafycid")
    kept = Summary.from_json(summary.to_json())
    assert summary.changes(kept) == ()
    assert kept.to_json() == summary.to_json()
    assert len(str(kept.to_json())) < 1_000


@pytest.mark.parametrize("strange", [None, 7, [], ["x"], {"a": 1}, "text", True])
def test_a_record_of_any_shape_has_a_summary(strange):
    for field in RECORD:
        before = Summary.of({**RECORD, field: strange}, account="did:plc:x", entry="bafycid")
        for line in Summary.of(RECORD, account="did:plc:x", entry="bafycid").changes(before):
            assert "\n" not in line
    nothing = Summary.of({"storage": {"shards": strange}}, account="did:plc:x", entry="bafycid")
    assert (nothing.name, nothing.tags, nothing.samples) == (None, (), None)


def test_many_shards_are_counted_and_a_secret_in_a_url_is_not_shown():
    shards = [
        ShardFacts(f"https://h/{number}.tar?X-Amz-Signature=abcdef", 1, f"{number:064}") for number in range(9)
    ]
    (added, total, size) = changed_shards(shards[:1], shards)
    assert added.startswith("8 shards added: https://h/1.tar")
    assert added.endswith(" and 5 more")
    assert "abcdef" not in added
    assert (total, size) == ("shards 1 → 9", "bytes 1 → 9")
    one = ShardFacts("https://h/a.tar", 5, "0" * 64, samples=3)
    assert changed_shards([one], [ShardFacts("https://h/a.tar", 5, "0" * 64)]) == ("samples 3 → unknown",)


def test_to_know_what_stood_before_costs_redis_no_round_trip_more(index, round_trips):
    ledger = RedisLedger(index.redis)
    ledger.get(FIRST_CLAIM("a"))
    assert round_trips.of(lambda: ledger.put(FIRST_CLAIM("a"), FirstClaim("1"))) == 1
    before = []
    assert round_trips.of(lambda: before.append(ledger.exchange(FIRST_CLAIM("a"), FirstClaim("2")))) == 1
    assert before[0].digest == "1"
    assert ledger.get(FIRST_CLAIM("a")).digest == "2"
    assert ledger.exchange(FIRST_CLAIM("other"), FirstClaim("3")) is None
