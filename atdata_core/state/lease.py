"""A lease on the copying of one shard, so that rivals do not send the same bytes at the same time.

It saves work. Nothing depends on it: a copy is proven at its destination whoever made it, so where the
leases cannot be reached, copying goes on without.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from ..errors import ServiceError
from .redis_connection import reaching

SECONDS = 15.0
"""How long a lease lives that is not renewed: what a crash on another machine costs those who wait for it."""

POLL = 0.3
"""Seconds between two looks at a lease that a rival holds."""

LOOK = 0.5
"""Seconds between two looks at whether a lease must be renewed."""

_PREFIX = "atdata:lease:"
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
_logger = logging.getLogger("atdata_core")


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


class RedisLeases(Leases):
    """Leases as keys ``atdata:lease:{place}`` that expire, on Redis's own clock.

    Args:
        redis: A client of redis-py.
        seconds: How long a lease lives that is not renewed.
    """

    def __init__(self, redis: Any, *, seconds: float = SECONDS) -> None:
        self._redis = redis
        self._seconds = seconds
        self._reachable = True

    def take(self, place: str) -> Lease | None:
        """The lease on a place; None where a rival holds it that may still be alive."""
        if not self._reachable:
            return Lease()
        key, token = _PREFIX + place, _token()
        try:
            with reaching(self._redis):
                if self._redis.set(key, token, nx=True, px=round(self._seconds * 1000)):
                    return _RedisLease(self._redis, key, token, self._seconds)
                holder = self._redis.get(key)
                if holder is not None and _is_gone(holder.decode()):
                    self._redis.eval(_RELEASE, 1, key, holder)
        except ServiceError as error:
            self._give_up(error)
            return Lease()
        return None

    def take_all(self, places: Iterable[str]) -> dict[str, Lease]:
        """The leases on those of some places that nobody holds, dead or alive; none where Redis does not answer."""
        if not self._reachable:
            return {}
        token = _token()
        leases = {place: _RedisLease(self._redis, _PREFIX + place, token, self._seconds) for place in places}
        try:
            with reaching(self._redis), self._redis.pipeline(transaction=False) as pipe:
                for lease in leases.values():
                    pipe.set(lease.key, token, nx=True, px=round(self._seconds * 1000))
                answers = pipe.execute()
        except ServiceError as error:
            self._give_up(error)
            return {}
        return {place: lease for (place, lease), free in zip(leases.items(), answers, strict=True) if free}

    def renew_all(self, leases: Iterable[Lease]) -> None:
        """Hold them for longer."""
        due = [lease for lease in leases if isinstance(lease, _RedisLease) and lease.due()]
        self._ask_all(due, _RENEW, round(self._seconds * 1000))

    def release_all(self, leases: Iterable[Lease]) -> None:
        """Let others have them."""
        self._ask_all([lease for lease in leases if isinstance(lease, _RedisLease)], _RELEASE)

    def _ask_all(self, leases: list[_RedisLease], script: str, *more: int) -> None:
        if not leases:
            return
        with suppress(ServiceError), reaching(self._redis), self._redis.pipeline(transaction=False) as pipe:
            for lease in leases:
                pipe.eval(script, 1, lease.key, lease.token, *more)
            pipe.execute()

    def _give_up(self, error: ServiceError) -> None:
        _logger.info("Copying goes on without leases: %s", error.message)
        self._reachable = False


class _RedisLease(Lease):
    def __init__(self, redis: Any, key: str, token: str, seconds: float) -> None:
        self.key = key
        self.token = token
        self._redis = redis
        self._seconds = seconds
        self._renewed = time.monotonic()

    def due(self) -> bool:
        """Whether it is to be renewed now; it counts as renewed then."""
        if time.monotonic() - self._renewed < self._seconds / 3:
            return False
        self._renewed = time.monotonic()
        return True

    def renew(self) -> None:
        if self.due():
            self._ask(_RENEW, round(self._seconds * 1000))

    def release(self) -> None:
        self._ask(_RELEASE)

    def _ask(self, script: str, *more: int) -> None:
        # One that cannot be renewed is lost, and one that cannot be released expires.
        with suppress(ServiceError), reaching(self._redis):
            self._redis.eval(script, 1, self.key, self.token, *more)


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


def _token() -> str:
    """Names one holder: its machine, its process, and this one time."""
    return f"{_here()} {os.getpid()} {uuid4().hex}"


def _is_gone(token: str) -> bool:
    """Whether the holder of a lease was a process of this machine that has ended."""
    here, _, rest = token.partition(" ")
    process = rest.partition(" ")[0]
    if here != _here() or not process.isdecimal() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@cache
def _here() -> str:
    """What is the same for all processes that see each other's numbers, and for no others."""
    seen = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            file = Path(path)
            seen.append(str(file.readlink()) if file.is_symlink() else file.read_text().strip())
    return "/".join(seen).replace(" ", "-")


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
