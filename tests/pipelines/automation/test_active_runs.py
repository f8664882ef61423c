"""What runs promote already, so that the sensor does not start it again."""

import dagster as dg
import pytest

from atdata_core.local import LocalDatasetEntry
from atdata_pipelines.automation.run_history import active_runs
from atdata_pipelines.config.settings import DEFAULT, Settings
from atdata_pipelines.jobs.promotion_jobs import BULK_JOB, BulkConfig, bulk_config


def entry(name, registered_at=None):
    return LocalDatasetEntry(name, "local://schemas/a.B@1.0.0", ["a.tar"], registered_at=registered_at)


@pytest.fixture
def bulk(empty_instance, defined):
    """A bulk run that has not begun; it is ended at last, and then has nothing before it."""
    job = defined().resolve_job_def(BULK_JOB)
    runs = []

    def make(**said):
        run = empty_instance.create_run_for_job(
            job, run_config=bulk_config(BulkConfig(**said)), status=dg.DagsterRunStatus.STARTING
        )
        runs.append(run)
        return run

    yield make
    for run in runs:
        empty_instance.report_run_canceled(run)
    assert active_runs(empty_instance, DEFAULT)(entry("images-1")) is None


def begin(instance, run):
    """When it began, in milliseconds."""
    event = dg.DagsterEvent("PIPELINE_START", run.job_name)
    instance.report_dagster_event(event, run.run_id)
    [record] = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    return round(record.start_time * 1000)


@pytest.mark.parametrize(
    ("said", "promoted"),
    [
        ({"datasets": ["images-1", "b"]}, {"images-1", "b"}),
        ({"pattern": "images-*"}, {"images-1", "images-2"}),
        ({"datasets": ["b"], "pattern": "images-*"}, {"images-1", "images-2", "b"}),
        ({}, {"images-1", "images-2", "b"}),
    ],
)
def test_a_bulk_run_has_what_it_names_and_else_what_there_was_as_it_began(empty_instance, bulk, said, promoted):
    run = bulk(**said)

    def taken(registered_at=None):
        promoted_by = active_runs(empty_instance, DEFAULT)
        words = {name: promoted_by(entry(name, registered_at)) for name in ("images-1", "images-2", "b")}
        assert set(words.values()) <= {None, f"run {run.run_id[:8]} promotes it, with others"}
        return {name for name, word in words.items() if word}

    assert taken(registered_at=2**60) == promoted
    began = begin(empty_instance, run)
    assert taken() == taken(began - 1) == promoted
    assert taken(began + 1) == set(said.get("datasets", []))


@pytest.mark.parametrize(
    ("job", "selection", "promotes"),
    [
        ("promote", None, True),
        ("__ASSET_JOB", ["atmosphere_record"], True),
        ("verify", None, False),
        ("render_raw_images", None, False),
        ("__ASSET_JOB", ["raw_images"], False),
    ],
)
def test_only_a_run_of_the_stages_is_one_that_promotes_a_dataset(empty_instance, job, selection, promotes):
    run = empty_instance.add_run(
        dg.DagsterRun(
            job,
            asset_selection=None if selection is None else frozenset(map(dg.AssetKey, selection)),
            tags={"dagster/partition": "mnist"},
            status=dg.DagsterRunStatus.STARTED,
        )
    )
    expected = f"run {run.run_id[:8]} promotes it" if promotes else None
    assert active_runs(empty_instance, DEFAULT)(entry("mnist")) == expected
    assert active_runs(empty_instance, Settings(key_prefix=("lab",)))(entry("mnist")) is None
    empty_instance.report_run_canceled(run)
