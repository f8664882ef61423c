"""A lease on the copying of one shard, so that rivals do not send the same bytes at the same time.

It saves work. Nothing depends on it: a copy is proven at its destination whoever made it, so where the
leases cannot be reached, copying goes on without.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import BinaryIO

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


class Renewing:
    """A stream that renews a lease while its bytes pass."""

    def __init__(self, stream: BinaryIO, lease: Lease) -> None:
        self._stream = stream
        self._lease = lease

    def read(self, size: int = -1) -> bytes:
        """Bytes of the stream."""
        self._lease.renew()
        return self._stream.read(size)


@contextmanager
def kept(lease: Lease) -> Generator[None]:
    """Renew a lease while a service does the work, of which nothing can be seen here."""
    if type(lease) is Lease:
        yield
        return
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LOOK):
            lease.renew()

    renewing = threading.Thread(target=renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()


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
