"""Write points, and uploads: a host that counts them lets an account make so many an hour and a day.

Counts are kept for each account in the state folder, so that all processes of this machine stay within them
together. The rules are those of the reference PDS (``repo-write-hour`` and ``repo-write-day``):
https://docs.bsky.app/docs/advanced-guides/rate-limits
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

from atdata_core.common.retry_after import seconds_to_wait
from atdata_core.common.state_file import StateFile
from atdata_core.errors import RefusedError

HOUR, DAY = 3600, 86_400
KNOWN_LIMITS = {HOUR: 5_000, DAY: 35_000}
"""Points by seconds, on the hosts of the Bluesky company."""
VARIABLE = "ATDATA_WRITE_BUDGET"

_UPLOAD = "com.atproto.repo.uploadBlob"
_POINTS = {"createRecord": 3, "putRecord": 2, "deleteRecord": 1}
_WRITES = {"create": 3, "update": 2, "delete": 1}
_PARTS = 144
"""Of a window: a part leaves it as a whole, so that a file holds few numbers, however many writes there are."""
_SLICE = 60.0
"""Seconds between two looks at the file while waiting; another process may wait for the same points."""
_POLL = 0.25
"""Seconds between two looks at whether somebody still wants to wait."""
_NAMES = {HOUR: "an hour", DAY: "a day"}

_log = logging.getLogger("atdata_core")
now = time.time
sleep = time.sleep

Limits = dict[int, int]
Kept = dict[str, Any]

_no_more: ContextVar[Callable[[], bool]] = ContextVar("_no_more", default=lambda: False)


class WaitEndedError(Exception):
    """Points were waited for, and are not wanted any more; nothing was sent."""


@contextmanager
def waiting_until(no_more: Callable[[], bool]) -> Generator[None]:
    """Inside, in this thread, ``take`` raises ``WaitEndedError`` instead of waiting once ``no_more`` says so.

    A thread that sleeps hears of no Ctrl-C, and whoever has it waits for the thread.
    """
    before = _no_more.set(no_more)
    try:
        yield
    finally:
        _no_more.reset(before)


def points_of(nsid: str, body: Any) -> int:
    """What a request costs; 0 for one that writes no record."""
    method = nsid.removeprefix("com.atproto.repo.")
    if method == "applyWrites":
        kinds = [str(write.get("$type", "")).rpartition("#")[2] for write in body.get("writes", ())]
        return sum(_WRITES.get(kind, 0) for kind in kinds)
    return _POINTS.get(method, 0)


def is_upload(nsid: str) -> bool:
    """Whether a request is counted among the uploads of blobs, not among the writes of records."""
    return nsid == _UPLOAD


@lru_cache
def budget_of(did: str, service: str, *, uploads: bool = False) -> Budget:
    """The budget of an account whose PDS is ``service`` (URL): one for all clients of this process."""
    return Budget(did, service, uploads=uploads)


class Budget:
    """The write points, or the ``uploads`` of blobs, that an account has left.

    Points are counted where ``ATDATA_WRITE_BUDGET`` says so (points an hour / points a day), else on hosts that
    are known to count. Both are, from the first refusal on that tells of an hour's or a day's limit.
    """

    def __init__(self, did: str, service: str, *, uploads: bool = False) -> None:
        self._did = did
        host = urlsplit(service).hostname or ""
        self._known = not uploads and (host == "bsky.social" or host.endswith(".bsky.network"))
        self._given: Callable[[], Limits | None] = (lambda: None) if uploads else from_environment
        self._what, self._unit = ("uploads", "uploads") if uploads else ("writes", "write points")
        self._file = StateFile(self._what, did)
        self._unwritten = "{}"
        """What the file should hold, where it cannot be written."""
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._told: float | None = None

    @property
    def is_counted(self) -> bool:
        """Whether ``take`` takes anything.

        Raises:
            RefusedError: ``ATDATA_WRITE_BUDGET`` is no budget.
        """
        return bool(self._limits(self._kept()))

    def take(self, points: int, what: str) -> None:
        """Use points for the request ``what``; waits until there are as many, and tells that it waits.

        Raises:
            RefusedError: ``ATDATA_WRITE_BUDGET`` is no budget.
            WaitEndedError: As ``waiting_until`` says.
        """
        if not self.is_counted:
            return
        # One thread waits for points, and the others for it: none takes what is left before one that needs more.
        while not self._turn.acquire(timeout=_POLL):
            _end_where_unwanted()
        try:
            _end_where_unwanted()
            while (missing := self._missing(points)) is not None:
                until, why = missing
                if self._told is None or now() - self._told >= _SLICE:
                    self._told = now()
                    _log.warning("%s; %s waits %s.", why, what.rpartition(".")[2], _until(until))
                left = min(until - now(), _SLICE)
                while left > 0:
                    sleep(min(left, _POLL))
                    left -= _POLL
                    _end_where_unwanted()
        finally:
            self._turn.release()

    def learn(self, headers: Mapping[str, str]) -> bool:
        """Heed a refusal (429) of a write: whether ``take`` now waits for as long as it asks.

        Args:
            headers: Of the answer, lower-case names. ``RateLimit-Policy`` says which limit was reached.
        """
        limits = _policy(headers.get("ratelimit-policy", ""))
        wait = seconds_to_wait(headers)
        if not limits or not wait or self._given() == {}:
            return False
        with self._lock, self._file.locked():
            kept = self._kept()
            kept["limits"] = _numbers(kept.get("limits")) | limits
            kept["closed"] = max(_number(kept.get("closed")), int(now() + wait) + 1)
            self._keep(kept)
        return True

    def is_closed(self) -> bool:
        """Whether the PDS has said that it takes no more writes for now."""
        return self._given() != {} and _number(self._kept().get("closed")) > now()

    def _missing(self, points: int) -> tuple[float, str] | None:
        """Takes points, or says from when on there are enough, and which limit it is."""
        with self._lock, self._file.locked():
            kept = self._kept()
            limits = self._limits(kept)
            closed = _number(kept.get("closed"))
            if closed > now():
                return closed, f"The PDS takes no more {self._what} of {self._did} for now"
            used: dict[str, Any] = {}
            for seconds, limit in limits.items():
                counts = _within(_numbers(_object(kept.get("used")).get(str(seconds))), seconds)
                until = _from_when(counts, seconds, limit - points)
                if until is not None:
                    why = f"{self._did} has used its {limit:,} {self._unit} of {_NAMES[seconds]}"
                    return until, why
                part = int(now()) // (seconds // _PARTS) * (seconds // _PARTS)
                used[str(seconds)] = counts | {part: counts.get(part, 0) + points}
            self._keep(kept | {"used": used})
        return None

    def _limits(self, kept: Kept) -> Limits:
        given = self._given()
        if given is not None:
            return given
        learnt = {s: limit for s, limit in _numbers(kept.get("limits")).items() if s in _NAMES}
        return (KNOWN_LIMITS if self._known else {}) | learnt

    def _kept(self) -> Kept:
        return self._file.read() or json.loads(self._unwritten)

    def _keep(self, kept: Kept) -> None:
        self._unwritten = "{}" if self._file.write({"did": self._did, **kept}) else json.dumps(kept)


def _end_where_unwanted() -> None:
    if _no_more.get()():
        raise WaitEndedError


def from_environment() -> Limits | None:
    """What the variable says; empty for ``off``, None where it is not set.

    Raises:
        RefusedError: It says neither limits nor ``off``.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return None
    if given == "off":
        return {}
    found = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", given)
    if found is None:
        raise RefusedError(
            f"{VARIABLE} is {given!r}. Give points an hour / points a day, such as 5000/35000, or off.",
            variable=VARIABLE,
        )
    return {HOUR: int(found[1]), DAY: int(found[2])}


def _policy(policy: str) -> Limits:
    """The limits of an hour and of a day in a header: ``5000;w=3600``, or ``"name";q=5000;w=3600``."""
    found: Limits = {}
    for item in policy.split(","):
        limit = re.match(r"\s*(\d{1,9})\s*(?:;|$)", item) or re.search(r";\s*q=(\d{1,9})\b", item)
        window = re.search(r";\s*w=(\d{1,9})\b", item)
        if limit and window and int(limit[1]) > 0 and int(window[1]) in _NAMES:
            found[int(window[1])] = int(limit[1])
    return found


def _within(counts: dict[int, int], seconds: int) -> dict[int, int]:
    """Counts of the parts that are not wholly out of the window; none from a clock that was ahead."""
    part = seconds // _PARTS
    return {start: points for start, points in counts.items() if -part < now() - start < seconds + part}


def _from_when(counts: dict[int, int], seconds: int, room: int) -> float | None:
    """When enough of the parts will have left the window; None: now. An empty window takes anything."""
    used = sum(counts.values())
    if not used or used <= room:
        return None
    until = now()
    for start in sorted(counts):
        used -= counts[start]
        until = float(start + seconds // _PARTS + seconds)
        if used <= room:
            break
    return until


def _until(moment: float) -> str:
    minutes = max(1, round((moment - now()) / 60))
    length = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
    return f"{length}, until {datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M}"


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _numbers(value: Any) -> dict[int, int]:
    """A mapping of numbers as JSON holds it."""
    items = _object(value).items()
    return {int(key): count for key, count in items if key.isdecimal() and isinstance(count, int) and count > 0}
