"""What ``import atdata_core`` takes."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from benchmarks.frame import Bench, Count, Measured, Reach, row

_PROGRAM = """
import time
start = time.perf_counter()
import atdata_core
print(time.perf_counter() - start)
"""


def _seconds() -> float:
    """How long a fresh interpreter takes for it, its own start left out."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    return float(done.stdout)


@row("import of `atdata_core`", peer="", reach=Reach(most=0.25, unit="seconds"))
def atdata_core(bench: Bench) -> Measured:
    """In fresh interpreters; what the first one compiles is there for the others."""
    _seconds()
    times = [_seconds() for _ in range(bench.size(9, 3))]
    return Measured(counts=(Count(f"median of {len(times)}", median(times)),))


ROWS = (atdata_core,)
