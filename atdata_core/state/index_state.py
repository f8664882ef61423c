"""The state that belongs to an index: the one door to ledger and leases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .lease import Leases
from .ledger import Ledger, MemoryLedger
from .redis_errors import address
from .redis_state import RedisLeases, RedisLedger


@dataclass(frozen=True, slots=True)
class IndexState:
    """What promotions remember, and who does what just now."""

    ledger: Ledger
    leases: Leases


def state_of(index: Any) -> IndexState:
    """An index's own ``ledger`` and ``leases``, else those in its Redis, else ones in memory."""
    redis, ledger, leases = (getattr(index, name, None) for name in ("redis", "ledger", "leases"))
    if not isinstance(ledger, Ledger):
        ledger = MemoryLedger() if redis is None else RedisLedger(redis)
    if not isinstance(leases, Leases):
        leases = Leases() if redis is None else RedisLeases(redis)
    return IndexState(ledger, leases)


def server_of(index: Any) -> str | None:
    """The server that keeps an index's state, as errors name it; None where that is not Redis."""
    redis = getattr(index, "redis", None)
    return None if redis is None else address(redis)


def connections_of(index: Any) -> int | None:
    """How many connections an index's Redis gives at a time; None where that is not Redis."""
    redis = getattr(index, "redis", None)
    return None if redis is None else redis.connection_pool.max_connections
