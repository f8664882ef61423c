"""The largest record that the reference PDS takes is published; one byte more is refused beforehand."""

from __future__ import annotations

import pytest

import atdata_core as atdata
from atdata_core.errors import PreflightError
from atdata_core.promote import plan_promotion
from faulty.edge import Tally
from faulty.samples import Reading

LARGEST = 1_000_000
LONG = "x" * 200


@pytest.fixture
def entry(lane):
    """A dataset whose record is nearly as large as a request may be: many shards with long names."""
    first = lane.insert(shards=1)
    ((_, data),) = lane.shards(first).items()
    # A file system takes 255 bytes of each part of a path, S3 1,024 of a key.
    folder = "/".join([LONG] * 4)
    urls = [f"s3://{lane.lab_bucket}/{folder}/{number:04d}.tar" for number in range(1069)]
    for url in urls:
        lane.overwrite(url, data)
    return lane.index.add_entry(atdata.Dataset[Reading](urls), name="large", schema_ref=first.schema_ref)


@pytest.mark.faults
def test_a_request_of_a_million_bytes_is_published_and_one_more_refused_when_planned(lane, entry, reliability):
    def sent(name, length):
        """The size of the request that writes the entry record under a name, with a description of that length."""
        lane.edge.rule = tally = Tally()
        lane.promote(entry, name=name, description="d" * length)
        return max(len(call.body) for call in tally.at("pds", "POST"))

    length = 1 + LARGEST - sent("name-0", 1)
    assert 1 < length <= 4999, length
    assert sent("name-1", length) == LARGEST
    commit, counts = lane.commit(), lane.counts()
    lane.edge.rule = tally = Tally()
    with pytest.raises(PreflightError, match=r"1,?000,?00[01]"):
        plan_promotion(entry, lane.user_index, lane.user, name="name-2", description="d" * (length + 1))
    with pytest.raises(PreflightError, match=r"1,?000,?00[01]"):
        lane.promote(entry, name="name-2", description="d" * (length + 1))
    assert (lane.commit(), lane.counts()) == (commit, counts)
    assert not [call for call in tally.at("pds") if call.what.endswith("putRecord")]
    assert lane.states()["large"] == "failed"
    reliability(
        "request bodies of 1,000,000 and 1,000,001 bytes",
        "the first is published, the second refused at plan time",
        f"{LARGEST:,} bytes published, {LARGEST + 1:,} refused by the plan and by the promotion, nothing written",
        runs=4,
    )
