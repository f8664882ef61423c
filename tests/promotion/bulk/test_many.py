"""Many datasets in one call: each as if it were promoted alone, and none costs another."""

import json
import os
import signal
import time

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.build import schema_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA, schema_rkey
from atdata_core.atmosphere.xrpc import write_budget
from atdata_core.errors import (
    BlockedError,
    NotLoggedInError,
    RecordChangedError,
    RecordGoneError,
    SchemaConflictError,
    ServiceUnavailableError,
    ShardMissingError,
)
from atdata_core.local import LocalDatasetEntry, LocalIndex, S3DataStore
from atdata_core.promote import promote_many, promote_to_atmosphere
from atdata_core.promotion.bulk import many
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.scheduling.due import due
from atdata_core.samples.schema import full_name, schema_ref
from atdata_core.state.facts import COPY_USE, FAILURE, FOREIGN_SCHEMAS, INTENT, OVERRIDES
from atdata_core.state.index_state import state_of
from atdata_core.state.ledger import MemoryLedger

STAGES = ["local_dataset", "published_schema", "copied_shards", "atmosphere_record"]


@atdata.packable
class Other:
    """Something else."""

    values: NDArray[np.int16]


@pytest.fixture
def some(lab):
    """Six datasets."""
    return [lab.insert(f"points-{number}", start=100 * number, shards=1) for number in range(6)]


def test_each_dataset_gets_its_records_and_the_schema_is_written_once(lab, atmosphere, some):
    outcomes = promote_many(some, lab.index, atmosphere.client)
    assert [(each.name, each.cid, each.change, each.error) for each in outcomes] == [
        (entry.name, entry.cid, "created", None) for entry in some
    ]
    assert atmosphere.counts == [1, 6, 6]
    entries = {record.uri: record.value for record in atmosphere.records(ENTRY)}
    labels = {record.value["name"]: record.value["datasetUri"] for record in atmosphere.records(LABEL)}
    for outcome, entry in zip(outcomes, some, strict=True):
        assert entries[outcome.uri]["name"] == entry.name
        assert labels[entry.name] == outcome.uri
        assert due(entry, lab.index, state_of(lab.index).ledger, atmosphere.client.did).state == "published"


def test_what_is_published_in_bulk_is_what_is_published_alone(lab, atmosphere, some):
    """The same records, and the same facts in the ledger, times aside."""

    def facts(index):
        ledger, owners = state_of(index).ledger, (some[0].name, atmosphere.client.did, some[0].cid)
        found = [ledger.get_all(*each).facts for each in zip(("dataset", "account", "entry"), owners, strict=True)]
        ours = ("at", "run", "change", "label_change", "created", "looks", "proofs")
        return {
            key: {name: value for name, value in fact.to_json().items() if name not in ours}
            for facts in found
            for key, fact in facts.items()
            # What was said is learnt from the record, where the ledger was lost.
            if key.pattern not in (FOREIGN_SCHEMAS, OVERRIDES)
        }

    (bulk,) = promote_many(some[:1], lab.index, atmosphere.client)
    of_bulk = facts(lab.index)
    other = LocalIndex()
    for key in other.redis.scan_iter("atdata:ledger:*"):
        other.redis.delete(key)
    commit = atmosphere.commit
    assert promote_to_atmosphere(some[0], other, atmosphere.client) == bulk.uri
    assert atmosphere.commit == commit
    alone = facts(other)
    assert {key.scope for key in of_bulk} == {key.scope for key in alone}
    assert alone.keys() <= of_bulk.keys()
    for key, fact in alone.items():
        if key.pattern is not INTENT:
            assert of_bulk[key] == fact


def test_where_writes_are_counted_a_new_dataset_costs_four_points(lab, atmosphere, some, monkeypatch, state_folder):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "5000/35000")

    def points():
        (file,) = (state_folder / "writes").glob("*.json")
        return sum(json.loads(file.read_text())["used"]["3600"].values())

    assert [each.change for each in promote_many(some, lab.index, atmosphere.client)] == ["created"] * 6
    # The schema is a record, too.
    assert points() == 4 * 6 + 2
    assert [each.change for each in promote_many(some, lab.index, atmosphere.client)] == ["unchanged"] * 6
    assert points() == 4 * 6 + 2


def test_a_bulk_that_waits_for_points_is_over_with_ctrl_c(lab, atmosphere, some, monkeypatch, state_folder):
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "6/1000")
    slept, latest = [], time.monotonic() + 30

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        assert time.monotonic() < latest, "nobody ends the wait"
        time.sleep(0.001)

    monkeypatch.setattr(write_budget, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        promote_many(some, lab.index, atmosphere.client)
    assert time.monotonic() < latest
    # What was published stays, and the next call goes on.
    assert atmosphere.counts == [1, 2, 0]
    monkeypatch.setenv("ATDATA_WRITE_BUDGET", "off")
    assert all(each.record for each in promote_many(some, lab.index, atmosphere.client))
    assert atmosphere.counts == [1, 6, 6]


def test_each_stage_of_each_dataset_is_reported_in_order(lab, atmosphere, some):
    done = []
    promote_many(some, lab.index, atmosphere.client, report=done.append)
    for entry in some:
        assert [each.stage for each in done if each.dataset == entry.name] == STAGES
    schemas = [each.result for each in done if each.stage == "published_schema"]
    assert sorted(schema.created for schema in schemas) == [False] * 5 + [True]
    assert {schema.uri for schema in schemas} == {schemas[0].uri}
    assert {each.visibility.shards for each in done if each.stage == "atmosphere_record"} == {1}


def test_doing_it_again_writes_nothing_and_asks_little(lab, atmosphere, some):
    first = promote_many(some, lab.index, atmosphere.client)
    commit, before = atmosphere.commit, atmosphere.requests.total
    again = promote_many(some, lab.index, atmosphere.client)
    assert [(each.uri, each.change) for each in again] == [(each.uri, "unchanged") for each in first]
    # The schema, the commit, and one page of entries and of labels.
    assert atmosphere.requests.total - before == 4
    assert atmosphere.commit == commit


@pytest.fixture
def s3_requests(monkeypatch):
    """The requests to S3 so far, by method."""
    from urllib3.connectionpool import HTTPConnectionPool

    sent, send = [], HTTPConnectionPool._make_request

    def sending(self, connection, method, *arguments, **named):
        sent.append(method)
        return send(self, connection, method, *arguments, **named)

    monkeypatch.setattr(HTTPConnectionPool, "_make_request", sending)
    return sent


def test_what_one_more_dataset_asks_of_redis_and_of_s3(lab, atmosphere, some, round_trips, s3_requests):
    def asked(entries):
        del s3_requests[:]
        return round_trips.of(lambda: promote_many(entries, lab.index, atmosphere.client, workers=1))

    asked(some[:1])
    two, three = asked(some[1:3]), asked(some[3:6])
    # Until its records are written; these are for many at a time.
    assert three - two == 10
    # It is read, and looked at without keys.
    assert sorted(s3_requests) == ["GET"] * 3 + ["HEAD"] * 3


def test_values_that_a_person_gave_before_stay_and_new_metadata_is_published(lab, atmosphere, some, point_type):
    promote_to_atmosphere(some[0], lab.index, atmosphere.client, description="typed", tags=["a"])
    created = atmosphere.records(ENTRY)[0].value["createdAt"]
    promote_many(some, lab.index, atmosphere.client)
    entry = lab.index.add_entry(
        atdata.Dataset[point_type](some[0].data_urls),
        name=some[0].name,
        schema_ref=some[0].schema_ref,
        metadata={"n": 1},
    )
    outcomes = promote_many([entry, *some[1:]], lab.index, atmosphere.client)
    assert [each.change for each in outcomes] == ["updated"] + ["unchanged"] * 5
    record = atmosphere.client.get_record(outcomes[0].uri).value
    assert (record["description"], record["tags"], record["createdAt"]) == ("typed", ["a"], created)
    assert record["metadata"]


def test_values_that_were_given_at_another_index_while_the_first_datasets_were_promoted_stay(
    lab, atmosphere, some, monkeypatch
):
    monkeypatch.setattr(many, "SLICE", 3)
    theirs, other = lab.insert("theirs", start=7000, shards=1), LocalIndex()
    other.ledger = MemoryLedger()

    def publish(done):
        if done.dataset == some[0].name and done.stage == STAGES[-1]:
            promote_to_atmosphere(theirs, other, atmosphere.client, name=some[5].name, license="MIT")

    outcomes = promote_many(some, lab.index, atmosphere.client, report=publish)
    licenses = [atmosphere.client.get_record(each.uri).value.get("license") for each in outcomes]
    assert licenses == [None] * 5 + ["MIT"]


def test_copies_go_to_the_store(lab, atmosphere, some, new_bucket, list_keys):
    store = S3DataStore(lab.s3, bucket=new_bucket())
    outcomes = promote_many(some, lab.index, atmosphere.client, data_store=store)
    assert [each.change for each in outcomes] == ["created"] * 6
    assert len(list_keys(store.bucket)) == 6
    record = atmosphere.client.get_record(outcomes[0].uri).value
    assert record["storage"]["bucket"] == store.bucket


def test_datasets_that_cannot_be_published_fail_alone_each_with_its_stage_and_reason(lab, atmosphere, some, s3):
    from atdata_core.stores.s3.objects import S3Endpoint

    index, client = lab.index, atmosphere.client
    bucket, _, key = some[0].data_urls[0].removeprefix("s3://").partition("/")
    S3Endpoint.from_credentials(s3).client.delete_object(Bucket=bucket, Key=key)
    missing = LocalDatasetEntry("no-schema", "local://schemas/lab.Nothing@1.0.0", some[1].data_urls)
    bad = LocalDatasetEntry("x" * 300, some[1].schema_ref, some[1].data_urls)
    metadata = LocalDatasetEntry("metadata", some[1].schema_ref, some[1].data_urls, {"key": b"x" * 200_000})
    done = []
    outcomes = promote_many([missing, some[0], bad, some[1], metadata], index, client, report=done.append)
    failed = {each.name[:10]: (each.stage, type(each.error)) for each in outcomes if each.error}
    assert failed["points-0"] == ("local_dataset", ShardMissingError)
    assert failed["no-schema"][0] == "local_dataset"
    assert {name: stage for name, (stage, _) in failed.items()} == {
        "no-schema": "local_dataset", "points-0": "local_dataset", "x" * 10: "local_dataset",
        "metadata": "published_schema",
    }  # fmt: skip
    assert outcomes[3].change == "created"
    assert atmosphere.counts == [1, 1, 1]
    told = [(each.dataset[:10], each.stage) for each in done if each.error is not None]
    assert sorted(told) == sorted((name, stage) for name, (stage, _) in failed.items())
    assert state_of(index).ledger.get(FAILURE("points-0")).stage == "local_dataset"


def test_a_schema_that_is_published_with_other_fields_is_refused_for_its_datasets_alone(
    lab, atmosphere, some, point_type
):
    lab.index.publish_schema(Other)
    (ref,) = [schema_ref(each) for each in lab.index.list_schemas() if each["name"] == "Other"]
    local = lab.index.get_schema(some[0].schema_ref)
    theirs = {**local, "fields": lab.index.get_schema(ref)["fields"]}
    record = schema_record(theirs, created_at=atmosphere.client.now())
    atmosphere.client.create_once(SCHEMA, schema_rkey(full_name(local), local["version"]), record)
    newer = lab.index.publish_schema(point_type, version="2.0.0")
    good = lab.index.add_entry(atdata.Dataset[point_type](some[1].data_urls), name="good", schema_ref=newer)
    before = atmosphere.requests.total
    outcomes = promote_many([some[0], good, some[2]], lab.index, atmosphere.client)
    assert [type(each.error) for each in outcomes] == [SchemaConflictError, type(None), SchemaConflictError]
    assert outcomes[1].change == "created"
    # The commit, labels and entries of the names; of each schema the record under its key; then the listing and the
    # write, after which the names are looked for again; the commit, the pages and the writes.
    assert atmosphere.requests.total - before <= 3 + 2 + 2 + 1 + 2 + 2


def test_what_was_edited_deleted_or_retracted_is_left_and_the_others_are_published(lab, atmosphere, some):
    index, client, ledger = lab.index, atmosphere.client, state_of(lab.index).ledger
    uris = [each.uri for each in promote_many(some[:4], index, client)]
    edited = client.get_record(uris[0])
    client.replace(ENTRY, uris[0].rpartition("/")[2], {**edited.value, "description": "theirs"}, swap=edited.cid)
    client.delete(ENTRY, uris[1].rpartition("/")[2])
    retract(plan_retraction(some[2].name, client, ledger=ledger), client, ledger)
    outcomes = promote_many(some, index, client)
    assert [type(each.error) for each in outcomes[:3]] == [RecordChangedError, RecordGoneError, BlockedError]
    assert [each.change for each in outcomes[3:]] == ["unchanged", "created", "created"]
    assert due(some[1], index, ledger, client.did).state == "blocked"
    again = promote_many(some[1:3], index, client, restore=True)
    assert [(each.uri, each.change) for each in again] == [(uri, "created") for uri in uris[1:3]]


def test_the_label_goes_to_the_newest_entry_whatever_order_they_come_in(lab, atmosphere):
    old = lab.insert("points", shards=1)
    new = lab.insert("points", start=50, shards=1)
    outcomes = promote_many([old, new, old], lab.index, atmosphere.client)
    assert [each.change for each in outcomes] == ["created", "created", "unchanged"]
    (label,) = atmosphere.records(LABEL)
    assert label.value["datasetUri"] == outcomes[1].uri
    assert atmosphere.counts == [1, 2, 1]


def test_without_a_login_nothing_is_begun(lab, atmosphere, some):
    with pytest.raises(NotLoggedInError):
        promote_many(some, lab.index, AtmosphereClient(atmosphere.client.base_url))
    assert state_of(lab.index).ledger.owners("dataset") == []


class Failing(httpx.HTTPTransport):
    """The network until it has passed so many requests of a method."""

    def __init__(self, method, passed):
        super().__init__()
        self.method, self.left = method, passed

    def handle_request(self, request):
        if request.url.path.endswith(self.method):
            if self.left <= 0:
                return httpx.Response(503, request=request)
            self.left -= 1
        return super().handle_request(request)


@pytest.mark.parametrize(
    ("method", "passed"), [("putRecord", 0), ("getLatestCommit", 0), ("applyWrites", 0), ("applyWrites", 1)]
)
def test_a_service_that_is_down_stops_all_and_the_next_call_goes_on(
    lab, atmosphere, account, some, closing, method, passed
):
    failing = AtmosphereClient(atmosphere.client.base_url, transport=closing(Failing(method, passed)))
    failing.login(account.handle, account.password)
    with pytest.raises(ServiceUnavailableError):
        promote_many(some, lab.index, failing)
    outcomes = promote_many(some, lab.index, atmosphere.client)
    assert [each.change for each in outcomes] == ["unchanged" if passed else "created"] * 6
    assert atmosphere.counts == [1, 6, 6]


def test_a_bulk_that_was_stopped_holds_no_copies_back_from_a_retraction(
    lab, atmosphere, account, some, closing, new_bucket, point_type
):
    lab.index.add_entry(atdata.Dataset[point_type](some[0].data_urls), name="twin")
    entries = [*some, lab.index.get_entry_by_name("twin")]
    failing = AtmosphereClient(atmosphere.client.base_url, transport=closing(Failing("applyWrites", 1)))
    failing.login(account.handle, account.password)
    store = S3DataStore(lab.s3, bucket=new_bucket())
    ledger = state_of(lab.index).ledger

    def in_use():
        return [use for entry in entries for use in ledger.get_all("entry", entry.cid).of(COPY_USE)]

    with pytest.raises(ServiceUnavailableError):
        promote_many(entries, lab.index, failing, data_store=store)
    assert in_use() == []
    outcomes = promote_many(entries, lab.index, atmosphere.client, data_store=store)
    assert [each.change for each in outcomes] == ["unchanged"] * 7
    assert in_use() == []


def test_redis_that_is_gone_stops_all(lab, atmosphere, some):
    gone = LocalIndex(Redis(port=1, retry=Retry(NoBackoff(), 0)))
    with pytest.raises(ServiceUnavailableError, match="Redis"):
        promote_many(some, gone, atmosphere.client)
    assert atmosphere.counts == [0, 0, 0]


def test_a_bulk_needs_no_more_connections_than_its_redis_gives(lab, atmosphere):
    entries = [lab.insert(f"points-{number}", start=100 * number, shards=1) for number in range(24)]
    of_lab = lab.index.redis.connection_pool.connection_kwargs
    few = LocalIndex(Redis(connection_pool=ConnectionPool(max_connections=6, **of_lab)))
    assert [each.error for each in promote_many(entries, few, atmosphere.client)] == [None] * 24
