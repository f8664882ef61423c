"""Thousands of datasets in one run of the bulk job, and what Dagster adds to that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from atdata_pipelines.config.dagster_instance import prepare_home
from benchmarks.frame import Bench
from scaling.dagster_processes import dagster_processes
from scaling.datasets import lab, use_account
from scaling.figures import Figure, Measured, Part
from scaling.pages import views

OVERHEAD = 0.15
"""Seconds that Dagster may add to a dataset."""

_ROOT = Path(__file__).resolve().parents[1]


class _Bulks(NamedTuple):
    """What the job took, and the library's bulks together; the Dagster of the job, and a dataset promoted there."""

    job: dict[str, float]
    library: dict[str, float]
    pds: str
    home: Path
    one: str


def _size(bench: Bench) -> int:
    return bench.size(2_000, 10)


def _bulks(bench: Bench) -> _Bulks:
    """The library promotes as many others, half before and half after: who comes later finds warm services.

    Each time that is a new account of the same PDS.
    """

    def make() -> _Bulks:
        count, home = _size(bench), prepare_home(bench.folder / "dagster-bulk")

        def promote(kind: str, first: int, size: int) -> tuple[dict[str, float], str, str]:
            names = lab(bench).register(f"{kind}-{first}", first, size)
            pds = use_account(bench)
            return in_a_process(bench.folder, home, kind, names), pds, names[0]

        before, *_ = promote("library", 0, count // 2)
        job, pds, one = promote("job", count // 2, count)
        after, *_ = promote("library", count // 2 + count, count // 2)
        return _Bulks(job, _together([before, after]), pds, home, one)

    return bench.once("bulks", make)


def _together(turns: list[dict[str, float]]) -> dict[str, float]:
    """Seconds and CPU time of all turns, and the most memory of one."""
    return {what: (max if what == "peak" else sum)(turn[what] for turn in turns) for what in turns[0]}


def _measure(bench: Bench) -> Measured:
    count, (job, library, pds, *_) = _size(bench), _bulks(bench)
    at, half = f"{count:,}", f"{count // 2:,}"
    figures = [
        Figure("bulk job: a dataset", at, job["seconds"] / count, "s"),
        Figure("the same by the library alone: a dataset", at, library["seconds"] / count, "s"),
        Figure("what Dagster adds to a dataset", at, (job["seconds"] - library["seconds"]) / count, "s", OVERHEAD),
        Figure("of that, CPU time", at, (job["cpu"] - library["cpu"]) / count, "s"),
        Figure("most memory of the bulk job's process", at, job["peak"], "MB"),
        Figure("most memory of the library's process", half, library["peak"], "MB"),
    ]
    note = f"bulk job: records on {pds}; two small shards each, which stay where they are. What Dagster adds is the"
    return figures, [
        f"{note} job's whole time without that of the library: marks, metadata, previews, logs",
        f"the bulks: {half} by the library, {at} by the job, {half} by the library, each in a new process",
    ]


def in_a_process(folder: Path, home: Path, kind: str, names: list[str]) -> dict[str, float]:
    """What ``one_bulk.py`` of a kind takes: seconds, those of CPU, and most memory in MB."""
    file, log = folder / f"{kind}.names", folder / f"{kind}.log"
    file.write_text("\n".join(names))
    environ = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(_ROOT)}
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "scaling.one_bulk", kind, file],
            cwd=home,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=output,
        )
    if done.returncode:
        raise RuntimeError(f"{kind}: {log.read_text()[-800:]}")
    return json.loads(done.stdout)


def _measure_page(bench: Bench) -> Measured:
    """What the bulk job has marked, on the page of an asset."""
    found, count = _bulks(bench), _size(bench)
    with dagster_processes(found.home, "atdata_pipelines.definitions", "webserver") as running:
        return views(running, found.one, partitions=count, marked=count), []


PARTS = (Part("bulk", _measure), Part("bulk-page", _measure_page))
