"""State in Redis: the way to the server and errors that say so, the ledger, and the leases."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from ..common.machine import machine
from ..errors import RefusedError, ServiceError
from ..secrets import keep_secret, masked_json
from .lease import Lease, Leases
from .ledger import Ledger, Place, Swap
from .redis_errors import VARIABLE, is_wrong_type, named

_DATABASE = re.compile(r"/?|/\d+/?", re.ASCII)
_PLACES = ("host", "port", "unix_socket_path", "connection_pool")


def connect(redis: Any = None, **kwargs: Any) -> Any:
    """A Redis client that gives bytes: the one given, else one from ``kwargs`` or ``ATDATA_REDIS_URL``.

    Without any of them it is the server at localhost:6379. Nothing is sent yet.

    A URL may stand for the client. A keyword counts more than the same thing in the URL.

    Raises:
        RefusedError: what is given is no client that an index can use: one of a cluster or of asyncio, a pipeline,
            or one that decodes its answers, which destroys msgpack; or the URL is none.
    """
    if isinstance(redis, str):
        redis = from_url(redis.strip(), source="The URL that was given as redis", **kwargs)
    elif redis is None:
        from redis import Redis

        url = os.environ.get(VARIABLE, "").strip()
        elsewhere = any(place in kwargs for place in _PLACES)
        redis = from_url(url, **kwargs) if url and not elsewhere else Redis(**{**_defaults(), **kwargs})
    else:
        _refuse_other_clients(redis)
    keep_secret(redis.connection_pool.connection_kwargs.get("password"))
    if redis.connection_pool.connection_kwargs.get("decode_responses"):
        raise RefusedError(
            "This Redis client decodes its answers (decode_responses=True), but an index keeps msgpack. "
            "Give a client made without that option."
        )
    return redis


def _refuse_other_clients(redis: Any) -> None:
    from redis import ConnectionPool
    from redis.asyncio import ConnectionPool as AsyncioPool
    from redis.client import Pipeline

    kind = f"{type(redis).__module__}.{type(redis).__qualname__}"
    pool = getattr(redis, "connection_pool", None)
    if isinstance(pool, ConnectionPool) and not isinstance(redis, Pipeline):
        return
    if "cluster" in kind.lower():
        why = ", a client of a cluster, which keeps keys on several servers; an index needs all of its keys on one"
    elif isinstance(pool, AsyncioPool) or "asyncio" in kind:
        why = ", a client of asyncio, whose calls have to be awaited; an index does not do that"
    elif isinstance(redis, Pipeline):
        why = ", a pipeline, which answers nothing until it is executed"
    else:
        why = ", no client of redis-py"
    raise RefusedError(
        f"redis is a {kind}{why}. Give a redis.Redis of one server, or its URL (redis://host:6379/0)."
    )


def ask(redis: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Answers to several commands, each the name of the client's method and its arguments, in one round trip."""
    if len(commands) < 2:
        return [getattr(redis, command)(*arguments) for command, *arguments in commands]
    pipe = redis.pipeline(transaction=False)
    for command, *arguments in commands:
        getattr(pipe, command)(*arguments)
    return pipe.execute()


def decoded(text: bytes | None) -> str:
    """Text of whomever; empty where there is none, and where it is no UTF-8."""
    try:
        return (text or b"").decode()
    except UnicodeDecodeError:
        return ""


def read(redis: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """As ``ask``, for commands on a key each; None where somebody wrote one of another type there."""
    if len(commands) == 1:
        # A pipeline of one takes twice the time of its command.
        from redis.exceptions import ResponseError

        try:
            return ask(redis, commands)
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            return [None]
    with redis.pipeline(transaction=False) as pipe:
        for command, *arguments in commands:
            getattr(pipe, command)(*arguments)
        answers: list[Any] = pipe.execute(raise_on_error=False)
    failed = next((each for each in answers if isinstance(each, Exception) and not is_wrong_type(each)), None)
    if failed is not None:
        raise failed
    return [None if isinstance(answer, Exception) else answer for answer in answers]


@contextmanager
def reaching(redis: Any) -> Generator[None]:
    """Turns redis-py's errors into ours.

    Raises:
        ServiceUnavailableError: the server does not answer, or will do so later.
        ServiceRefusedError: it will not: it names what is wrong with the server, the user or the way to it.
    """
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise named(redis, error) from None


def from_url(url: str, *, source: str = VARIABLE, **kwargs: Any) -> Any:
    """A client of the server at a URL; ``kwargs`` (``db``, ``password``, ...) count more than the URL.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        source: Where the URL was given, for the error.
        **kwargs: As ``redis.Redis`` takes them.

    Raises:
        RefusedError: it is no URL of Redis. The error does not repeat it: it may hold a password.
    """
    from redis import Redis

    try:
        parts = urlsplit(url)
        misread = parts.fragment or "@" in parts.query or not _DATABASE.fullmatch(parts.path)
        if parts.scheme != "unix" and misread:
            # redis-py would take what it can of it: database 0, or a part of the password as the port.
            raise ValueError
        client: Any = Redis.from_url(url, **{**_defaults(), **kwargs})  # pyright: ignore[reportUnknownMemberType]
    except ValueError:
        # Without its cause: that repeats the part of the URL which it could not read.
        raise RefusedError(
            f"{source} is no Redis URL. It looks like redis://host:6379/0 or "
            "redis://user:password@host:6379/0; in a password write / as %2F, @ as %40, # as %23, ? as %3F "
            "and : as %3A.",
            source=source,
        ) from None
    if parts.scheme == "rediss":
        client.connection_pool.connection_class = _tls_connection()
    # What redis-py reads from the URL takes the place of what it was given.
    options = client.connection_pool.connection_kwargs
    options.update({name: value for name, value in kwargs.items() if name in options})
    keep_secret(options.get("password"))
    return client


@cache
def _tls_connection() -> type[Any]:
    from redis import SSLConnection

    class Connection(SSLConnection):
        """Gives the handshake the time of connecting: a server without TLS waits for more, and says nothing."""

        def _wrap_socket_with_ssl(self, sock: Any) -> Any:
            sock.settimeout(self.socket_connect_timeout)
            secured: Any = super()._wrap_socket_with_ssl(sock)  # pyright: ignore[reportUnknownMemberType]
            secured.settimeout(self.socket_timeout)
            return secured

    return Connection


def _defaults() -> dict[str, Any]:
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry

    # A dropped connection is tried again within a second; redis-py's own waits add up to ten.
    return {
        "socket_connect_timeout": 5,
        "socket_timeout": 30,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.1), 2),
    }


_LEDGER = "atdata:ledger:"
# Writes fields only where all of them still hold what was read: two writers at a time cannot undo each other.
_SWAP = """
for i = 1, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return 0 end
end
for i = 1, #ARGV, 3 do
  if ARGV[i + 2] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
  else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
end
return 1
"""


# Unless another one has made room already.
_MAKE_ROOM = "if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end"


class RedisLedger(Ledger):
    """The ledger in Redis: a hash ``atdata:ledger:{scope}``, a field per fact. Each method is one round trip."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    def fetch(self, places: Sequence[Place]) -> list[bytes | None]:
        """The texts at some places; None where there is none."""
        # A command for each scope, not for each fact: most of what a hundred thousand datasets cost is commands.
        scopes: dict[str, list[str]] = {}
        for scope, name in places:
            scopes.setdefault(scope, []).append(name)
        rows = iter(self._read([("hmget", _LEDGER + scope, names) for scope, names in scopes.items()]))
        found = {
            scope: dict(zip(names, next(rows) or [None] * len(names), strict=True))
            for scope, names in scopes.items()
        }
        return [found[scope][name] for scope, name in places]

    def fetch_scopes(self, scopes: Sequence[str]) -> list[dict[str, bytes]]:
        """All texts of some scopes, by the names of the facts."""
        found = self._read([("hgetall", _LEDGER + scope) for scope in scopes])
        scoped: list[dict[bytes, bytes]] = [texts or {} for texts in found]
        return [{name.decode(errors="replace"): text for name, text in texts.items()} for texts in scoped]

    def commit(self, swaps: Sequence[Swap], blind: Mapping[str, Mapping[str, bytes | None]]) -> list[bool]:
        """Change texts of many scopes; None removes one. What an error has brought that is secret is masked."""
        texts = [text for _, facts in swaps for _, text in facts.values() if text is not None]
        texts += [text for facts in blind.values() for text in facts.values() if text is not None]
        safe: dict[bytes | None, bytes] = dict(zip(texts, masked_json(texts), strict=True))
        commands: list[tuple[Any, ...]] = []
        for scope, facts in swaps:
            parts = [
                part for name, (read, text) in facts.items() for part in (name, read or b"", safe.get(text, b""))
            ]
            commands.append(("eval", _SWAP, 1, _LEDGER + scope, *parts))
        for scope, facts in blind.items():
            kept = {name: safe[text] for name, text in facts.items() if text is not None}
            removed = [name for name, text in facts.items() if text is None]
            if kept:
                commands.append(("hset", _LEDGER + scope, None, None, kept))
            if removed:
                commands.append(("hdel", _LEDGER + scope, *removed))
        return [bool(answer) for answer in self._write(commands)[: len(swaps)]]

    def swap_in(self, place: Place, text: bytes, others: Mapping[Place, bytes]) -> bytes | None:
        """Keep a text, and others with it; the one that stood before."""
        texts = {place: text, **others}
        safe = zip(texts, masked_json([*texts.values()]), strict=True)
        kept = [("hset", _LEDGER + scope, name, each) for (scope, name), each in safe]
        return self._write([("hmget", _LEDGER + place[0], place[1]), *kept])[0][0]

    def scopes(self, start: str) -> list[str]:
        """The scopes that begin so."""
        with reaching(self._redis):
            keys = list(self._redis.scan_iter(match=f"{_LEDGER}{start}*", count=1000, _type="hash"))
        return [text.removeprefix(_LEDGER) for key in keys if (text := decoded(key))]

    def _read(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Answers to commands that read a scope each; None for one that somebody else wrote and that is no hash."""
        with reaching(self._redis):
            answers = read(self._redis, commands)
        for answer, (_, key, *_) in zip(answers, commands, strict=True):
            if answer is None:
                _logger.warning("%s in Redis is no hash: what it held counts as lost. Delete the key.", key)
        return answers

    def _write(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Answers to commands that change a scope each; what somebody else wrote in the place of one goes."""
        with reaching(self._redis):
            answers = read(self._redis, commands)
            for at, command in enumerate(commands):
                if answers[at] is None:
                    key = command[3] if command[0] == "eval" else command[1]
                    _logger.warning("%s in Redis was no hash, and is written anew.", key)
                    self._redis.eval(_MAKE_ROOM, 1, key)
                    [answers[at]] = ask(self._redis, [command])
        return answers


SECONDS = 15.0
"""How long a lease lives that is not renewed: what a crash on another machine costs those who wait for it."""


_LEASE = "atdata:lease:"
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
# What expires never, or far later than any lease does, or is no text, nobody wrote who holds one.
_DROP = """
local left = redis.call('PTTL', KEYS[1])
if left == -1 or left > tonumber(ARGV[1]) or redis.call('TYPE', KEYS[1]).ok ~= 'string' then
  redis.call('DEL', KEYS[1])
end
"""
_logger = logging.getLogger("atdata_core")


class RedisLeases(Leases):
    """Leases as keys ``atdata:lease:{place}`` that expire, on Redis's own clock.

    Args:
        redis: A client of redis-py.
        seconds: How long a lease lives that is not renewed.
    """

    def __init__(self, redis: Any, *, seconds: float = SECONDS) -> None:
        self._redis = redis
        self._seconds = seconds
        self._milliseconds = round(seconds * 1000)
        self._reachable = True

    def take(self, place: str) -> Lease | None:
        """The lease on a place; None where a rival holds it that may still be alive."""
        if not self._reachable:
            return Lease()
        lease = _RedisLease(self, _LEASE + place, _token())
        try:
            with reaching(self._redis):
                if self._redis.set(lease.key, lease.token, nx=True, px=self._milliseconds):
                    return lease
                self._redis.eval(_DROP, 1, lease.key, 10 * self._milliseconds)
                holder = self._redis.get(lease.key)
                if holder is not None and _is_gone(decoded(holder)):
                    self._redis.eval(_RELEASE, 1, lease.key, holder)
        except ServiceError as error:
            self._give_up(error)
            return Lease()
        return None

    def take_all(self, places: Iterable[str]) -> dict[str, Lease]:
        """The leases on those of some places that nobody holds, dead or alive; none where Redis does not answer."""
        if not self._reachable:
            return {}
        token = _token()
        leases = {place: _RedisLease(self, _LEASE + place, token) for place in places}
        try:
            with reaching(self._redis), self._redis.pipeline(transaction=False) as pipe:
                for lease in leases.values():
                    pipe.set(lease.key, token, nx=True, px=self._milliseconds)
                answers = pipe.execute()
        except ServiceError as error:
            self._give_up(error)
            return {}
        return {place: lease for (place, lease), free in zip(leases.items(), answers, strict=True) if free}

    def renew_all(self, leases: Iterable[Lease]) -> None:
        """Hold them for longer."""
        due = [each for each in leases if isinstance(each, _RedisLease) and each.due(self._seconds / 3)]
        self._eval(_RENEW, due, self._milliseconds)

    def release_all(self, leases: Iterable[Lease]) -> None:
        """Let others have them."""
        self._eval(_RELEASE, [each for each in leases if isinstance(each, _RedisLease)])

    def _eval(self, script: str, leases: list[_RedisLease], *more: int) -> None:
        # One that cannot be renewed is lost, and one that cannot be released expires.
        with suppress(ServiceError), reaching(self._redis):
            ask(self._redis, [("eval", script, 1, each.key, each.token, *more) for each in leases])

    def _give_up(self, error: ServiceError) -> None:
        _logger.info("Copying goes on without leases: %s", error.message)
        self._reachable = False


class _RedisLease(Lease):
    def __init__(self, leases: RedisLeases, key: str, token: str) -> None:
        self.key = key
        self.token = token
        self._leases = leases
        self._renewed = time.monotonic()

    def due(self, after: float) -> bool:
        """Whether it was last renewed so many seconds ago; it counts as renewed then."""
        if time.monotonic() - self._renewed < after:
            return False
        self._renewed = time.monotonic()
        return True

    def renew(self) -> None:
        self._leases.renew_all([self])

    def release(self) -> None:
        self._leases.release_all([self])


def _token() -> str:
    """Names one holder: its machine, its process, and this one time."""
    return f"{machine()} {os.getpid()} {uuid4().hex}"


def _is_gone(token: str) -> bool:
    """Whether the holder of a lease was a process of this machine that has ended."""
    here, _, rest = token.partition(" ")
    process = rest.partition(" ")[0]
    if here != machine() or not process.isdecimal() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
