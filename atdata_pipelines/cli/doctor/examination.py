"""All checks, one after the other, none of which holds the others up."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module

from atdata_core.errors import AtdataError
from atdata_core.secrets import masked

from . import dagster_check, environment_check, pds_check, redis_check, s3_check
from .check import ANSWER, Check, CheckResult, Known, fail, look_at_clock, skip

LIMIT = 5.0
"""Seconds after which a check that is not done is given up, unless it has a limit of its own."""

CHECKS = (
    Check("variables", environment_check.look_at_variables),
    Check("state folder", environment_check.look_at_state),
    Check("versions", environment_check.look_at_versions),
    Check("dagster home", dagster_check.look_at_home),
    # Dagster itself tries for eleven seconds to reach its database.
    Check("dagster storage", dagster_check.look_at_storage, needs=("dagster home",), limit=20.0),
    Check("partitions", dagster_check.look_at_partitions, needs=("dagster home", "dagster storage")),
    # It reads the definitions of the project that it stands in.
    Check("workers", dagster_check.look_at_workers, limit=20.0),
    Check("redis", redis_check.look_at_server),
    Check("redis memory", redis_check.look_at_memory, needs=("redis",)),
    Check("redis storage", redis_check.look_at_storage, needs=("redis",)),
    Check("s3", s3_check.look_at_service),
    Check("shards", s3_check.look_at_shards, needs=("redis", "s3")),
    Check("publish bucket", s3_check.look_at_destination),
    Check("pds", pds_check.look_at_service),
    Check("login", pds_check.look_at_login, needs=("pds",)),
    Check("identity", pds_check.look_at_identity, needs=("pds",)),
    Check("clock", look_at_clock),
)


def examine(
    checks: Sequence[Check] = CHECKS, *, answer: float = ANSWER, limit: float = LIMIT
) -> Iterator[CheckResult]:
    """Run checks in order; each finding as it is found, without anything secret in it.

    Args:
        checks: What to look at. Those that a check needs stand before it.
        answer: Seconds that one request waits.
        limit: Seconds after which a check is given up that has no limit of its own.
    """
    # Takes seconds on a slow machine, which no service is to blame for.
    for module in ("atproto", "boto3", "dagster"):
        import_module(module)
    known = Known(answer)
    unwell: set[str] = set()
    for check in checks:
        lacking = [need for need in check.needs if need in unwell]
        if lacking:
            found = [skip(f"not looked at: see {', '.join(lacking)}")]
            unwell.add(check.name)
        else:
            found = _done(check, known, check.limit or limit)
        for finding in found:
            if finding.state == "error":
                unwell.add(check.name)
            yield replace(
                finding,
                found=masked(" ".join(finding.found.split())),
                mend=masked(finding.mend),
                check=finding.check or check.name,
            )


def _done(check: Check, known: Known, limit: float) -> list[CheckResult]:
    """What a check finds within its time; an error of the library says itself how it is mended."""
    found: list[CheckResult] = []

    def work() -> None:
        try:
            for finding in check.look(known):
                found.append(finding)
        except AtdataError as error:
            found.append(fail(error.message))
        except Exception as error:
            found.append(fail(f"the check failed with {type(error).__name__}: {error}"))

    # A thread that waits for a service cannot be ended, but it does not keep the process alive either.
    thread = threading.Thread(target=work, name=f"check of {check.name}", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        slow = fail(f"not done within {limit:g} s", "Look at the network, and how busy the service is.")
        return [*found, slow]
    return found
