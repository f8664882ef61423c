"""No request to a private address because a record, or a redirect from it, says so."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from ..common.urls import displayed
from ..errors import PrivateAddressError, ServiceUnavailableError, StorageError

_ENDPOINTS = ("ATDATA_S3_ENDPOINT", "ATDATA_PUBLISH_ENDPOINT", "ATDATA_PDS_URL", "ATDATA_PLC_URL")
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_public(url: str, *, configured: Iterable[str] = (), environment: bool = True) -> str | None:
    """Where a URL from the network may be fetched.

    Host and port of an endpoint in the environment, or of ``configured``, are trusted, and so is what
    ``ATDATA_ALLOW_PRIVATE`` lists (``host`` or ``host:port``, with commas between).

    Args:
        url: ``http://`` or ``https://``.
        configured: More URLs whose host and port are trusted, such as the client's own ``base_url``.
        environment: Endpoints in the environment are trusted; they are not where strangers are meant.

    Returns:
        The address to connect to. Asking for the name again could give another one, so use this. None for
        a trusted host, and for one that is written as an address: the URL is then used as it is.

    Raises:
        PrivateAddressError: The name leads to this machine or a private network, by any of its addresses.
        StorageError: No such URL.
        ServiceUnavailableError: The name cannot be resolved now.
    """
    host, port = _host_and_port(url)
    trusted = [os.environ[name] for name in _ENDPOINTS if environment and os.environ.get(name)]
    if (host, port) in set(_hosts_and_ports((*trusted, *configured))) or _listed(host, port):
        return None
    addresses = _addresses(host, port, url)
    for address in addresses:
        if not _is_public(address):
            raise PrivateAddressError(
                f"{displayed(url)} leads to the private address {address}, and a record on the network named it. "
                f"If that is meant, set ATDATA_ALLOW_PRIVATE={host}:{port}.",
                url=displayed(url),
                host=host,
            )
    return None if _literal(host) else str(addresses[0])


def is_private(url: str) -> bool:
    """Whether a URL leads to this machine or a private network, trusted or not; False where nobody can tell."""
    try:
        host, port = _host_and_port(url)
        return not all(_is_public(address) for address in _addresses(host, port, url))
    except (StorageError, ServiceUnavailableError):
        return False


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        port = 0
        parts = urlsplit("")
    if not parts.hostname or not port:
        raise StorageError(f"{displayed(url)} is no http(s) URL. Use a full one.", urls=[displayed(url)])
    return parts.hostname.rstrip("."), port


def _hosts_and_ports(urls: Iterable[str]) -> Iterator[tuple[str, int]]:
    for url in urls:
        try:
            yield _host_and_port(url)
        except StorageError:
            continue  # whoever uses that endpoint says what is wrong with it


def _listed(host: str, port: int) -> bool:
    allowed = {entry.strip().lower() for entry in os.environ.get("ATDATA_ALLOW_PRIVATE", "").split(",")}
    return bool(allowed & {host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"})


def _addresses(host: str, port: int, url: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as why:
        raise ServiceUnavailableError(
            f"The name {host} of {displayed(url)} cannot be resolved: {why}. Check the name and the network.",
            service=host,
            status=None,
        ) from None
    # An IPv6 scope ("%eth0") is no part of the address.
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast
