"""``docs/scale.md``, and in a file beside it the measurements that it is made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import table as benchmark
from benchmarks.table import Surroundings, keep
from scaling.figures import Figure, Found, number
from scaling.internet import Performance, section

LONGEST = 30.0
"""Minutes that all of it may take."""

_INTRODUCTION = """\
# Scale

What very many datasets cost in Dagster. `make scale` measures this and writes this page; nothing here is typed by
hand. Everything runs on one machine: Redis, S3, a PDS, Dagster with SQLite, and what measures them. The same as
data: [scale.json](scale.json)."""

SECTIONS = {
    "The sensor and the nightly schedule": ("registering-few", "due", "registering-many"),
    "Dagster's processes and its UI": ("daemon-few", "daemon-many", "marked-page"),
    "Many datasets in one run": ("bulk", "bulk-page"),
    "A run for each dataset": ("backfill",),
}
"""Headings, and the parts below them."""

_HEAD = """\
| what | datasets | measured | wanted | reached? |
|---|---:|---:|---:|---|"""


def document(found: Sequence[Found], surroundings: Surroundings, performance: Performance | None = None) -> str:
    """The page. ``performance``: what the part on internet scale is computed from; None: there is none."""
    took = sum(each.seconds for each in found)
    whole = Found("whole", (Figure("this whole measurement", "-", took / 60, "min", LONGEST),))
    packages = ", ".join(f"{name} {version}" for name, version in surroundings.packages.items())
    head = [
        f"- measured on {surroundings.date}, revision {surroundings.revision}, in {took / 60:.0f} minutes",
        f"- machine: {surroundings.machine}; Python {surroundings.python}",
        f"- {packages}",
    ]
    parts = [_INTRODUCTION, "\n".join(head)]
    for title, names in SECTIONS.items():
        if here := [each for each in found if each.part in names]:
            parts += [f"## {title}", table(here), "\n".join(f"- {note}" for each in here for note in each.notes)]
    if computed := section(found, performance):
        parts += ["## At internet scale", computed]
    parts += ["## All of it", table([whole])]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(page: Path, found: Sequence[Found], surroundings: Surroundings) -> None:
    """Write the page, and beside it the measurements."""
    keep(page, {"surroundings": asdict(surroundings), "found": [asdict(each) for each in found]})
    rewrite(page)


def rewrite(page: Path) -> None:
    """Write the page anew from the measurements beside it, those of performance among them."""
    page.write_text(document(*measurements(page)))


def measurements(page: Path) -> tuple[list[Found], Surroundings, Performance | None]:
    """What a page is made from."""
    data = json.loads(page.with_suffix(".json").read_text())
    other = page.with_name("performance.md")
    performance = Performance(*benchmark.measurements(other)) if other.with_suffix(".json").exists() else None
    return [_found(each) for each in data["found"]], Surroundings(**data["surroundings"]), performance


def table(found: Sequence[Found]) -> str:
    """A line for each figure, in Markdown; one for a part that failed."""
    return "\n".join([_HEAD, *(line for each in found for line in _lines(each))])


def _lines(found: Found) -> list[str]:
    if found.error:
        return [_line(found.part, "-", "**failed**", "-", found.error)]
    return [_of(figure) for figure in found.figures]


def _of(figure: Figure) -> str:
    shown = f"{number(figure.value)} {figure.unit}".strip()
    if figure.most is None:
        return _line(figure.what, figure.at, shown, "-", "-")
    wanted = f"<= {figure.most:g} {figure.unit}".strip()
    return _line(figure.what, figure.at, shown, wanted, "yes" if figure.reached else "**no**")


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _found(data: dict[str, Any]) -> Found:
    figures = tuple(Figure(**figure) for figure in data["figures"])
    return Found(**{**data, "figures": figures, "notes": tuple(data["notes"])})
