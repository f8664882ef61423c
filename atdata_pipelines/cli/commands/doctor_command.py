"""``atdata-pipelines doctor``."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from atdata_core.common.plurals import number_of

from ..command import FAILED, Output, command, json_option

if TYPE_CHECKING:
    from ..doctor import CheckResult

COLORS = {"ok": "green", "warning": "yellow", "error": "red", "skipped": "cyan"}


@command("doctor", "doctor --json", going_on="Run it again:")
@json_option
def doctor(output: Output) -> None:
    """Look at everything that a promotion needs, and say how to mend what is wrong.

    At variables, versions, clock, Redis, S3, the bucket that is published to (a tiny object is written below
    atdata-doctor/, read anonymously and removed), the PDS and the account, Dagster's folder, storage and
    partitions, and Celery's workers where the executor is celery.

    Ends with 1 where something is an error; what is a warning works, but not as it should.
    """
    from ..doctor import CHECKS, examine

    width = max(len(check.name) for check in CHECKS)
    found: list[CheckResult] = []
    for finding in examine():
        found.append(finding)
        output.line(_line(finding, width))
        output.data(asdict(finding))
    counts = Counter(finding.state for finding in found)
    output.line(f"{number_of(counts['error'], 'error')}, {number_of(counts['warning'], 'warning')}")
    if counts["error"]:
        sys.exit(FAILED)


def _line(finding: CheckResult, width: int) -> str:
    state = click.style(f"{finding.state:8}", fg=COLORS[finding.state])
    mend = f"\n{'':8} {'':{width}}  -> {finding.mend}" if finding.mend else ""
    return f"{state} {finding.check:{width}}  {finding.found}{mend}"
