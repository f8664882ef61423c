"""What ``import atdata_core`` takes, and what the definitions add to the import of Dagster."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from benchmarks.frame import Bench, Count, Measured, Reach, row

_PROGRAM = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def _seconds(module: str) -> float:
    """How long a fresh interpreter takes for it, its own start left out."""
    program = _PROGRAM.format(module=module)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


@row("import of `atdata_core`", peer="", reach=Reach(most=0.25, unit="seconds"))
def atdata_core(bench: Bench) -> Measured:
    """In fresh interpreters; what the first one compiles is there for the others."""
    _seconds("atdata_core")
    times = [_seconds("atdata_core") for _ in range(bench.size(9, 3))]
    return Measured(counts=(Count(f"median of {len(times)}", median(times)),))


@row("import of the definitions, Dagster included", peer="`import dagster` alone", reach=Reach(ratio=1 / 1.2))
def definitions(bench: Bench) -> Measured:
    """What every run, code server and daemon pays before anything is done."""
    race = bench.race(
        lambda: _seconds("atdata_pipelines.definitions"), lambda: _seconds("dagster"), repeats=bench.size(15, 2)
    )
    note = (
        "in the difference is a pass of the garbage collector over all of Dagster, which comes due right after it"
    )
    return Measured(race=race, note=note)


ROWS = (atdata_core, definitions)
