"""A PDS and S3 servers that fail four times in ten: runs converge, and services are left alone as they ask."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL
from faulty.edge import Fault, Rule
from faulty.messages import Answer
from faulty.samples import Reading

LANES = (10, 6)
"""At the two Redis servers, which have 16 databases each. Nearly all that a run does here is waiting."""

EACH = 0.1
"""Of all requests: answered with 429, with 500, by a reset, not at all. A short test has fewer to wait for."""

TIMEOUT = 0.2
RETRY_AFTER = 1
ATTEMPTS = 4
AGAIN = 5
UNDER_WAY = 0.5
"""Seconds after a 429 within which another request may arrive: it was sent before the 429 was read."""

SERVICES = ("pds", "source", "destination")


class Unreliable(Rule):
    """Fails at random, the same way each time, and notes what clients do about it."""

    def __init__(self, each):
        self.each = each
        self.run = ""
        self.faults = Counter()
        self.calls = 0
        self.early = []
        self.most_attempts = 0
        self._closed = {}
        self._late = {}
        self._failed = Counter()
        self._seen = Counter()

    def asked(self, call):
        if call.service not in SERVICES:
            return None
        if call.path.startswith("/begin/"):
            if self.run != call.path:
                self.run = call.path
                self._seen.clear()
            self._failed.clear()
            return Answer(200)
        self.calls += 1
        now = time.monotonic()
        request = self._of_one_thread(call)
        shut, opened, refused = self._closed.get(self._limited(call), (now, now, None))
        # Whoever asks the same again has read the 429.
        if now < opened and (now > shut + UNDER_WAY or (request and request == refused)):
            self.early.append((call.what, round(now - shut, 3)))
        self.most_attempts = max(self.most_attempts, self._failed[request] + 1)
        kind, late = self._drawn(call)
        self._failed[request] = self._failed[request] + 1 if kind and request else 0
        if kind is None:
            return None
        self.faults[kind] += 1
        if kind == "429":
            self._closed[self._limited(call)] = (now, now + RETRY_AFTER, request)
            return Answer(429, {"retry-after": str(RETRY_AFTER)})
        fault = {"500": Answer(500), "reset": Fault.RESET, "timeout": Fault.SILENCE}[kind]
        if not late:
            return fault
        self._late[id(call)] = fault
        return None

    def answered(self, call, answer):
        return self._late.pop(id(call), None)

    def _drawn(self, call):
        """What becomes of a call: its run, kind and number among those decide, so it is the same each time."""
        path = call.path.partition("?")[0]
        # The number of a shard, the name of an XRPC method; nothing where the path is about a bucket.
        kind = (call.service, call.method, path[-10:] if path.count("/") > 1 else "")
        self._seen[kind] += 1
        chance = random.Random(f"{self.run} {kind} {self._seen[kind]}")
        kinds = ["429", "500", "reset", "timeout"]
        number = int(chance.random() / self.each)
        return (kinds[number] if number < len(kinds) else None), chance.random() < 0.5

    @staticmethod
    def _limited(call):
        """What a 429 holds: an XRPC method of a PDS, for an account; a whole other service.

        A request without a token is of the account that it names, or of nobody.
        """
        if call.service != "pds":
            return call.service
        return call.path.partition("?")[0], "authorization" in call.headers

    @staticmethod
    def _of_one_thread(call):
        """What tells a request from others, repeats aside; None for one that several threads may send."""
        about_bucket = call.service != "pds" and call.path.strip("/").count("/") == 0
        # Records are asked for early, and again by whoever has written one and reads back what stands there.
        record = call.service == "pds" and "repo.getRecord" in call.path
        return None if about_bucket or record else (call.service, call.method, call.path, call.body)


def promote_under(lane, children, numbers, each=EACH):
    """Promote a dataset for each number; how often each had to be started again, and the rule."""
    urls = lane.insert("source", shards=2).data_urls
    for number in numbers:
        ref = lane.index.publish_schema(Reading, version=f"1.{number}.0")
        lane.index.add_entry(atdata.Dataset[Reading](urls), name=f"run-{number}", schema_ref=ref)
    lane.edge.rule = rule = Unreliable(each)
    child = children.start(
        "promote_each",
        lane.environ,
        names=[f"run-{number}" for number in numbers],
        session=lane.client.export_session(),
        store=lane.store,
        lab={"credentials": lane.credentials, "bucket": lane.lab_bucket},
        timeout=TIMEOUT,
        again=AGAIN,
    )
    again = child.value(patience=2000)
    lane.edge.rule = Rule()
    records = lane.records()
    assert [len(found) for found in records.values()] == [len(numbers)] * 3
    uris = {record.value["name"]: record.uri for record in records[ENTRY]}
    assert set(uris) == {f"run-{number}" for number in numbers}
    assert {record.value["name"]: record.value["datasetUri"] for record in records[LABEL]} == uris
    assert lane.states() == {"source": "due", **dict.fromkeys(uris, "published")}
    assert rule.early == []
    assert rule.most_attempts <= ATTEMPTS
    return again, rule


def test_a_run_converges_though_requests_fail(lane, children):
    again, rule = promote_under(lane, children, range(1), EACH / 3)
    assert len(again) == 1
    assert sum(rule.faults.values()) > 0


@pytest.mark.faults
def test_five_hundred_runs_converge_though_four_requests_in_ten_fail(new_lane, other_box, children, reliability):
    runs = 500
    elsewhere = [f"{other_box.redis_url.rpartition('/')[0]}/{number + 1}" for number in range(LANES[1])]
    lanes = [new_lane(url) for url in [None] * LANES[0] + elsewhere]
    with ThreadPoolExecutor(len(lanes)) as pool:
        pending = [
            pool.submit(promote_under, lane, children, range(number, runs, len(lanes)))
            for number, lane in enumerate(lanes)
        ]
        done = [future.result() for future in pending]
    again = [count for counts, _ in done for count in counts]
    assert len(again) == runs
    faults = sum((rule.faults for _, rule in done), Counter())
    calls = sum(rule.calls for _, rule in done)
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(faults.items()))
    reliability(
        "10 % each of 429, 500, reset, timeout on PDS and S3 (client timeout 0.2 s)",
        "500 runs, all converge within 5 re-runs; at most 4 attempts inside a run; no request before `Retry-After`",
        f"all converged, within {max(again)} re-runs ({sum(1 for count in again if count == 0)} at once); at most "
        f"{max(rule.most_attempts for _, rule in done)} attempts; {calls:,} requests ({told}), none of them before "
        "`Retry-After`",
        runs=runs,
    )
