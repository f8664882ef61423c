"""When may a service be asked again?

A request that can pass later is sent at most ``ATTEMPTS`` times, with a pause in between. A service that says
how long it wants to be left alone (``Retry-After``) is left alone that long by every thread of this process,
whichever client it uses; where only a method, or what one account asks of it, was limited, only that is.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ..errors import AtdataError, RateLimitedError
from .network_settings import PORTS

ATTEMPTS = 4
"""How often a request is sent, the first time included."""

LONGEST_WAIT = 60.0
"""Seconds that a call waits because a service asks for it; a longer time is told to the caller at once."""

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 4.0
_WORTH_TELLING = 3.0
# A day: no limit in use lasts longer, so more is a mistake of the service (or a wrong clock).
_LONGEST_HOLD = 86_400.0
_TOO_MANY = 429
_ASKS_TO_WAIT = (_TOO_MANY, 503)

_logger = logging.getLogger("atdata_core")
R = TypeVar("R")


class Gate(NamedTuple):
    """What may be closed: a service, or what is asked of one of its methods, by one account or by anybody."""

    service: str
    method: str = ""
    account: str = ""

    @property
    def limited(self) -> str:
        """What is closed of the service, to be put into a sentence."""
        method = f" with {self.method.rpartition('/')[2]}" if self.method else ""
        return method + (f" of {self.account}" if self.account else "")


class _Hold(NamedTuple):
    until: float
    status: int
    told: bool


class RetryAfter:
    """The gates of all services, and the pauses between attempts.

    Args:
        clock: Seconds that only grow; ``time.monotonic``, or a quicker one in tests.
        sleep: Lets so many of its seconds pass. Nothing else sleeps while a service is waited for.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._holds: dict[Gate, _Hold] = {}
        self._lock = threading.Lock()

    def hold(self, gate: Gate, seconds: float | None, status: int) -> None:
        """Close a gate for so long; it never gets shorter. None and 0 change nothing."""
        if not seconds or seconds <= 0:
            return
        until = self._clock() + min(seconds, _LONGEST_HOLD)
        with self._lock:
            before = self._holds.get(gate)
            if before is None or before.until < until:
                self._holds[gate] = _Hold(until, status, told=False)

    def wait(self, gate: Gate) -> None:
        """Wait until a gate, and that of its service, are open.

        Raises:
            RateLimitedError: That takes longer than ``LONGEST_WAIT``.
        """
        while (left := max(self._left(each) for each in {Gate(gate.service), gate})) > 0:
            self._sleep(left)

    def pause(self, attempt: int) -> None:
        """Wait between an attempt (the first is 1) and the next: longer each time, and never in step."""
        longest = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)
        self._sleep(longest * random.uniform(0.5, 1.0))

    def _left(self, gate: Gate) -> float:
        """Seconds until a gate opens; tells once for each closing that it is waited for."""
        with self._lock:
            found = self._holds.get(gate)
            left = 0.0 if found is None else found.until - self._clock()
            if found is None or left <= 0:
                self._holds.pop(gate, None)
                return 0.0
            if left > LONGEST_WAIT:
                raise RateLimitedError(
                    f"{gate.service} asked to be left alone ({found.status}){gate.limited} "
                    f"for another {left:.0f} s. Try again then.",
                    service=gate.service,
                    status=found.status,
                    retry_after=left,
                )
            tell = not found.told and left > _WORTH_TELLING
            if tell:
                self._holds[gate] = found._replace(told=True)
        if tell:
            _logger.warning(
                "%s asked to be left alone (%s)%s: waiting %.0f s before the next request to it.",
                gate.service,
                found.status,
                gate.limited,
                left,
            )
        return left


ours = RetryAfter()
"""That of this process."""


def with_retries(act: Callable[[], R]) -> R:
    """What ``act`` gives, which sends one request: again after an error that may pass soon, a few times.

    Repeat only what may be done twice, or what is told apart by reading back.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return act()
        except AtdataError as error:
            if not passes_soon(error):
                raise
        ours.pause(attempt)
    return act()


def passes_soon(error: AtdataError) -> bool:
    """Whether the same request is worth another attempt within this call."""
    return error.transient and (error.facts.get("retry_after") or 0.0) <= LONGEST_WAIT


def note_answer(gate: Gate, status: int, headers: Mapping[str, str]) -> None:
    """Obey an answer that asks to wait: no further request of the kind that was limited before that time.

    A 429 of an XRPC method is of that method where it names its policy, or answers an account. Any other one, and
    each 503, is of the whole service.

    Args:
        gate: That of the request.
        status: HTTP status.
        headers: Of the answer, lower-case names.
    """
    if status in _ASKS_TO_WAIT:
        if status != _TOO_MANY or not (gate.account or "ratelimit-policy" in headers):
            gate = Gate(gate.service)
        ours.hold(gate, seconds_to_wait(headers), status)


def http_hooks(account: str = "") -> dict[str, list[Callable[[Any], None]]]:
    """Event hooks for an ``httpx.Client``, whose requests are all an account's: as ``gate_of``, redirects too."""

    def gate(request: Any) -> Gate:
        # The header, for a request that is held to an address keeps the service's name there.
        return gate_of(f"{request.url.scheme}://{request.headers.get('host', '')}{request.url.path}", account)

    def asking(request: Any) -> None:
        ours.wait(gate(request))

    def answered(answer: Any) -> None:
        note_answer(gate(answer.request), answer.status_code, answer.headers)

    return {"request": [asking], "response": [answered]}


def gate_of(url: str, account: str = "") -> Gate:
    """The gate of a request, at which it waits, and which its answer may close.

    Of its method and account where it is one of XRPC, else of its service. ``account``: who asks, or for whom;
    empty for anybody.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        path = ""
    return Gate(service_of(url), path, account) if path.startswith("/xrpc/") else Gate(service_of(url))


def service_of(url: str) -> str:
    """What a gate belongs to: scheme, host and port of a URL, where it is not the usual one."""
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return url  # no service, as whoever asks it will say
    host = f"[{name}]" if ":" in name else name
    usual = port in (None, PORTS.get(parts.scheme))
    return f"{parts.scheme}://{host}" if usual else f"{parts.scheme}://{host}:{port}"


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait, at most a day; None where it does not say.

    From ``Retry-After`` (seconds or a date), else ``RateLimit-Reset`` (seconds since 1970).

    Args:
        headers: Of the answer, lower-case names.
    """
    after, reset = headers.get("retry-after", "").strip(), headers.get("ratelimit-reset", "").strip()
    if after.isdecimal():
        return min(float(after), _LONGEST_HOLD)
    until = _seconds_of(after)
    if until is None and reset.isdecimal():
        until = float(reset)
    if until is None:
        return None
    # The service's own time where it says it: this machine's clock may be minutes off.
    now = its_time(headers)
    return min(max(0.0, until - (time.time() if now is None else now)), _LONGEST_HOLD)


def its_time(headers: Mapping[str, str]) -> float | None:
    """What time it was for a service when it answered (its ``Date``), in seconds since 1970; lower-case names."""
    return _seconds_of(headers.get("date", ""))


def _seconds_of(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
