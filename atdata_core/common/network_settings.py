"""The way out: proxies and certificate authorities as the environment names them.

httpx reads the same variables, but it raises errors of its own, of many kinds, for what it cannot use there.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import ssl
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies

from ..errors import NetworkSettingsError

WORKERS = 8
"""Shards that are read or sent, or records that are asked for, at a time: each of them takes memory."""

PORTS = {"http": 80, "https": 443}
"""The port of a URL that names none."""

_PROXIES = tuple(
    name for each in ("http", "https", "all", "no") for name in (f"{each}_proxy", f"{each}_proxy".upper())
)
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_TLS = "CERTIFICATE_VERIFY_FAILED"


def settings() -> tuple[str | None, ...]:
    """The variables that count, as they are now."""
    return tuple(os.environ.get(name) for name in (*_PROXIES, *_AUTHORITIES, "AWS_CA_BUNDLE"))


def way_to(url: str) -> tuple[str | None, ssl.SSLContext]:
    """The proxy on the way to a URL, as ``proxy_of``, and what is trusted there, as ``tls_context``."""
    return proxy_of(url), tls_context()


def proxy_of(url: str, *, any_scheme: bool = True) -> str | None:
    """URL of the proxy that the environment names for a URL; None where the way is direct.

    Args:
        url: ``http://`` or ``https://``.
        any_scheme: ALL_PROXY counts too.

    Raises:
        NetworkSettingsError: A variable names something else than a proxy that can be used.
    """
    found = _proxies(tuple(os.environ.get(name) for name in _PROXIES))
    if not found:
        return None
    parts = urlsplit(url)
    scheme = next((each for each in (parts.scheme, *(["all"] * any_scheme)) if found.get(each)), None)
    if scheme is None or _is_exempt((parts.hostname or "").rstrip("."), parts.port, found.get("no", "")):
        return None
    given = found[scheme].strip()
    return _checked(given if "://" in given else f"http://{given}", f"{scheme.upper()}_PROXY")


@lru_cache(maxsize=8)
def _proxies(_given: tuple[str | None, ...]) -> dict[str, str]:
    # Beside the environment it knows what macOS and Windows keep; it takes a while.
    return getproxies()


def _is_exempt(host: str, port: int | None, exempt: str) -> bool:
    """Whether NO_PROXY lists a host: as a name or the end of one, an address or a network, or ``*``."""
    address = _address(host)
    for entry in exempt.replace(",", " ").split():
        name = entry.partition("://")[2] or entry
        if name == "*":
            return True
        try:
            block = ipaddress.ip_network(name.strip("[]"), strict=False)
        except ValueError:
            block = None
        if block is not None:
            if address is not None and address in block:
                return True
            continue
        try:
            parts = urlsplit(f"//{name}")
            listed, its_port = parts.hostname or "", parts.port
        except ValueError:
            continue  # it names no host
        if its_port not in (None, port):
            continue
        listed = listed.lstrip("*").strip(".")
        if listed and (host == listed or host.endswith(f".{listed}")):
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


@lru_cache(maxsize=8)
def _checked(proxy: str, variable: str) -> str:
    # It may hold a password: what is wrong is said without it.
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in _PROXY_SCHEMES and bool(_HOST.fullmatch(parts.hostname or "")) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise NetworkSettingsError(
            f"{variable} is no proxy that can be used. It looks like http://proxy.example.org:3128 (or https://, "
            f"socks5://). Mend it, or unset {variable}.",
            variable=variable,
        )
    if proxy.lower().startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise NetworkSettingsError(
            f"{variable} names a SOCKS proxy, which needs a package that is not installed. "
            f"Do: pip install 'httpx[socks]', name an http:// proxy, or list the hosts that are reached without "
            "one in NO_PROXY.",
            variable=variable,
        )
    return proxy


def tls_context() -> ssl.SSLContext:
    """The one of this process: to read all certificates of the system takes 25 to 60 ms.

    It trusts SSL_CERT_FILE, else SSL_CERT_DIR, else REQUESTS_CA_BUNDLE, else the authorities that certifi knows.

    Raises:
        NetworkSettingsError: The file or folder cannot be read, or holds no certificates.
    """
    return _context(*(os.environ.get(name) for name in _AUTHORITIES))


@lru_cache(maxsize=4)
def _context(file: str | None, folder: str | None, bundle: str | None) -> ssl.SSLContext:
    import certifi

    if file:
        return checked_authorities(file, "SSL_CERT_FILE")
    if folder:
        return ssl.create_default_context(capath=folder)
    return checked_authorities(bundle, "REQUESTS_CA_BUNDLE") if bundle else _loaded(certifi.where())


def checked_authorities(path: str, variable: str) -> ssl.SSLContext:
    """What trusts the authorities in a file (PEM) or folder that a variable names.

    Raises:
        NetworkSettingsError: It cannot be read, or holds no certificates.
    """
    try:
        return _loaded(path)
    except ssl.SSLError:
        reason = "holds no certificates in PEM"
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    raise NetworkSettingsError(
        f"{variable} names {path}, which {reason}. Name a file of certificates, or unset {variable}.",
        variable=variable,
    )


def _loaded(path: str) -> ssl.SSLContext:
    if os.path.isdir(path):
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def untrusted(error: object) -> bool:
    """Whether a connection failed as nobody that this process trusts vouches for the certificate."""
    return _TLS in str(error)


UNTRUSTED = (
    "has a certificate that no authority vouches for which this process trusts. Where that is your own authority, "
    "set SSL_CERT_FILE to a file that holds its certificate too; else the address may be wrong, or the clock"
)
"""What to say of it, after the name of the service."""
