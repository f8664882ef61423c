from pathlib import Path

import dagster as dg

from atdata_pipelines.event_log import kept_open


def test_what_sqlite_has_logged_is_not_written_back_after_every_event(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        run = instance.create_run_for_job(dg.GraphDefinition("empty").to_job())

        def logs():
            instance.report_engine_event("said", run)
            return {Path(found).stem for found in tmp_path.rglob("*.db-wal")} & {"index", run.run_id}

        assert logs() == set()
        with kept_open(instance, run.run_id):
            assert logs() == {"index", run.run_id}
        assert logs() == set()


def test_events_that_no_file_keeps_need_none():
    with dg.DagsterInstance.ephemeral() as instance, kept_open(instance, "a-run"):
        assert instance.get_runs() == []
