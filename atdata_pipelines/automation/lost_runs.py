"""Runs whose process is gone: the machine was restarted, or ran out of memory, and nobody could say so.

Dagster's own launcher does not look after its processes. Such a run would count as started for ever, hold a place
in the queue, and keep its datasets from being promoted.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import dagster as dg

from ..config.dagster_internals import GRPC_INFO_TAG

_SLACK = 5.0
"""Seconds that clocks of one machine may differ by: Linux counts the beginning of a process in ticks."""


def end_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Let runs fail whose process on this machine is gone; their ids. Dagster then tries them again, as configured.

    A sensor or schedule of the code location asks, which runs in the process that starts the runs.
    """
    if os.name != "posix" or not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []
    begun = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    lost: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=begun)):
        if "socket" not in json.loads(run.tags.get(GRPC_INFO_TAG, "{}")):
            continue  # started by a code server that may be on another machine, or by a command
        for start in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_START)[-1:]:
            pid = start.get_dagster_event().pid
            if pid is not None and not _runs_still(pid, start.timestamp):
                instance.report_run_failed(
                    run,
                    f"The process of this run ({pid}) is gone: the machine was restarted, or ran out of memory. "
                    "What it has done is kept, and found when the run is tried again.",
                )
                lost.append(run.run_id)
    return lost


def _runs_still(pid: int, since: float) -> bool:
    """Whether a process runs that began before a time (seconds since 1970); numbers are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, ValueError, IndexError):  # only Linux tells
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK") < since + _SLACK
    return True
