"""Where Dagster keeps what it knows, and how many datasets it knows."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .check import CheckResult, Known

NEAR = 0.9
"""Share of the most partitions from which on it is time to look."""


def look_at_home(known: Known) -> Iterable[CheckResult]:
    """Whether DAGSTER_HOME is a folder with settings."""
    from ...config.dagster_home import SETTINGS, checked_home

    if not os.environ.get("DAGSTER_HOME"):
        yield CheckResult(
            "warning",
            "DAGSTER_HOME is not set: runs, partitions and switched-on sensors are forgotten",
            f"Set it to the absolute path of a folder with a copy of {SETTINGS}.",
        )
        return
    home = checked_home()
    if not os.access(home, os.W_OK):
        yield CheckResult(
            "error", f"{home} cannot be written", f"chmod u+w {home}, or set DAGSTER_HOME to another folder."
        )
    elif not (home / SETTINGS).is_file():
        yield CheckResult(
            "warning",
            f"{home} has no {SETTINGS}, so Dagster's own defaults hold",
            f"Copy the project's {SETTINGS} there: lost runs are repeated, and not too many run at once.",
        )
    else:
        yield CheckResult("ok", f"{home}, with {SETTINGS}")


def look_at_storage(known: Known) -> Iterable[CheckResult]:
    """Whether Dagster's settings can be used, and its database answers."""
    from ...config.dagster_instance import open_instance

    if not os.environ.get("DAGSTER_HOME"):
        yield CheckResult("skipped", "not looked at: there is none without DAGSTER_HOME")
        return
    with open_instance() as instance:
        instance.get_runs_count()
    yield CheckResult("ok", "Dagster's runs and partitions can be read")


def look_at_partitions(known: Known) -> Iterable[CheckResult]:
    """How near the number of datasets is to what Dagster is made for, in each instance of the pipeline."""
    from ...config.dagster_instance import open_instance
    from ...config.partitions import MOST, counts, way_out
    from ...config.settings import Settings, key_parts

    if not os.environ.get("DAGSTER_HOME"):
        yield CheckResult("skipped", "not looked at: there are none without DAGSTER_HOME")
        return
    with open_instance() as instance:
        found = counts(instance) or {"": 0}
    for prefix, count in found.items():
        said = f"{count:,} of at most {MOST:,}" + (f" under the key prefix {prefix}" if prefix else "")
        if count < NEAR * MOST:
            yield CheckResult("ok", said)
        else:
            yield CheckResult(
                "error" if count >= MOST else "warning",
                f"{said}: beyond that no dataset is added",
                way_out(Settings(key_prefix=key_parts(prefix))),
            )
