"""What `make scale` is made of: a quick version of it, its page, and what it takes from Dagster."""

import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import dagster as dg
import pytest

from atdata_core.atmosphere.record_format.build import storage_of
from atdata_core.atmosphere.record_format.lexicon import MAX_REQUEST
from atdata_core.atmosphere.xrpc.session import AS_SENT
from atdata_core.protocols import ShardFacts
from benchmarks import table as benchmark
from benchmarks.frame import Bench, Cost, Count, Measured, Reach, Result
from benchmarks.table import Surroundings
from scaling import __main__ as command
from scaling.dagster_processes import query_of_ui
from scaling.figures import Figure, Found, Part
from scaling.internet import Performance, counted, fitting, section
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


def result(name, *, counts=(), costs=()):
    return Result(name, name, "", Reach(most=10), Measured(counts=counts, costs=costs))


# 10,000 datasets at 8 ms each, and 4,800 shards at 5 ms.
MANY = Cost(10_000, 300, 20_000, 60_000, 50_000_000, 150_000_000, 80.0, 72.0, 110.0)
SHARDS = Cost(4_800, 5, 9_600, 48, 5_000_000, 15_000_000, 24.0, 12.0, 90.0)
PERFORMANCE = Performance(
    [
        result("far.in_bulk", counts=(Count("200 datasets", 2.4),)),
        result("growing.datasets", costs=(replace(MANY, size=1), MANY)),
        result("growing.many_shards", costs=(replace(SHARDS, size=1), SHARDS)),
    ],
    replace(SURROUNDINGS, revision="def"),
)
BULK = Found("bulk", (Figure("bulk job: a dataset", "2,000", 0.08, "s"),))


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
    assert measurements(tmp_path / "scale.md") == (FOUND, SURROUNDINGS, None)
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


def test_a_host_that_counts_takes_what_its_points_allow():
    assert (counted().hour, counted().day) == (1_250, 8_750)


def test_what_fits_into_a_record_depends_on_the_addresses_of_shards():
    for characters in (60, 80, 120):
        urls = [f"https://example.org/{number:0{characters - 20}d}" for number in range(fitting(characters))]
        storage = storage_of([ShardFacts(url, 1, "0" * 64) for url in urls])
        assert 0.999 * MAX_REQUEST < len(AS_SENT.encode(storage)) < 1.001 * MAX_REQUEST


def test_datasets_an_hour_follow_from_what_was_measured_and_from_the_limits_of_hosts():
    lines = section([BULK], PERFORMANCE).splitlines()
    assert "(of 2026-01-02, revision def)" in lines[0]
    assert [line for line in lines if line.startswith("| ")][1:] == [
        "| a host that counts write points (5,000 an hour, 35,000 a day; 4 a dataset) | 1,250 | 8,750 | 114 days |",
        "| a PDS of one's own, all services near (8 ms a dataset) | 450,000 | 10,800,000 | 2.22 hours |",
        "| a PDS of one's own, 80 ms away (12 ms a dataset) | 300,000 | 7,200,000 | 3.33 hours |",
        "| near, in Dagster's bulk job, two shards each (80 ms a dataset) | 45,000 | 1,080,000 | 22.2 hours |",
        "| shards as blobs on the reference PDS (1,000 a day from an address) | 1,000 | 1,000 | 1,000 days |",
    ]
    said = "\n".join(line for line in lines if line.startswith("- "))
    for words in (
        "costs 0.03 requests to the PDS (on a host that counts 2, for each record is written alone), 2 to S3,",
        "6 round trips to Redis and 20 kB; a million of them are 2 million requests to S3",
        "more than 8,750 datasets a day come in for good",
        "One process is enough for 1,234 of them",
        "a million datasets take 2.22 hours instead of 114 days",
        "what it takes in a day is 70 s of work for one process",
        "a process keeps 0.9 of a core busy",
        "takes 12 ms, near 8 ms",
        "4,975 at addresses of 80 characters, which are 4.97 TB in shards of 1 GB",
        "2 requests to S3 and 5 ms whatever its size: a terabyte in shards of 1 GB 5 s of that",
        "10,000 datasets in bulk take 110 MB over idle, a dataset of 4,800 shards 90 MB",
    ):
        assert words in said


def test_internet_scale_is_left_out_where_nobody_has_measured_what_grows(tmp_path):
    assert section([BULK], None) == ""
    assert section([BULK], PERFORMANCE._replace(results=PERFORMANCE.results[:2])) == ""
    only = PERFORMANCE._replace(results=PERFORMANCE.results[1:])
    assert "ms away" not in section([], only)
    assert "bulk job" not in section([], only)


def test_the_page_is_written_anew_when_figures_of_performance_change(tmp_path):
    page = tmp_path / "scale.md"
    write(page, FOUND, SURROUNDINGS)
    assert "## At internet scale" not in page.read_text()
    before, whole = page.read_text().split("## All of it")
    results = [asdict(each) for each in PERFORMANCE.results]
    surroundings = asdict(PERFORMANCE.surroundings)
    benchmark.keep(tmp_path / "performance.md", {"surroundings": surroundings, "results": results})
    assert command.main(["--rewrite", str(page)]) == 0
    assert page.read_text() == (
        f"{before}## At internet scale\n\n{section(FOUND, PERFORMANCE)}\n\n## All of it{whole}"
    )
