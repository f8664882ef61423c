"""Index and account as the environment names them. Needs no Dagster, which takes seconds to load."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from atdata_core.errors import RefusedError

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.local import LocalIndex

DID_SILENCE = 5.0
"""Seconds that a PDS may be silent before it is asked again for a DID: Dagster ends a tick after 60."""


class MissingVariableError(RefusedError):
    """A variable of the environment that is needed and not set. Facts: ``variable``."""


def optional(variable: str) -> str | None:
    """What a variable holds; None where that is nothing."""
    return os.environ.get(variable, "").strip() or None


def required(given: str | None, variable: str, what: str) -> str:
    """What is given, else what a variable holds; raises ``MissingVariableError``, which says what it is."""
    value = given or optional(variable)
    if value is None:
        raise MissingVariableError(
            f"{variable} is not set. It is {what}. Set it in the environment or in .env; `atdata-pipelines "
            "doctor` tells what else is missing. Without services of your own, `atdata-pipelines sandbox` runs "
            "some and prints theirs.",
            variable=variable,
        )
    return value


def index(given: str | None = None, *, silence: float | None = None) -> LocalIndex:
    """The index of local datasets; its connections are shared by everything in this process.

    Args:
        given: URL of Redis, where not ATDATA_REDIS_URL says it.
        silence: Seconds that Redis may be silent before it is asked again, and then given up.

    Raises:
        MissingVariableError: The server is not known.
        RefusedError: Its URL is none.
    """
    from atdata_core.local import LocalIndex

    url = required(given, "ATDATA_REDIS_URL", "the Redis that holds the index")
    return LocalIndex(_redis(url, "The url of the Redis resource" if given else "ATDATA_REDIS_URL", silence))


def pds_url(given: str | None = None) -> str:
    """URL of the account's PDS, where not ATDATA_PDS_URL says it."""
    from atdata_core.atmosphere.client import DEFAULT_PDS_URL

    return given or optional("ATDATA_PDS_URL") or DEFAULT_PDS_URL


def handle(given: str | None = None) -> str:
    """Of the account; raises ``MissingVariableError``."""
    return required(given, "ATDATA_HANDLE", "the handle of the account that publishes")


@lru_cache
def logged_in(pds_url: str, handle: str, password: str) -> AtmosphereClient:
    """A client that is logged in once for all processes of this machine: a PDS counts logins."""
    from atdata_core.atmosphere import AtmosphereClient

    client = AtmosphereClient(pds_url)
    client.login(handle, password, shared=True)
    return client


@lru_cache
def did_of(pds_url: str, handle: str) -> str:
    """DID of an account, resolved without a login; raises ``RecordNotFoundError``."""
    from atdata_core.atmosphere.identity import Resolver
    from atdata_core.atmosphere.xrpc.session import Session

    return Resolver(Session(pds_url, timeout=DID_SILENCE)).did_of(handle)


@lru_cache
def _redis(url: str, source: str, silence: float | None) -> Any:
    from atdata_core.state.redis_state import from_url

    return from_url(url, source=source, **({} if silence is None else {"socket_timeout": silence}))
