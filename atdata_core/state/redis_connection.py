"""The way to Redis: which server, and errors that say so."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ..errors import RefusedError, ServiceRefusedError, ServiceUnavailableError
from ..secrets import keep_secret

VARIABLE = "ATDATA_REDIS_URL"

_DATABASE = re.compile(r"/?|/\d+/?", re.ASCII)
_PLACES = ("host", "port", "unix_socket_path", "connection_pool")


def connect(redis: Any = None, **kwargs: Any) -> Any:
    """A Redis client that gives bytes: the one given, else one from ``kwargs`` or ``ATDATA_REDIS_URL``.

    Without any of them it is the server at localhost:6379. Nothing is sent yet.

    A keyword counts more than the same thing in the URL.

    Raises:
        RefusedError: the client given decodes its answers, which destroys msgpack; or the URL is none.
    """
    if redis is None:
        redis = _make(kwargs)
    keep_secret(redis.connection_pool.connection_kwargs.get("password"))
    if redis.connection_pool.connection_kwargs.get("decode_responses"):
        raise RefusedError(
            "This Redis client decodes its answers (decode_responses=True), but an index keeps msgpack. "
            "Give a client made without that option."
        )
    return redis


def address(redis: Any) -> str:
    """Where a client's server is, ``host:port`` or the path of its socket; never its password."""
    where = redis.connection_pool.connection_kwargs
    if "path" in where:
        return str(where["path"])
    return f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"


def ask(redis: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Answers to several commands, each the name of the client's method and its arguments, in one round trip."""
    if not commands:
        return []
    pipe = redis.pipeline(transaction=False)
    for command, *arguments in commands:
        getattr(pipe, command)(*arguments)
    return pipe.execute()


@contextmanager
def reaching(redis: Any) -> Generator[None]:
    """Turns redis-py's errors into ours.

    Raises:
        ServiceUnavailableError: the server does not answer, or is still loading.
        ServiceRefusedError: it wants a password, or does not take the command.
    """
    from redis import exceptions

    refused = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.ResponseError)
    try:
        yield
    except refused as error:
        # A server's error text repeats no argument but may name a key, never a password.
        raise ServiceRefusedError(
            f"Redis at {address(redis)} refused: {error}. Check the password and database in ATDATA_REDIS_URL.",
            service=address(redis),
            status=None,
            error=type(error).__name__,
        ) from None
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise ServiceUnavailableError(
            f"Redis at {address(redis)} does not answer ({type(error).__name__}). Start it "
            "(redis-server, or: atdata-pipelines sandbox) or set ATDATA_REDIS_URL to where it runs.",
            service=address(redis),
            status=None,
        ) from None


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
    # What redis-py reads from the URL takes the place of what it was given.
    options = client.connection_pool.connection_kwargs
    options.update({name: value for name, value in kwargs.items() if name in options})
    keep_secret(options.get("password"))
    return client


def _make(kwargs: dict[str, Any]) -> Any:
    from redis import Redis

    url = os.environ.get(VARIABLE, "").strip()
    if url and not any(place in kwargs for place in _PLACES):
        return from_url(url, **kwargs)
    return Redis(**{**_defaults(), **kwargs})


def _defaults() -> dict[str, Any]:
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry

    # A dropped connection is tried again within a second; redis-py's own waits add up to ten.
    return {
        "socket_connect_timeout": 5,
        "socket_timeout": 30,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.1), 2),
    }
