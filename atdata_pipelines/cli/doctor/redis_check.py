"""Redis: whether it answers, and whether it keeps what it is given."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from atdata_core.errors import ServiceRefusedError
from atdata_core.local import LocalIndex
from atdata_core.state.redis_errors import VARIABLE, address
from atdata_core.state.redis_state import from_url, reaching

from ...config.resources import RedisResource
from .check import CheckResult, Known, fail, ok, warn

OLDEST = (6, 0)
"""The first version with ``SCAN ... TYPE``, which finds what other programs wrote."""


def look_at_server(known: Known) -> Iterable[CheckResult]:
    """Whether it answers, and which it is."""
    RedisResource().index()  # says what is wrong with the variable
    client = sent_once(os.environ[VARIABLE].strip(), known, source=VARIABLE)
    with reaching(client):
        client.ping()
        sent = time.time()
        seconds, micros = client.time()
    known.heard("Redis", sent, seconds + micros / 1e6)
    known.redis, known.index = client, LocalIndex(client)
    about = _info(client, "server")
    if about is None:
        yield warn(f"{address(client)} answers, but does not tell its version", _ALLOW)
        return
    kind = "Valkey" if "valkey_version" in about else "Redis"
    version = str(about.get("valkey_version") or about.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST:
        least = ".".join(map(str, OLDEST))
        yield fail(f"{address(client)} is {kind} {version}", f"Use Redis {least} or newer, or Valkey.")
    else:
        yield ok(f"{address(client)} is {kind} {version}")


def sent_once(url: str, known: Known, *, source: str) -> Any:
    """A client that waits once for an answer; raises ``RefusedError`` where the URL is none."""
    return from_url(
        url,
        source=source,
        socket_connect_timeout=known.answer,
        socket_timeout=known.answer,
        retry=Retry(NoBackoff(), 0),
    )


def look_at_memory(known: Known) -> Iterable[CheckResult]:
    """Whether it throws data away when its memory is full."""
    about = _info(known.redis, "memory") or {}
    policy = str(about.get("maxmemory_policy") or _config(known.redis, "maxmemory-policy") or "")
    mend = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf (or the service's parameter group)."
    if not policy:
        yield warn("it does not tell its maxmemory-policy, which must be noeviction", _ALLOW)
    elif policy.startswith("allkeys"):
        yield fail(f"maxmemory-policy is {policy}: datasets vanish when its memory is full", mend)
    elif policy != "noeviction":
        # Only what is to expire goes: the ledger's leases and marks.
        yield warn(f"maxmemory-policy is {policy}: leases may go before their time", mend)
    else:
        yield ok("maxmemory-policy is noeviction")


def look_at_storage(known: Known) -> Iterable[CheckResult]:
    """Whether it writes down what it is given."""
    about = _info(known.redis, "persistence") or {}
    told = about.get("aof_enabled")
    if told is None:
        said = _config(known.redis, "appendonly")
        told = None if said is None else int(said == "yes")
    mend = "CONFIG SET appendonly yes, and the same in redis.conf (or the service's parameter group)."
    if told is None:
        yield warn("it does not tell whether it keeps an append-only file", _ALLOW)
    elif told:
        yield ok("it keeps an append-only file")
    elif _config(known.redis, "save") == "":
        yield fail("it keeps neither append-only file nor snapshots: all is lost when it stops", mend)
    else:
        # Some services offer no more than snapshots, and do not tell when they make them.
        lost = "what was inserted since its last snapshot is lost when it stops"
        yield warn(f"it keeps no append-only file: {lost}", mend)


_ALLOW = "Allow this user INFO or CONFIG GET (ACL SETUSER ... +info +config|get), or look in the service's console."


def _info(client: Any, section: str) -> dict[str, Any] | None:
    """A section of INFO; None where this user may not ask."""
    try:
        with reaching(client):
            return client.info(section)
    except ServiceRefusedError:
        return None


def _config(client: Any, name: str) -> str | None:
    """A setting; None where a managed Redis does not let it be read."""
    try:
        with reaching(client):
            found = client.config_get(name)
    except ServiceRefusedError:
        return None
    value = next(iter(found.values()), None)
    return value.decode() if isinstance(value, bytes) else value
