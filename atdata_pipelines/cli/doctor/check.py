"""What a check is, what it finds, and what it leaves to those that follow; last of all, the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.local import LocalIndex
from atdata_core.stores.s3.objects import S3Endpoint

ANSWER = 3.0
"""Seconds that one request waits for its answer; it is sent once."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found, for people.

    ``ok``; ``warning``: things go on, but not as they should; ``error``: promotions fail, or will; ``skipped``:
    it could not be looked at. ``mend`` is what a person does; empty where ``found`` says it too.
    """

    state: Literal["ok", "warning", "error", "skipped"]
    found: str
    mend: str = ""
    check: str = ""
    """The name of its check, which whoever runs that fills in."""


ok, warn = partial(CheckResult, "ok"), partial(CheckResult, "warning")
fail, skip = partial(CheckResult, "error"), partial(CheckResult, "skipped")


@dataclass
class Known:
    """What checks found out, for those that follow.

    Attributes:
        answer: Seconds that one request waits.
        redis: A client of the Redis with the index.
        index: That index.
        reading: The S3 service that shards are read from; requests are sent once.
        account: The account that publishes, logged in.
        ahead: By service, seconds that its clock is ahead of this machine's.
    """

    answer: float = ANSWER
    redis: Any = None
    index: LocalIndex | None = None
    reading: S3Endpoint | None = None
    account: AtmosphereClient | None = None
    ahead: dict[str, float] = field(default_factory=dict)

    def heard(self, service: str, sent: float, its_time: float | None) -> None:
        """Note what a service said its time was, in seconds since 1970, when it was asked at ``sent``."""
        if its_time is not None:
            self.ahead[service] = its_time - (sent + time.time()) / 2


@dataclass(frozen=True, slots=True)
class Check:
    """One subject. ``needs``: checks that must have found no error, else this one is not done.

    ``limit``: seconds after which it is given up, where that is not what holds for all.
    """

    name: str
    look: Callable[[Known], Iterable[CheckResult]]
    needs: tuple[str, ...] = ()
    limit: float | None = None


MOST = 60.0
"""Seconds that clocks may differ. S3 takes a signature for 15 minutes, a PDS a token for much less."""


def look_at_clock(known: Known) -> Iterable[CheckResult]:
    """Compare with the services that said what time it is for them."""
    if not known.ahead:
        yield skip("not looked at: no service told its time")
        return
    wrong = {service: ahead for service, ahead in known.ahead.items() if abs(ahead) > MOST}
    for service, ahead in wrong.items():
        way = "ahead of" if ahead > 0 else "behind"
        yield fail(
            f"the clock of {service} is {abs(ahead):,.0f} s {way} this machine's",
            "Set the time of whichever is wrong (timedatectl set-ntp true): signatures and tokens are refused.",
        )
    right = [service for service in known.ahead if service not in wrong]
    if right:
        yield ok(f"within {MOST:.0f} s of {', '.join(right)}")
