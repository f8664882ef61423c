"""``atdata-pipelines doctor``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..doctor import CheckResult

COLORS = {"ok": "green", "warning": "yellow", "error": "red", "skipped": "cyan"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
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
        click.echo(_line(finding, width), err=as_json)
    counts = Counter(finding.state for finding in found)
    if as_json:
        checks = [asdict(finding) for finding in found]
        click.echo(json.dumps({"ok": not counts["error"], "checks": checks}, indent=2))
    else:
        click.echo(f"{_number(counts['error'], 'error')}, {_number(counts['warning'], 'warning')}")
    if counts["error"]:
        sys.exit(1)


def _line(finding: CheckResult, width: int) -> str:
    state = click.style(f"{finding.state:8}", fg=COLORS[finding.state])
    mend = f"\n{'':8} {'':{width}}  -> {finding.mend}" if finding.mend else ""
    return f"{state} {finding.check:{width}}  {finding.found}{mend}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
