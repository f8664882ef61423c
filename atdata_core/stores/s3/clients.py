"""Clients of boto3, made once per process and endpoint, and shared by all threads."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from ...common.retry_after import ATTEMPTS
from ...errors import CredentialsError
from .connection_guard import guard
from .s3_errors import send_again

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportAttributeAccessIssue=false, reportUnknownArgumentType=false
# boto3 comes without types.


@dataclass(frozen=True)
class ClientOptions:
    """What a client of an S3 service is made of; see ``S3Endpoint``, which adds what a client can do."""

    endpoint_url: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    anonymous: bool = False
    guarded: bool = False
    attempts: int = ATTEMPTS
    timeout: float | None = None
    verify: bool | None = None


POOL = 64
"""Connections a client keeps: more than the threads that copy at a time."""

# By process too: a forked worker must not share its parent's connections.
_clients: dict[tuple[int, ClientOptions, int], Any] = {}
_MOST_CLIENTS = 16
"""Records of strangers may name as many endpoints as they like, and a client takes some megabytes."""
_clients_lock = threading.Lock()


def client_of(endpoint: ClientOptions, *, attempts: int) -> Any:
    """The client of an endpoint in this process, which sends a request so often."""
    key = (os.getpid(), endpoint, attempts)
    with _clients_lock:
        client = _clients.pop(key, None) or _make_client(endpoint, attempts=attempts)
        # The last one used stands last.
        _clients[key] = client
        if len(_clients) > _MOST_CLIENTS:
            del _clients[next(iter(_clients))]
        return client


@cache
def _loader() -> Any:
    from botocore.loaders import create_loader

    return create_loader()


def _make_client(endpoint: ClientOptions, *, attempts: int) -> Any:
    import boto3
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        max_pool_connections=POOL,
        connect_timeout=endpoint.timeout or 10,
        read_timeout=endpoint.timeout or 60,
        retries={"mode": "standard", "total_max_attempts": 1},  # send_again does it
        # Checksums beyond what a call needs break servers that do not know them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if endpoint.endpoint_url else None,
        # Spelled out, or URLs are signed in a way that only AWS itself still knows.
        signature_version=UNSIGNED if endpoint.anonymous else "s3v4",
        # botocore puts its own together twice for each request, which is a sixth of the work of a small one.
        user_agent=f"atdata Boto3/{boto3.__version__} Botocore/{botocore.__version__}",
        # The environment was read once, in from_environment; it must not move another endpoint.
        ignore_configured_endpoint_urls=True,
    )
    # What botocore knows of S3 takes 6 MB and a tenth of a second: once for all clients.
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    make: Any = boto3.session.Session(botocore_session=session).client
    client = make(
        "s3",
        endpoint_url=endpoint.endpoint_url,
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key,
        aws_session_token=endpoint.session_token,
        region_name=endpoint.region or ("us-east-1" if endpoint.endpoint_url else None),
        verify=endpoint.verify,
        config=config,
    )
    send_again(client, attempts)
    if endpoint.guarded:
        guard(client)
    return client


_LOOPBACK = "127.0.0.1"


def checked_endpoint(endpoint_url: str, source: str) -> str:
    """The address of an S3 service without a slash at its end.

    Args:
        endpoint_url: What was given.
        source: The variable or argument it stood in, for the error.

    Raises:
        CredentialsError: it is no http(s) URL, or carries credentials. The error does not repeat it.
    """
    try:
        parts = urlsplit(endpoint_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = None, False
    if "@" in (parts.netloc if parts else endpoint_url) or (parts and parts.query):
        raise CredentialsError(
            f"{source}: the S3 endpoint carries credentials in its URL. Put them into AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY; the address is published with the shards.",
            source=source,
        )
    if not usable:
        raise CredentialsError(
            f"{source}: the address of an S3 service is a URL such as http://localhost:9000.", source=source
        )
    return endpoint_url.rstrip("/")


def same_service(one: str | None, other: str | None) -> bool:
    """Whether two addresses are of the same S3 service (None is AWS); a machine has several names for itself."""
    if one is None or other is None:
        return one == other
    return _place_of(one) == _place_of(other)


def _place_of(endpoint_url: str) -> tuple[object, ...]:
    parts = urlsplit(endpoint_url)
    host = _LOOPBACK if parts.hostname in ("localhost", "::1") else parts.hostname
    return (parts.scheme, host, parts.port, parts.path.rstrip("/"))
