"""The way out: proxies and certificate authorities as the environment names them.

httpx reads the same variables, but it raises errors of its own, of many kinds, for what it cannot use there.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import ssl
import time
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import urlsplit

from ..errors import NetworkSettingsError

PORTS = {"http": 80, "https": 443}
"""The port of a URL that names none."""

_PROXIES = tuple(
    name for each in ("http", "https", "all", "no") for name in (f"{each}_proxy", f"{each}_proxy".upper())
)
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")


def settings() -> tuple[str | None, ...]:
    """The variables that count, as they are now."""
    return tuple(os.environ.get(name) for name in (*_PROXIES, *_AUTHORITIES, "AWS_CA_BUNDLE"))


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
    from urllib.request import getproxies

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
        return _in_folders(folder)
    return checked_authorities(bundle, "REQUESTS_CA_BUNDLE") if bundle else _loaded(certifi.where())


def _in_folders(folders: str) -> ssl.SSLContext:
    # OpenSSL takes several, and says nothing of one that is not there.
    for folder in folders.split(os.pathsep):
        if os.path.isdir(folder) and any(map(_HASHED.fullmatch, os.listdir(folder))):
            return ssl.create_default_context(capath=folders)
    raise NetworkSettingsError(
        f"SSL_CERT_DIR names {folders}, where no certificates lie under their hashes. Do: openssl rehash FOLDER, "
        "or unset SSL_CERT_DIR.",
        variable="SSL_CERT_DIR",
    )


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


# It takes 20 ms, and is wanted for each client; workers that are forked have it too.
@lru_cache(maxsize=4)
def _loaded(path: str) -> ssl.SSLContext:
    if os.path.isdir(path):
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


_TLS_TROUBLES = {
    "certificate has expired|certificate is not yet valid": (
        "has a certificate that is not valid at this time. This machine's clock says {now}: set it right if it is "
        "wrong, else have the certificate renewed"
    ),
    "ostname .*match|IP address mismatch|certificate is not valid for": (
        "has a certificate for another name. Use the address that it is for, or have one made for this address"
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "has a certificate that no authority vouches for which this process trusts. Where that is your own "
        "authority, set SSL_CERT_FILE to a file that holds its certificate too; else the address may be wrong"
    ),
    "CERTIFICATE_REQUIRED": (
        "wants a certificate of its clients, which cannot be given. Use an address of it that goes without"
    ),
    "WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL|RECORD_LAYER_FAILURE": (
        "speaks no TLS at that port. Mend the port, or write http:// instead of https://"
    ),
}
"""By the words that OpenSSL and urllib3 have for it; the first that is found."""


def tls_trouble(error: BaseException) -> str | None:
    """Why TLS failed, to be said after the name of the service; None where a connection failed otherwise."""
    text = " ".join(str(each) for each in causes(error))
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    said = (words for pattern, words in _TLS_TROUBLES.items() if re.search(pattern, text))
    return next((words.format(now=now) for words in said), None)
