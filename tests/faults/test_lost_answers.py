"""The PDS commits and its answer is lost: nothing is published twice."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from atdata_core.errors import ServiceUnavailableError
from faulty.edge import Fault, Rule
from faulty.samples import Reading

LANES = 8
LOST = 0.35
"""The part of the PDS's answers that is lost."""


class LosesAnswers(Rule):
    """Lets every call through and loses some answers of the PDS, as the seed says."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.lost = self.lost_writes = 0

    def answered(self, call, answer):
        if call.service != "pds" or self.chance.random() >= LOST:
            return None
        self.lost += 1
        self.lost_writes += call.what.endswith("putRecord") and answer.status == 200
        return self.chance.choice([Fault.RESET, Fault.CUT])


def publish(lane, urls, seed):
    """Promote a dataset and a schema that only this seed has, until a run succeeds."""
    ref = lane.index.publish_schema(Reading, version=f"1.{seed}.0")
    entry = lane.index.add_entry(atdata.Dataset[Reading](urls), name=f"run-{seed}", schema_ref=ref)
    lane.edge.rule = rule = LosesAnswers(seed)
    for number in range(1, 50):
        try:
            return lane.promote(entry, tags=["a"]), number, rule
        except ServiceUnavailableError:
            pass
    raise AssertionError(f"seed {seed} does not come to an end")


def publish_many(lane, seeds):
    urls = lane.insert("source", shards=1).data_urls
    assert lane.user.is_authenticated
    done = {seed: publish(lane, urls, seed) for seed in seeds}
    lane.edge.rule = Rule()
    records = lane.records()
    assert [len(found) for found in records.values()] == [len(seeds)] * 3
    uris = {f"run-{seed}": uri for seed, (uri, _, _) in done.items()}
    assert {record.value["name"]: record.uri for record in records[ENTRY]} == uris
    assert {record.value["name"]: record.value["datasetUri"] for record in records[LABEL]} == uris
    assert lane.states() == {"source": "due", **dict.fromkeys(uris, "published")}
    return done.values()


def test_answers_that_are_lost_make_no_duplicates(lane):
    done = publish_many(lane, range(6))
    assert sum(rule.lost_writes for _, _, rule in done) > 0


@pytest.mark.faults
def test_a_thousand_runs_that_lose_answers_make_no_duplicates(new_lane, reliability):
    runs = 1000
    lanes = [new_lane() for _ in range(LANES)]
    with ThreadPoolExecutor(LANES) as pool:
        pending = [pool.submit(publish_many, lane, range(number, runs, LANES)) for number, lane in enumerate(lanes)]
        done = [run for future in pending for run in future.result()]
    assert len(done) == runs
    again = sum(number - 1 for _, number, _ in done)
    reliability(
        "answer lost after the PDS committed",
        "1,000 seeded runs, 0 duplicates",
        f"0 duplicates; {sum(rule.lost for _, _, rule in done):,} answers lost, "
        f"{sum(rule.lost_writes for _, _, rule in done):,} of them of committed writes; {again} runs had to be "
        "started again",
        runs=runs,
    )
