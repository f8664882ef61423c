"""Addresses of S3 services: what may be one, and which are of the same service."""

from __future__ import annotations

from urllib.parse import urlsplit

from ...errors import CredentialsError

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
