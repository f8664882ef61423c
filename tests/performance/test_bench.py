"""The benchmark's frame, on rows that measure nothing: what is compared, counted and written down."""

import os
import re
import socket
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from atdata_core.stores.s3.objects import S3Endpoint
from benchmarks import __main__ as command
from benchmarks import growing, places
from benchmarks.counting import requests, round_trips, traffic
from benchmarks.frame import Bench, Cost, Count, Measured, NotInstalled, Reach, Row
from benchmarks.table import CURVES, SECTIONS, Surroundings, costs, document, goal, keep, measurements, table, write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
SURROUNDINGS = Surroundings("2026-01-02", "abc", "a machine, 2 cores", "3.12.1", {"numpy": "2.4.0"})


def race_row(ratio, *, name="reading.some"):
    """A row in which ours takes half a second and the peer two, for 1,000 samples."""
    return Row(
        name,
        "read | write",
        "a peer",
        Reach(ratio=ratio),
        lambda bench: Measured(bench.race(lambda: 0.5, lambda: 2.0, amount=1000, unit="samples/s"), note="a note"),
    )


def count_row(*counts, most=2, same=True):
    found = tuple(Count(f"{10 ** (3 + n):,} entries", count) for n, count in enumerate(counts))
    reach = Reach(most=most, unit="round trips", same=same)
    return Row("lookups.some", "look", "", reach, lambda bench: Measured(counts=found))


def failing_row(error, *, optional=False):
    def measure(bench):
        raise error

    return Row("copying.some", "copy", "a peer", Reach(ratio=1), measure, optional)


def growing_row(name="growing.datasets"):
    """A row that tells what one and a thousand cost."""
    found = tuple(
        Cost(n, 2 + n // 50, 2 * n, 5 * n, 900 * n, 4_000 * n, 0.01 * n, 0.004 * n, 20.5) for n in (1, 1_000)
    )
    return Row(name, "grow", "", Reach(most=10, unit="ms"), lambda bench: Measured(costs=found, note="a note"))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, quick=True)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command with some rows; its exit status, and the lines of its table below the head."""

    def run(rows, *arguments):
        monkeypatch.setattr(command, "rows", lambda: rows)
        status = command.main(arguments)
        return status, capsys.readouterr().out.splitlines()[2:]

    return run


@pytest.mark.slow
def test_ours_and_the_peers_run_in_turn_after_one_run_of_each_that_does_not_count(tmp_path):
    order = []
    race = Bench(tmp_path).race(lambda: order.append("ours"), lambda: order.append("peer"), repeats=3)
    assert order == ["ours", "peer"] * 4
    assert len(race.ours) == len(race.peers) == 3


def test_a_run_that_times_itself_is_taken_at_its_word(bench):
    race = bench.race(lambda: 0.25, lambda: 1.0)
    assert race.ours == [0.25, 0.25]
    assert race.ratio == 4


def test_a_row_shows_both_speeds_their_ratio_and_whether_it_is_reached(run):
    status, [line] = run([race_row(4)], "--quick")
    assert line == "| read \\| write | a peer | 2,000 samples/s | 500 samples/s | 4x | >= 4x | yes |"
    assert status == 0
    assert run([race_row(4.5)], "--quick") == (0, [line.replace(">= 4x | yes", ">= 4.5x | **no**")])


def test_counts_are_reached_within_their_bound_and_the_same_at_each_size(bench):
    assert [count_row(*counts).run(bench).reached for counts in ((2, 2), (1, 2), (3, 3), ())] == [
        True,
        False,
        False,
        False,
    ]
    assert count_row(1, 2, same=False).run(bench).reached
    assert "| round trips: 2 (1,000 entries), 2 (10,000 entries) | - | - |" in table([count_row(2, 2).run(bench)])
    assert goal(Reach(most=2, unit="round trips", same=True)) == "round trips: <= 2, the same at each size"
    assert goal(Reach(ratio=0.5, most=2, unit="round trips")) == ">= 0.5x; round trips: <= 2"


def test_a_row_that_fails_says_so_and_the_others_are_still_measured(run):
    status, lines = run([failing_row(ValueError("no such thing")), race_row(4)], "--quick")
    assert status == 1
    assert lines[0] == "| copy | a peer | **failed** | - | - | >= 1x | ValueError: no such thing |"
    assert lines[1].endswith("| yes |")


@pytest.mark.parametrize(("optional", "expected"), [(False, 1), (True, 0)])
def test_what_is_not_installed_is_named_and_is_a_failure_unless_it_is_optional(run, optional, expected):
    status, [line] = run([failing_row(NotInstalled("torch is not installed"), optional=optional)], "--quick")
    assert line.endswith("| **not here** | - | - | >= 1x | torch is not installed |")
    assert status == expected


def test_rows_are_chosen_by_their_names_and_by_those_of_their_modules(run):
    rows = [race_row(4), race_row(5, name="reading.other"), count_row(2, 2)]
    assert len(run(rows, "--quick", "--only", "reading")[1]) == 2
    assert len(run(rows, "--quick", "--only", "reading.other", "lookups")[1]) == 2
    with pytest.raises(SystemExit):
        run(rows, "--quick", "--only", "nothing")


@pytest.mark.slow
def test_the_page_is_made_from_the_measurements_that_it_keeps(tmp_path, run, bench):
    page = tmp_path / "performance.md"
    rows = [race_row(4), count_row(2, 3), failing_row(ValueError("a --> b"))]
    run(rows, "--write", str(page))
    results, surroundings = measurements(page)
    assert results[:1] == [rows[0].run(Bench(tmp_path))]
    assert document(results, surroundings) == page.read_text()
    lines = page.read_text().splitlines()
    assert [line for line in lines if line.startswith("## ")] == [
        "## Reading a dataset",
        "## Looking things up in the index",
        "## Copying shards",
    ]
    assert "- read | write: a note" in lines
    assert "[performance.json](performance.json)" in page.read_text()


def test_the_page_names_day_revision_machine_and_versions(bench):
    page = document([race_row(4).run(bench)], SURROUNDINGS)
    assert (
        "- measured on 2026-01-02, revision abc\n- machine: a machine, 2 cores; Python 3.12.1\n- numpy 2.4.0"
        in page
    )
    assert Surroundings.here().packages.keys() >= {"webdataset", "boto3", "redis", "@atproto/pds"}


def test_a_part_or_a_quick_version_is_not_kept(run, tmp_path):
    for arguments in (("--quick",), ("--only", "reading")):
        with pytest.raises(SystemExit):
            run([race_row(4)], *arguments, "--write", str(tmp_path / "page.md"))
    assert not list(tmp_path.glob("page.md"))


def test_the_page_in_the_documentation_is_what_its_measurements_give():
    assert document(*measurements(PAGE)) == PAGE.read_text()


def test_every_row_has_a_name_of_its_own_that_its_module_begins_and_a_section():
    names = [row.name for row in command.rows()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+\.[a-z0-9_]+", name) for name in names)
    assert {name.partition(".")[0] for name in names} == set(SECTIONS)


def test_requests_are_counted_by_the_service_that_they_are_sent_to(pds, box):
    s3, address = S3Endpoint.from_credentials(box.s3), urlsplit(pds.url).netloc
    with requests() as sent:
        httpx.get(f"{pds.url}/xrpc/_health")
        s3.client.list_buckets()
        s3.client.list_buckets()
    httpx.get(f"{pds.url}/xrpc/_health")
    assert sent == {address: 1, urlsplit(box.s3["AWS_ENDPOINT"]).netloc: 2}


def test_the_page_says_how_far_away_services_are():
    away = {"S3": places.S3_SECONDS, "the PDS": places.PDS_SECONDS, "Redis": places.REDIS_SECONDS}
    assert ", ".join(f"{seconds * 1e3:.0f} ms to {name}" for name, seconds in away.items()) in SECTIONS["far"]


def test_a_pipeline_is_one_round_trip(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.ping()
        with round_trips() as sent:
            client.set("a", 1)
            pipe = client.pipeline(transaction=False)
            pipe.get("a").get("b").execute()
        client.get("a")
    assert sent.total == 2


def test_what_it_costs_as_the_work_grows_has_a_line_for_each_size_and_a_picture(bench):
    results = [growing_row(name).run(bench) for name in CURVES]
    assert costs(results[:1]).splitlines()[0].startswith("| datasets of one shard | requests to PDS | to S3 |")
    assert costs(results[:1]).splitlines()[2:] == [
        "| 1 | 2 | 2 | 5 | 0.0009 MB | 0.004 MB | 0.01 s | 0.004 s | 20.5 MB |",
        "| 1,000 | 22 | 2,000 | 5,000 | 0.9 MB | 4 MB | 10 s | 4 s | 20.5 MB |",
    ]
    page = document(results, SURROUNDINGS)
    assert page.count("| memory over idle |") == 2
    assert "(performance.svg)" in page
    assert "(performance.svg)" not in document([race_row(4).run(bench)], SURROUNDINGS)


def test_the_picture_has_a_curve_for_each_figure_and_is_the_same_each_time(tmp_path, bench):
    pytest.importorskip("matplotlib")
    results, page = [growing_row(name).run(bench) for name in CURVES], tmp_path / "performance.md"
    write(page, results, SURROUNDINGS)
    picture = page.with_suffix(".svg").read_bytes()
    for text in ("to the PDS: datasets of one shard", "peak: shards of one dataset", "seconds"):
        assert picture.count(f">{text}</text>".encode()) == 1
    write(page, results, SURROUNDINGS)
    assert page.with_suffix(".svg").read_bytes() == picture


def test_costs_are_kept_with_the_measurements(tmp_path, bench):
    result = growing_row().run(bench)
    keep(tmp_path / "page.md", {"surroundings": asdict(SURROUNDINGS), "results": [asdict(result)]})
    assert measurements(tmp_path / "page.md") == ([result], SURROUNDINGS)


def test_rows_that_tell_what_grows_are_those_that_have_curves():
    assert CURVES.keys() < {row.name for row in growing.ROWS}


def test_bytes_are_counted_in_both_directions():
    here, there = socket.socketpair()
    with here, there, traffic() as found:
        here.sendall(b"12345")
        here.send(b"678")
        assert there.recv(5) == b"12345"
        assert there.recv_into(bytearray(9)) == 3
    assert (found.sent, found.received) == (8, 8)


def test_bytes_of_every_client_are_counted(pds, box, redis_url):
    s3 = S3Endpoint.from_credentials(box.s3)

    def ping():
        with redis.Redis.from_url(redis_url) as client:
            client.ping()

    for ask in (lambda: httpx.get(f"{pds.url}/xrpc/_health"), s3.client.list_buckets, ping):
        with traffic() as found:
            ask()
        assert found.sent > 0
        assert found.received > 0


# A sandbox is started, and four processes promote there.
@pytest.mark.slow
def test_requests_of_a_dataset_and_of_a_shard_do_not_grow_with_their_number(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATDATA_STATE_DIR", str(tmp_path / "state"))
        before, bench = dict(os.environ), Bench(tmp_path, quick=True)
        try:
            found = [row.run(bench) for row in growing.ROWS]
        finally:
            bench.close()
        # Tests after this one, in the same process, must not find its sandbox.
        assert dict(os.environ) == before
    assert [result.error for result in found] == [""] * len(found)
    for result in found[:2]:
        first, last = result.measured.costs
        assert (first.size, last.size) == (1, 60)
        assert last.s3 <= 60 * first.s3
        assert last.sent + last.received <= 60 * (first.sent + first.received)
