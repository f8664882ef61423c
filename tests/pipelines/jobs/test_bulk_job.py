"""Many datasets in one run: marks as the assets make them, and one that fails costs no other."""

import logging
import secrets
import uuid
from types import SimpleNamespace

import dagster as dg
import httpx
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import ENTRY
from atdata_core.errors import ShardMissingError
from atdata_core.promotion.bulk import many as library
from atdata_core.promotion.options import REQUIREMENTS
from atdata_core.promotion.scheduling.retry_policy import failed
from atdata_core.state.index_state import state_of
from atdata_pipelines.automation import ticks
from atdata_pipelines.config.settings import Settings
from atdata_pipelines.jobs.planner import Wanted
from atdata_pipelines.jobs.promotion_jobs import BULK_JOB

STAGES = ["local_dataset", "published_schema", "copied_shards", "atmosphere_record"]
OP = "promote_datasets"


@pytest.fixture
def some(lab):
    """Give names of so many datasets, which no test before had; they share their data."""

    def make(count):
        first = f"{secrets.token_hex(4)}-0"
        entry = lab.insert(first)
        names = [first, *(first[:-1] + str(number) for number in range(1, count))]
        for name in names[1:]:
            lab.register(name, entry.data_urls)
        return names

    return make


@pytest.fixture
def broken(lab):
    """The name of a dataset whose shard is not there."""
    name = f"{secrets.token_hex(4)}-broken"
    lab.register(name, f"s3://{lab.bucket}/not-there.tar")
    return name


@pytest.fixture
def status(instance, defined):
    """How Dagster's UI sees the stages of a dataset."""
    graph = defined().get_repository_def().asset_graph

    def of(name):
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return [resolver.get_status(dg.AssetKey(stage), name).name for stage in STAGES]

    return of


@pytest.fixture
def marked(instance):
    """The materialisations that a run has left, also one that failed."""

    def by(result):
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION
        return [event.asset_materialization for event in instance.all_logs(result.run_id, of_type=kind)]

    return by


@pytest.fixture
def marks(marked):
    """Which stages of which datasets a run has marked, sorted."""
    return lambda result: sorted((mark.partition, mark.asset_key.path[-1]) for mark in marked(result))


@pytest.fixture
def changes(marked):
    """What became of the datasets whose record a run has marked."""

    def of(result):
        found = [mark for mark in marked(result) if mark.asset_key.path == STAGES[3:]]
        assert len({mark.partition for mark in found}) == len(found)
        return {mark.partition: mark.metadata["change"].value for mark in found}

    return of


def failure(result):
    [event] = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data


def rows(result):
    return [row.data for row in failure(result).metadata["failed_table"].records]


def said(instance, result, level):
    logged = instance.all_logs(result.run_id)
    return [event.user_message for event in logged if event.level == level and not event.is_dagster_event]


# Runs of the assets beside runs of many: what is compared is what Dagster has of both.
def test_every_stage_of_every_dataset_is_marked_as_its_asset_marks_it_and_as_fresh(
    lab, some, run, run_bulk, instance, marks, status
):
    names = some(3)
    assert run(names[0]).success
    result = run_bulk(datasets=names[1:])
    assert result.success
    assert marks(result) == sorted((name, stage) for name in names[1:] for stage in STAGES)
    tags = instance.get_run_by_id(result.run_id).tags
    assert tags["datasets"] == "2"
    for stage in STAGES:
        alone, *bulk = [
            instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey(stage), asset_partitions=[name]), limit=1
            )
            .records[0]
            .asset_materialization
            for name in names
        ]
        for mark in bulk:
            assert mark.metadata.keys() == alone.metadata.keys()
            differ = {key for key in mark.metadata if mark.metadata[key] != alone.metadata[key]}
            assert differ <= {"change", "at_uri", "record_cid", "label", "overview"}
            assert mark.tags.keys() == alone.tags.keys()
            assert {key for key in mark.tags if mark.tags[key] != alone.tags[key]} <= {
                f"dagster/input_event_pointer/{before}" for before in STAGES
            }
    alone, bulk = names[:2]
    assert status(alone) == status(bulk) == [StaleStatus.FRESH.name] * 4
    # A stage that is done again and finds nothing new makes nothing stale; one that finds something does.
    for name in (alone, bulk):
        assert run(name, stages=["local_dataset"]).success
        assert status(name) == ["FRESH"] * 4
        lab.insert(name, start=6)
        assert run(name, stages=["local_dataset"]).success
        assert status(name) == ["FRESH", "STALE", "FRESH", "FRESH"]
    assert run_bulk(datasets=[alone, bulk]).success
    assert status(alone) == status(bulk) == ["FRESH"] * 4


def test_one_that_fails_fails_alone_and_one_table_says_why(lab, some, broken, run_bulk, instance, marks):
    names = some(3)
    result = run_bulk(datasets=[names[0], broken, names[1], names[2][:-1], names[2]])
    assert not result.success
    assert marks(result) == sorted((name, stage) for name in names for stage in STAGES)
    unknown, missing = rows(result)
    assert (unknown["dataset"], unknown["stage"]) == (names[2][:-1], "index")
    assert "Near it:" in unknown["reason"]
    assert (missing["dataset"], missing["stage"]) == (broken, "local_dataset")
    assert "not-there.tar" in missing["reason"]
    told = failure(result)
    assert told.description == f"2 of 5 datasets were not promoted: {names[2][:-1]}, {broken}"
    assert {name: told.metadata[name].value for name in ("datasets", "created", "failed")} == {
        "datasets": 5,
        "created": 3,
        "failed": 2,
    }
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    tags = instance.get_run_by_id(result.run_id).tags
    assert (tags["datasets"], tags["failed"]) == ("5", "2")
    assert [line.split(" was not promoted: ")[0] for line in said(instance, result, logging.ERROR)] == [
        names[2][:-1],
        broken,
    ]


def test_what_strangers_cannot_read_is_refused_where_that_is_required(some, run_bulk):
    names = some(2)
    result = run_bulk(datasets=names, require_public=True)
    assert {row["dataset"]: row["stage"] for row in rows(result)} == dict.fromkeys(names, "published_schema")


# Three runs, as each is compared with what Dagster has of the one before.
def test_a_bulk_tells_its_progress_who_cannot_read_and_what_changed_since_the_last_time(
    some, lab, run_bulk, instance, monkeypatch, stranger, account, changes, marked
):
    monkeypatch.setattr("atdata_pipelines.display.progress.EVERY", 0)
    names = some(2)

    def changed(result):
        marks = marked(result)
        return {(each.partition, each.asset_key.path[-1]): each.metadata["changed"].value for each in marks}

    first = run_bulk(datasets=names)
    assert first.success
    assert changes(first) == dict.fromkeys(names, "created")
    assert set(changed(first).values()) == {"first time"}
    lines = said(instance, first, logging.INFO)
    assert lines[0] == "0 of 2 datasets promoted, 0 ready for their records, 0 failed"
    assert "0 of 2 datasets promoted, 2 ready for their records, 0 failed" in lines
    assert lines[-1] == "2 of 2 datasets promoted"
    [line] = [line for line in said(instance, first, logging.WARNING) if "cannot be read anonymously" in line]
    told, _, why = line.partition(": ")
    assert told.startswith("Warning for ")
    assert all(name in told for name in names)
    assert why.partition(": ")[0] in names
    assert "fails" not in told

    commit = stranger.latest_commit(account.did)
    again = run_bulk(datasets=names)
    assert changes(again) == dict.fromkeys(names, "unchanged")
    [output] = [event for event in again.all_events if event.event_type == dg.DagsterEventType.STEP_OUTPUT]
    shown = output.step_output_data.metadata
    assert {name: value.value for name, value in shown.items()} == {"datasets": 2, "unchanged": 2}
    assert stranger.latest_commit(account.did) == commit

    lab.insert(names[1], start=6)
    found = changed(run_bulk(datasets=names))
    assert {found[names[0], stage] for stage in STAGES} == {"nothing"}
    assert [found[names[1], stage].partition(" ")[0] for stage in STAGES] == ["entry", "nothing", "entry", "entry"]


def test_a_pattern_takes_the_names_like_it_but_for_those_that_say_otherwise_and_a_name_takes_all(
    lab, some, run_bulk, instance, changes
):
    names = some(4)
    urls = lab.index.get_entry_by_name(names[0]).data_urls
    lab.register(names[2], urls, metadata={"promote": False})
    lab.register(names[3], urls, metadata={"promote": "perhaps"})
    result = run_bulk(pattern=f"{names[0][:-1]}?")
    assert changes(result) == dict.fromkeys(names[:2], "created")
    [row] = rows(result)
    assert (row["dataset"], "neither true nor false" in row["reason"]) == (names[3], True)
    assert f"Left alone, as their metadata say so: {names[2]}" in said(instance, result, logging.INFO)
    # A name may hold brackets, so they stand for themselves.
    bracketed = f"{names[0][:-1]}[01]"
    lab.register(bracketed, urls)
    assert changes(run_bulk(pattern=bracketed)) == {bracketed: "created"}
    result = run_bulk(pattern="no-such-*", datasets=[names[2]])
    [row] = rows(result)
    assert (row["dataset"], row["reason"]) == ("no-such-*", "No dataset has a name like this.")
    assert changes(result) == {names[2]: "created"}


def test_nothing_named_is_all_that_is_missing_or_changed_and_what_cannot_be_promoted_fails_the_run(
    lab, some, promote, run_bulk, instance, marks, changes
):
    names = some(3)
    promote(names[0])
    assert changes(run_bulk()) == dict.fromkeys(names[1:], "created")
    nothing = run_bulk()
    assert nothing.success
    assert marks(nothing) == []
    assert "3 datasets looked at are published and unchanged" in said(instance, nothing, logging.INFO)[0]
    lab.insert(names[1], start=6)
    lab.register("undecided", f"s3://{lab.bucket}/a.tar", {"promote": "maybe"})
    result = run_bulk()
    assert not result.success
    assert changes(result) == {names[1]: "created"}
    [row] = rows(result)
    assert (row["dataset"], "maybe" in row["reason"]) == ("undecided", True)


def test_what_was_deleted_is_restored_only_where_a_person_names_it(
    some, promote, run_bulk, account, marks, changes
):
    [name] = some(1)
    promote(name)
    client = AtmosphereClient()
    client.login(account.handle, account.password)
    [record], _ = client.list_records(ENTRY)
    client.delete(ENTRY, record.uri.rsplit("/", 1)[1])
    [row] = rows(run_bulk(datasets=[name]))
    assert "there no more" in row["reason"]
    assert marks(run_bulk()) == []
    refused = run_bulk(restore=True)
    assert "restore is for datasets that are named" in failure(refused).description
    assert changes(run_bulk(datasets=[name], restore=True)) == {name: "created"}


@pytest.fixture
def losing_the_pds(instance, monkeypatch, pds):
    """An ID of a run: the PDS is gone from its second record on until the op is tried again."""
    monkeypatch.setattr(library, "MAX_WRITES", 2)
    send, state = httpx.HTTPTransport.handle_request, {"marked": 0, "down": False}

    def sending(transport, request):
        if state["down"] and str(request.url).startswith(pds.url):
            raise httpx.ConnectError("gone", request=request)
        return send(transport, request)

    def hear(event):
        kind = event.dagster_event.event_type if event.dagster_event else None
        if kind == dg.DagsterEventType.ASSET_MATERIALIZATION:
            state["marked"] += event.asset_materialization.asset_key.path == STAGES[3:]
            state["down"] = state["marked"] == 2
        elif kind == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            state["down"] = False
            state["marked"] = 100

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", sending)
    run_id = str(uuid.uuid4())
    instance.add_event_listener(run_id, hear)
    return run_id


# A run that is tried again, as the ones that were done before must not be done twice.
def test_a_pds_that_is_lost_on_the_way_is_tried_again_and_the_run_goes_on(
    some, run_bulk, instance, losing_the_pds, changes
):
    names = some(6)
    result = run_bulk(run_id=losing_the_pds, datasets=names)
    assert result.success
    assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 1
    assert changes(result) == dict.fromkeys(names, "created")
    assert said(instance, result, logging.INFO)[-1] == "6 of 6 datasets promoted"


# As above, with one that fails for itself.
def test_what_is_given_up_in_a_run_that_is_tried_again_stands_in_its_table(
    lab, some, broken, run_bulk, instance, losing_the_pds, changes
):
    names = some(6)
    entry, ledger = lab.index.get_entry_by_name(broken), state_of(lab.index).ledger
    for _ in range(4):
        failed(ledger, broken, "local_dataset", ShardMissingError("gone", url="s3://x/y"), entry=entry)
    result = run_bulk(run_id=losing_the_pds)
    assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 1
    assert changes(result) == dict.fromkeys(names, "created")
    [row] = rows(result)
    assert (row["dataset"], row["stage"]) == (broken, "local_dataset")
    assert "not-there.tar" in row["reason"]
    kind = dg.DagsterEventType.ASSET_OBSERVATION
    observed = [event.asset_observation for event in instance.all_logs(result.run_id, of_type=kind)]
    assert {(each.partition, each.metadata["not_promoted"].value) for each in observed} == {(broken, row["reason"])}


# A run that is broken off and one that goes on.
def test_a_person_stops_it_and_what_was_done_stays_marked(some, run_bulk, instance, monkeypatch, changes):
    names = some(4)
    monkeypatch.setattr(library, "MAX_WRITES", 2)
    run_id = str(uuid.uuid4())

    def hear(event):
        mark = event.asset_materialization
        if mark is not None and mark.asset_key.path == STAGES[3:]:
            raise dg.DagsterExecutionInterruptedError

    instance.add_event_listener(run_id, hear)
    result = run_bulk(run_id=run_id, datasets=names)
    assert failure(result).description == "The run was stopped."
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert len(changes(result)) == 1
    assert len(changes(run_bulk(datasets=names))) == 4


def test_the_launch_dialog_offers_a_list_a_pattern_and_what_else_a_person_can_say(defined):
    job = defined().resolve_job_def(BULK_JOB)
    nothing = {"datasets": [], "pattern": None, "restore": False} | dict.fromkeys(REQUIREMENTS, False)
    assert job.run_config == {"ops": {OP: {"config": nothing}}}


def requests(wanted, **settings):
    return [request for request, _ in ticks._runs(wanted, Settings(**settings))]


def test_a_tick_that_finds_many_asks_for_one_run_with_a_key_of_theirs():
    entries = [SimpleNamespace(cid=f"bafy{number}") for number in range(3)]
    wanted = [Wanted(f"d{number}", entry, f"d{number}@{entry.cid}") for number, entry in enumerate(entries)]
    assert [request.partition_key for request in requests(wanted[:2], bulk_from=2)] == ["d0", "d1"]
    [request] = requests(wanted, bulk_from=2)
    assert (request.job_name, request.partition_key) == (BULK_JOB, None)
    assert request.run_config["ops"][OP]["config"]["datasets"] == ["d0", "d1", "d2"]
    assert request.run_config["ops"][OP]["config"]["restore"] is False
    assert requests(wanted[::-1], bulk_from=2)[0].run_key == request.run_key
    other = requests([*wanted[:2], wanted[2]._replace(key="d2@other")], bulk_from=2)
    assert other[0].run_key != request.run_key
    pairs = ticks._runs(wanted, Settings(bulk_from=2, batch_size=2))
    assert [[each.name for each in batch] for _, batch in pairs] == [["d0", "d1"], ["d2"]]
    assert [len(request.run_config["ops"][OP]["config"]["datasets"]) for request, _ in pairs] == [2, 1]
