"""Functions in a process of their own: for what a process has only one of, such as its peak of memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import ParamSpec, TypeVar

from benchmarks.frame import NotInstalled

P = ParamSpec("P")
T = TypeVar("T")

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


Died = BrokenProcessPool
"""A process ended without a word."""


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a module in a fresh interpreter; what it gives or raises, ``Died`` among that."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def peak_over_idle(run: Callable[[], object]) -> float:
    """MB (10**6 bytes) that this process takes at most while ``run`` runs, over what it takes before.

    Raises:
        NotInstalled: Nobody tells that on this system.
    """
    if not _RESET.exists():
        raise NotInstalled("the peak of a process's memory is read from /proc, which only Linux has")
    _RESET.write_text("5")  # the peak begins anew
    idle = _kilobytes("VmRSS")
    run()
    return (_kilobytes("VmHWM") - idle) * 1024 / 1e6


def _kilobytes(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise NotInstalled(f"/proc tells no {name}")
