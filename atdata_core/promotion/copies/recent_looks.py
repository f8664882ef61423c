"""What this process has just seen: a shard is not looked at twice within one promotion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ...protocols import ShardFacts

RECENT = 10.0
"""Seconds for which what was seen is taken to be still so."""


class RecentLooks:
    """Shards that were seen where they lie, with the bytes that are recorded of them.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str | None], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def note(self, shard: ShardFacts, when: float | None = None) -> None:
        """Note that a shard was seen: read, or proven by its service.

        Args:
            shard: With the SHA-256 that its bytes have.
            when: By the clock, before it was looked at; now by default.
        """
        now = self._clock()
        with self._lock:
            # The oldest stand first.
            while self._seen and now - next(iter(self._seen.values()))[0] > RECENT:
                del self._seen[next(iter(self._seen))]
            place = (shard.url, shard.endpoint)
            self._seen.pop(place, None)
            self._seen[place] = (now if when is None else when, shard.sha256)

    def forget(self, shard: ShardFacts) -> None:
        """Note that a shard may not be looked at any more."""
        with self._lock:
            self._seen.pop((shard.url, shard.endpoint), None)

    def have(self, shard: ShardFacts) -> bool:
        """Whether a shard was seen so a moment ago."""
        seen = self._seen.get((shard.url, shard.endpoint))
        return seen is not None and seen[1] == shard.sha256 and self._clock() - seen[0] <= RECENT

    def now(self) -> float:
        """The time, to be given to ``note`` once a look has ended."""
        return self._clock()


recent_looks = RecentLooks()
"""Those of this process."""
