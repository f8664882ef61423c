"""Names and publications on the reference PDS, and what an unchanged run costs there."""

from __future__ import annotations

import pytest

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from faulty.edge import Tally
from faulty.samples import Reading


@pytest.mark.measured
def test_an_unchanged_run_writes_nothing_and_asks_the_pds_three_times_at_most(lane, reliability):
    entry = lane.insert(shards=3)
    asked = []
    for copy in (False, True):
        uri = lane.promote(entry, copy=copy, tags=["a"])
        commit = lane.commit()
        lane.edge.rule = tally = Tally()
        assert lane.promote(entry, copy=copy) == uri
        assert lane.commit() == commit
        assert tally.sent("source") + tally.sent("destination") == 0
        asked.append(len(tally.at("pds")))
    assert max(asked) <= 3
    assert lane.states() == {"readings": "published"}
    reliability(
        "unchanged re-run, with copies and without",
        "0 bytes put, 0 commits, at most 3 requests to the PDS",
        f"0 bytes, 0 commits, {max(asked)} requests",
        runs=2,
    )


@pytest.mark.measured
def test_every_publication_keeps_its_own_records_and_metadata(lane, reliability):
    first = lane.insert("first", shards=2)
    urls = {"first": lane.promote(first, copy=True, tags=["one"])}
    lane.index.add_entry(
        atdata.Dataset[Reading](first.data_urls), name="second", metadata={"k": 1}, schema_ref=first.schema_ref
    )
    urls["second"] = lane.promote(lane.index.get_entry_by_name("second"), copy=True, license="MIT")
    urls["third"] = lane.promote(first, copy=True, name="third", description="d")
    assert len(set(urls.values())) == 3
    assert lane.counts() == [1, 3, 3]
    stranger = AtmosphereIndex(AtmosphereClient(lane.pds_url))
    found = {name: stranger.get_dataset(uri) for name, uri in urls.items()}
    assert [(found[n].tags or [], found[n].license, found[n].description, found[n].metadata) for n in urls] == [
        (["one"], None, None, None),
        ([], "MIT", None, {"k": 1}),
        ([], None, "d", None),
    ]
    labels = {record.value["name"]: record.value["datasetUri"] for record in lane.records()[LABEL]}
    assert labels == urls
    assert lane.states() == {"first": "published", "second": "published"}
    # Two names for the same data share their copies.
    assert len(lane.objects()) == 2
    reliability(
        "two names for the same data, and `name=`",
        "each keeps its own records and metadata",
        "3 entries, 3 labels, each with its own values; 2 copies of 2 shards",
        runs=3,
    )


@pytest.mark.measured
def test_new_data_with_the_same_file_names_leaves_older_entries_as_they_were(lane, reliability):
    older = lane.insert("points", shards=2)
    before = lane.promote(older, copy=True, tags=["old"])
    kept = (lane.client.get_record(before), lane.objects())
    others = lane.shards(lane.insert("other", shards=2, start=100)).values()
    urls = []
    for url, data in zip(lane.shards(older), others, strict=True):
        urls.append(f"s3://{lane.lab_bucket}/newer/{url.rpartition('/')[2]}")
        lane.overwrite(urls[-1], data)
    newer = lane.index.add_entry(atdata.Dataset[Reading](urls), name="points", schema_ref=older.schema_ref)
    after = lane.promote(newer, copy=True)
    assert after != before
    assert lane.client.get_record(before) == kept[0]
    objects = lane.objects()
    assert {key: objects[key] for key in kept[1]} == kept[1]
    assert len(objects) == 4
    records = lane.records()
    assert len(records[ENTRY]) == 2
    (label,) = records[LABEL]
    assert label.value["datasetUri"] == after
    # What was said of the name holds for the new data, too.
    assert lane.client.get_record(after).value["tags"] == ["old"]
    assert lane.states() == {"points": "published", "other": "due"}
    reliability(
        "one name for new data with the same file names",
        "shards of older entries stay as they were",
        "2 entries; record and 2 copies of the older one unchanged byte for byte; the label names the newer one",
        runs=2,
    )
