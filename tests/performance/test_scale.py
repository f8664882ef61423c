"""What `make scale` is made of: a quick version of it, its page, and what it takes from Dagster."""

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from benchmarks.frame import Bench
from benchmarks.table import Surroundings
from scaling import __main__ as command
from scaling.dagster_processes import query_of_ui
from scaling.figures import Figure, Found, Part
from scaling.marking import one_transaction
from scaling.page import SECTIONS, document, measurements, table, write

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scale.md"
SURROUNDINGS = Surroundings("2026-01-02", "abc", "a machine, 2 cores", "3.12.1", {"dagster": "1.13.0"})
TICKS = Figure("a | tick", "10,000", 1.234, "s", 60.0), Figure("memory", "10,000", 250, "MB")
FOUND = [
    Found("due", TICKS, ("n",), 90),
    Found("bulk", (Figure("overhead", "2,000", 0.5, "s", 0.15),), (), 30.0),
    Found("backfill", error="ValueError: a --> b"),
]


@pytest.mark.slow
def test_a_quick_version_has_a_figure_in_every_row(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "scaling", "--quick", "--only", "registering-few", "due", "bulk"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "ATDATA_HANDLE": "somebody.example"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[2:]
    assert len(lines) == 8 + 4 + 6
    for line in lines:
        what, at, measured, *_ = (cell.strip() for cell in line.strip("|").split(" | "))
        assert what
        assert at in ("600", "10", "5")
        assert re.fullmatch(r"-?[\d,.e-]+ (s|ticks|MB)", measured), line
    assert "| ticks of the sensor until all are partitions | 600 | 2 ticks |" in done.stdout


def test_a_line_shows_what_was_measured_what_is_wanted_and_whether_it_is_reached():
    assert table(FOUND).splitlines()[2:] == [
        "| a \\| tick | 10,000 | 1.23 s | <= 60 s | yes |",
        "| memory | 10,000 | 250 MB | - | - |",
        "| overhead | 2,000 | 0.5 s | <= 0.15 s | **no** |",
        "| backfill | - | **failed** | - | ValueError: a --> b |",
    ]


def test_the_page_is_made_from_the_measurements_that_it_keeps(tmp_path):
    write(tmp_path / "scale.md", FOUND, SURROUNDINGS)
    assert measurements(tmp_path / "scale.md") == (FOUND, SURROUNDINGS)
    page = (tmp_path / "scale.md").read_text()
    assert page == document(FOUND, SURROUNDINGS)
    head = "- measured on 2026-01-02, revision abc, in 2 minutes\n- machine: a machine, 2 cores; Python 3.12.1"
    assert head in page
    assert "\n\n- n\n\n" in page
    assert "\n| this whole measurement | - | 2 min | <= 30 min | yes |\n" in page


def test_the_page_in_the_documentation_is_what_its_measurements_give():
    assert document(*measurements(PAGE)) == PAGE.read_text()


def test_every_part_has_a_section():
    named = [name for names in SECTIONS.values() for name in names]
    assert sorted(named) == sorted(part.name for part in command.parts())


def test_a_part_that_fails_says_why(tmp_path):
    def fails(bench):
        raise ValueError("no such thing")

    found = command.found_by(Part("bulk", fails), Bench(tmp_path, quick=True))
    assert (found.part, found.figures, found.error) == ("bulk", (), "ValueError: no such thing")


def test_a_part_or_a_quick_version_is_not_kept(tmp_path):
    for arguments in (["--quick"], ["--only", "bulk"]):
        with pytest.raises(SystemExit):
            command.main([*arguments, "--write", str(tmp_path / "page.md")])
    assert not list(tmp_path.iterdir())


def test_the_queries_of_the_ui_are_those_that_it_sends():
    query = query_of_ui("PartitionHealthQuery")
    assert query.startswith("query PartitionHealthQuery($assetKey: AssetKeyInput!) {\n")
    assert query.count("{") == query.count("}")
    assert "partitionKeys\n" in query
    with pytest.raises(LookupError, match="NoSuchQuery"):
        query_of_ui("NoSuchQuery")


def test_the_sensor_of_the_measurement_is_the_project_s_own_but_for_its_pause():
    from atdata_pipelines.components.dataset_promotion import promotion_definitions
    from scaling.hasty import defs

    own, hasty = promotion_definitions().get_repository_def(), defs().get_repository_def()
    assert {job.name for job in own.get_all_jobs()} == {job.name for job in hasty.get_all_jobs()}
    [sensor], [quick] = own.sensor_defs, hasty.sensor_defs
    assert (quick.name, quick.minimum_interval_seconds, sensor.minimum_interval_seconds) == (sensor.name, 1, 30)
    assert quick.required_resource_keys == sensor.required_resource_keys
    assert {job.name for job in quick.jobs} == {job.name for job in sensor.jobs}


def test_marks_that_are_written_together_are_those_that_dagster_writes_one_by_one(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path), {"telemetry": {"enabled": False}}) as instance:

        def mark(*names):
            for name in names:
                instance.report_runless_asset_event(dg.AssetMaterialization("an_asset", partition=name))

        with one_transaction(instance.event_log_storage):
            mark("a", "b")
        mark("c")
        records = instance.fetch_materializations(dg.AssetKey("an_asset"), limit=10, ascending=True).records
    assert [record.partition_key for record in records] == ["a", "b", "c"]
    assert len({record.run_id for record in records}) == 1
