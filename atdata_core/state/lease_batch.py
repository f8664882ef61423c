"""The leases of shards that wait for their turn: taken, renewed and released many in one step."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .lease import LOOK, Lease, Leases

AT_ONCE = 1000
"""Leases that are taken in one step. What is beyond them is left to rivals, too, until its turn comes."""


class LeaseBatch:
    """Leases on places, in a ``with`` block: those that were free when it began, until it ends.

    A thread renews them.

    Args:
        leases: Where they are taken.
        places: On what.
    """

    def __init__(self, leases: Leases, places: Sequence[str]) -> None:
        self._leases = leases
        self._places = places[:AT_ONCE]
        self._held: dict[str, Lease] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)

    def __enter__(self) -> LeaseBatch:
        if self._places:
            self._held = self._leases.take_all(self._places)
        if self._held:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._leases.release_all(self._held.values())

    def __contains__(self, place: str) -> bool:
        return place in self._held

    def __len__(self) -> int:
        return len(self._held)

    def _keep(self) -> None:
        while not self._end.wait(LOOK):
            self._leases.renew_all(self._held.values())
