"""The leases of shards that wait for their turn: taken, renewed and released many in one step."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .lease import LOOK, Lease, Leases

AT_ONCE = 1000
"""Leases that are taken in one step. What is beyond them is left to rivals, too, until its turn comes."""


class LeaseSlot:
    """Leases on places, in a ``with`` block: those that were free when it began, until each is released.

    A thread renews them, and gives back those that are over, a few times a second.

    Args:
        leases: Where they are taken.
        places: On what.
    """

    def __init__(self, leases: Leases, places: Sequence[str]) -> None:
        self._leases = leases
        self._places = places[:AT_ONCE]
        self._held: dict[str, Lease] = {}
        self._given: set[str] = set()
        self._over: list[Lease] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="leases", daemon=True)

    def __enter__(self) -> LeaseSlot:
        if self._places:
            self._held = self._leases.take_all(self._places)
        if self._held:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._leases.release_all([*self._held.values(), *self._over])

    def __contains__(self, place: str) -> bool:
        return place in self._held

    def __len__(self) -> int:
        return len(self._held)

    def lease(self, place: str) -> BatchedLease | None:
        """The lease on a place, where it is held and nobody has been given it yet."""
        with self._lock:
            if place not in self._held or place in self._given:
                return None
            self._given.add(place)
        return BatchedLease(self, place)

    def taken_out(self, place: str) -> Lease:
        """The lease on a place that is held, for whoever renews and releases it from now on."""
        with self._lock:
            return self._held.pop(place)

    def give_back(self, place: str) -> None:
        """Let others have a place that is held, soon."""
        with self._lock:
            self._over.append(self._held.pop(place))

    def _keep(self) -> None:
        while not self._end.wait(LOOK):
            with self._lock:
                held, over, self._over = list(self._held.values()), self._over, []
            self._leases.renew_all(held)
            self._leases.release_all(over)


class BatchedLease(Lease):
    """A lease that is held with others until somebody renews it, who has to go on with that then."""

    def __init__(self, held: LeaseSlot, place: str) -> None:
        self._held = held
        self._place = place
        self._own: Lease | None = None

    def renew(self) -> None:
        """Hold it for longer."""
        if self._own is None:
            self._own = self._held.taken_out(self._place)
        self._own.renew()

    def release(self) -> None:
        """Let others have it."""
        if self._own is None:
            self._held.give_back(self._place)
        else:
            self._own.release()
