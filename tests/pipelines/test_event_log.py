from collections import Counter
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from atdata_pipelines.config.event_log import kept_open

MARKED = dg.AssetKey("marked")


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def opened():
    """Counts the connections to SQLite's files, by the file's stem."""
    counted = Counter()

    def count(dialect, record, given, named):
        counted[Path(given[0]).stem] += 1

    event.listen(Engine, "do_connect", count)
    yield counted
    event.remove(Engine, "do_connect", count)


def _left_open(folder):
    """The files of which SQLite keeps a log, as long as something is connected to them."""
    return {found.stem for found in folder.rglob("*.db-wal")}


def test_one_connection_to_each_file_stores_all_that_a_run_logs(tmp_path, instance, opened):
    @dg.op
    def mark(context):
        with kept_open(instance, context.run.run_id):
            opened.clear()
            for name in "abc":
                context.log_event(dg.AssetMaterialization(MARKED, partition=name))
            assert opened == {"index": 1, context.run.run_id: 1}
            assert _left_open(tmp_path) >= {"index", context.run.run_id}
        assert not _left_open(tmp_path) & {"index", context.run.run_id}
        context.log_event(dg.AssetMaterialization(MARKED, partition="d"))

    @dg.job
    def marking():
        mark()

    assert marking.execute_in_process(instance=instance).success
    assert instance.get_materialized_partitions(MARKED) == set("abcd")


def test_what_is_logged_by_another_run_goes_to_its_own_file(instance):
    job = dg.GraphDefinition("empty").to_job()
    kept, other = instance.create_run_for_job(job), instance.create_run_for_job(job)
    with kept_open(instance, kept.run_id):
        for run in (kept, other):
            instance.report_engine_event(f"of {run.run_id}", run)
    for run in (kept, other):
        assert [record.message for record in instance.all_logs(run.run_id)] == [f"of {run.run_id}"]


def test_events_that_no_file_keeps_need_none():
    with dg.DagsterInstance.ephemeral() as instance, kept_open(instance, "a-run"):
        assert instance.get_runs() == []
