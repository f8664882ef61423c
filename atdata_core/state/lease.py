"""A lease on the copying of one shard, so that rivals do not send the same bytes at the same time.

It saves work. Nothing depends on it: a copy is proven at its destination whoever made it, so where the
leases cannot be reached, copying goes on without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext

POLL = 0.3
"""Seconds between two looks at a lease that a rival holds."""

LOOK = 0.5
"""Seconds between two looks at whether a lease must be renewed."""

AT_ONCE = 1000
"""Leases that are taken in one step. What is beyond them is left to rivals, too, until its turn comes."""


class Lease:
    """The right to copy one shard, for as long as it is renewed; this one has no effect."""

    def renew(self) -> None:
        """Hold it for longer; may be called as often as one likes."""

    def release(self) -> None:
        """Let others have it."""


class Leases:
    """Who copies what. Here nobody else can know of them, so every one is free."""

    def take(self, place: str) -> Lease | None:
        """The lease on a place; None where a rival holds it."""
        return Lease()

    def take_all(self, places: Iterable[str]) -> dict[str, Lease]:
        """The leases on those of some places that are free; none where leases cannot be reached."""
        return {}

    def renew_all(self, leases: Iterable[Lease]) -> None:
        """Hold them for longer; may be called as often as one likes."""

    def release_all(self, leases: Iterable[Lease]) -> None:
        """Let others have them."""


@contextmanager
def kept(lease: Lease) -> Generator[None]:
    """Renew a lease while its shard is copied."""
    with nullcontext() if type(lease) is Lease else _renewing(lease.renew):
        yield


@contextmanager
def leased(leases: Leases, places: Sequence[str]) -> Generator[Collection[str]]:
    """Hold the leases on those of the first ``AT_ONCE`` places that are free; gives these places."""
    held = leases.take_all(places[:AT_ONCE]) if places else {}
    try:
        with _renewing(lambda: leases.renew_all(held.values())) if held else nullcontext():
            yield held.keys()
    finally:
        leases.release_all(held.values())


@contextmanager
def _renewing(renew: Callable[[], None]) -> Generator[None]:
    done = threading.Event()

    def keep() -> None:
        while not done.wait(LOOK):
            renew()

    thread = threading.Thread(target=keep, name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
