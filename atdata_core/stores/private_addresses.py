"""No request to a private address because a record, or a redirect from it, says so."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from ..common.network_settings import PORTS, proxy_of
from ..common.urls import displayed
from ..errors import PrivateAddressError, ServiceUnavailableError, StorageError

_ENDPOINTS = ("ATDATA_S3_ENDPOINT", "ATDATA_PUBLISH_ENDPOINT", "ATDATA_PDS_URL", "ATDATA_PLC_URL")
_NAME = re.compile(r"[\w.-]+")
"""What a host is whose name may be left to somebody else to resolve: no address, in whatever form."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_SPECIAL_IPV4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        # https://www.iana.org/assignments/iana-ipv4-special-registry, each block of it.
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private use, RFC 1918
        "100.64.0.0/10",  # shared by a provider's customers, RFC 6598; metadata of Alibaba Cloud
        "127.0.0.0/8",  # loopback, RFC 1122
        "169.254.0.0/16",  # link-local, RFC 3927; metadata of most clouds
        "172.16.0.0/12",  # private use, RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890; metadata of Oracle Cloud
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.31.196.0/24",  # AS112, RFC 7535
        "192.52.193.0/24",  # multicast tunnels (AMT), RFC 7450
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private use, RFC 1918
        "192.175.48.0/24",  # AS112, RFC 7534
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "240.0.0.0/4",  # reserved, RFC 1112; 255.255.255.255 is limited broadcast, RFC 8190
        # https://www.iana.org/assignments/multicast-addresses
        "224.0.0.0/4",  # multicast, RFC 5771
        # https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
        "168.63.129.16/32",  # the host's own services on Azure
    )
)
_SPECIAL_IPV6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        # https://www.iana.org/assignments/iana-ipv6-special-registry: what of it lies in _GLOBAL_IPV6.
        "2001::/23",  # IETF protocol assignments, RFC 2928: Teredo, ORCHID, benchmarking, AMT, AS112, DETs
        "2001:db8::/32",  # documentation, RFC 3849
        "2620:4f:8000::/48",  # AS112, RFC 7534
        "3fff::/20",  # documentation, RFC 9637
    )
)
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
"""All that has been given out to hosts (https://www.iana.org/assignments/ipv6-address-space).

Outside of it lie loopback, IPv4-compatible, local NAT64 (64:ff9b:1::/48), discard-only (100::/64, 100:0:0:1::/64),
segment routing (5f00::/16), unique local (fc00::/7), link-local (fe80::/10), site-local (fec0::/10) and multicast.
"""
_HOLDING_IPV4 = (
    # A block, and how far from the right the IPv4 address stands in it that is connected to.
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # mapped, RFC 4291
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)


def check_public(
    url: str, *, configured: Iterable[str] = (), environment: bool = True, proxied: bool | None = None
) -> str | None:
    """Where a URL from the network may be fetched.

    Behind a proxy the name is the proxy's to resolve: it is refused where this machine knows it for a private
    one, and one that this machine cannot resolve is left to the proxy.

    Host and port of an endpoint in the environment, or of ``configured``, are trusted, and so is what
    ``ATDATA_ALLOW_PRIVATE`` lists (``host`` or ``host:port``, with commas between).

    Args:
        url: ``http://`` or ``https://``.
        configured: More URLs whose host and port are trusted, such as the client's own ``base_url``.
        environment: Endpoints in the environment are trusted; they are not where anonymous readers are meant.
        proxied: Whether a proxy fetches it; None: as the environment says.

    Returns:
        The address to connect to. Asking for the name again could give another one, so use this. None for
        a trusted host, for one that is written as an address, and where a proxy fetches it: the URL is then
        used as it is.

    Raises:
        PrivateAddressError: The name leads to this machine or a private network, by any of its addresses.
        StorageError: No such URL.
        ServiceUnavailableError: The name cannot be resolved now.
    """
    host, port = _host_and_port(url)
    trusted = [os.environ[name] for name in _ENDPOINTS if environment and os.environ.get(name)]
    if (host, port) in set(_hosts_and_ports((*trusted, *configured))) or _listed(host, port):
        return None
    if proxied is None:
        proxied = proxy_of(url) is not None
    try:
        addresses = _addresses(host, port, url)
    except ServiceUnavailableError:
        # localhost is the one name that a proxy could only take for itself, RFC 6761.
        if not proxied or host == "localhost" or host.endswith(".localhost") or not _NAME.fullmatch(host):
            raise
        return None
    for address in addresses:
        if not _is_public(address):
            raise PrivateAddressError(
                f"{displayed(url)} leads to the private address {address}, and a record on the network named it. "
                f"If that is meant, set ATDATA_ALLOW_PRIVATE={host}:{port}.",
                url=displayed(url),
                host=host,
            )
    return None if proxied or _literal(host) else str(addresses[0])


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
        port = parts.port or PORTS[parts.scheme]
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
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _SPECIAL_IPV4)
    for block, right in _HOLDING_IPV4:
        if address in block:
            return _is_public(ipaddress.IPv4Address(int(address) >> right & 0xFFFFFFFF))
    return address in _GLOBAL_IPV6 and not any(address in block for block in _SPECIAL_IPV6)
