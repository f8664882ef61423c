"""The way to Redis: which server, and errors that say so."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ..errors import RefusedError, ServiceRefusedError, ServiceUnavailableError

_PLACES = ("host", "port", "unix_socket_path", "connection_pool")


def connect(redis: Any = None, **kwargs: Any) -> Any:
    """A Redis client that gives bytes: the one given, else one from ``kwargs`` or ``ATDATA_REDIS_URL``.

    Without any of them it is the server at localhost:6379. Nothing is sent yet.

    Raises:
        RefusedError: the client given decodes its answers, which destroys msgpack.
    """
    if redis is None:
        redis = _make(kwargs)
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


def _make(kwargs: dict[str, Any]) -> Any:
    from redis import Redis
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry

    # A dropped connection is tried again within a second; redis-py's own waits add up to ten.
    options: dict[str, Any] = {
        "socket_connect_timeout": 5,
        "socket_timeout": 30,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.1), 2),
        **kwargs,
    }
    url = os.environ.get("ATDATA_REDIS_URL")
    if url and not any(place in kwargs for place in _PLACES):
        return Redis.from_url(url, **options)  # pyright: ignore[reportUnknownMemberType]
    return Redis(**options)
