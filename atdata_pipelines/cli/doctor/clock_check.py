"""Whether this machine and the services agree on the time: tokens and signatures rest on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from .check import CheckResult, Known

MOST = 60.0
"""Seconds that clocks may differ. S3 takes a signature for 15 minutes, a PDS a token for much less."""


def date_of(headers: Mapping[str, str]) -> float | None:
    """The time in the ``Date`` of an answer, in seconds since 1970; header names in lower case."""
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def look_at_clock(known: Known) -> Iterable[CheckResult]:
    """Compare with the services that said what time it is for them."""
    if not known.ahead:
        yield CheckResult("skipped", "not looked at: no service told its time")
        return
    wrong = {service: ahead for service, ahead in known.ahead.items() if abs(ahead) > MOST}
    for service, ahead in wrong.items():
        way = "ahead of" if ahead > 0 else "behind"
        yield CheckResult(
            "error",
            f"the clock of {service} is {abs(ahead):,.0f} s {way} this machine's",
            "Set the time of whichever is wrong (timedatectl set-ntp true): signatures and tokens are refused.",
        )
    right = [service for service in known.ahead if service not in wrong]
    if right:
        yield CheckResult("ok", f"within {MOST:.0f} s of {', '.join(right)}")
