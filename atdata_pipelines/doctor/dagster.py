"""Where Dagster keeps what it knows, and how many datasets it knows."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .finding import Finding, Known

NEAR = 0.9
"""Share of the most partitions from which on it is time to look."""


def look_at_home(known: Known) -> Iterable[Finding]:
    """Whether DAGSTER_HOME is a folder with settings."""
    from ..home import SETTINGS, checked_home

    if not os.environ.get("DAGSTER_HOME"):
        yield Finding(
            "warning",
            "DAGSTER_HOME is not set: runs, partitions and switched-on sensors are forgotten",
            f"Set it to the absolute path of a folder with a copy of {SETTINGS}.",
        )
        return
    home = checked_home()
    if not os.access(home, os.W_OK):
        yield Finding(
            "error", f"{home} cannot be written", f"chmod u+w {home}, or set DAGSTER_HOME to another folder."
        )
    elif not (home / SETTINGS).is_file():
        yield Finding(
            "warning",
            f"{home} has no {SETTINGS}, so Dagster's own defaults hold",
            f"Copy the project's {SETTINGS} there: lost runs are repeated, and not too many run at once.",
        )
    else:
        yield Finding("ok", f"{home}, with {SETTINGS}")


def look_at_partitions(known: Known) -> Iterable[Finding]:
    """How near the number of datasets is to what Dagster is made for."""
    import dagster as dg

    from ..partitions import MOST, count_keys

    if not os.environ.get("DAGSTER_HOME"):
        yield Finding("skipped", "not looked at: there are none without DAGSTER_HOME")
        return
    with dg.DagsterInstance.get() as instance:
        count = count_keys(instance)
    found = f"{count:,} of at most {MOST:,}"
    if count < NEAR * MOST:
        yield Finding("ok", found)
    else:
        yield Finding(
            "error" if count >= MOST else "warning",
            f"{found}: beyond that no dataset is added",
            "atdata-pipelines prune removes those whose dataset is gone.",
        )
