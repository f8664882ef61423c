"""Credentials in URLs: user and password, keys and signatures of presigned ones, tokens.

A parameter is secret where its name says so, or where its value is a JSON Web Token. The names are looked for in
the query, in the fragment and in the parameters of a path (``;token=``), also where they are percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

MASK = "***"

JWT = re.compile(r"eyJ[\w-]{5,500}+\.[\w-]++\.[\w-]*+", re.ASCII)
"""JSON Web Token: sessions of a PDS."""

_NAME = re.compile(
    r"(?<![a-z])(sig|auth|jwt|pass|pwd)(?![a-z])|^key$|key-pair|token(?![a-z])|signature|secret|credential|"
    r"passw(or)?d|passphrase|authorization|access_?key|api[_-]?key|googleaccessid|hmac|sess(ion)?_?id|"
    r"^hdn(ts|ea|tl)$"
)
"""In the name of a parameter: those of presigned URLs of S3, Google, Azure, CloudFront and Akamai among them."""

_DOUBTFUL = re.compile(r"^(code|verify)$")
"""Names of signatures (Azure Functions, Cloudflare) that are ordinary words elsewhere."""
_ORDINARY = re.compile(r"\d{0,5}|true|false|yes|no|on|off", re.IGNORECASE)
"""Values of such a name that sign nothing."""

_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]+:)?//|[A-Za-z][A-Za-z0-9+.-]+:/")
_DECODED = 3
"""How often a name is percent-decoded: what was encoded twice still reaches some server as it was meant."""


def masked_url(url: str, *, strict: bool = False) -> str:
    """The URL without user, password, key and signature; ``strict`` as for ``url_secrets``."""
    for secret, instead in dict(url_secrets(url, strict=strict)).items():
        url = url.replace(secret, instead)
    return url


def url_secrets(url: str, *, strict: bool = False) -> Iterator[tuple[str, str]]:
    """The parts of a URL that are secret, and what to show instead; none for a path.

    Args:
        url: Or a path, or any text.
        strict: Of a shard, where nothing like a credential has a place: any user is one, and so is what has an
            ordinary name but stands where signatures do.
    """
    found = _AUTHORITY.match(url)
    if not found:
        return
    rest = url[found.end() :]
    userinfo, at, _ = re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")
    # "git" is everybody's name where code is fetched.
    if at and (strict or userinfo != "git"):
        yield f"/{userinfo}@", f"/{MASK}@"
    for raw, words in _parameters(rest):
        for word in words:
            name, equals, value = word.partition("=")
            if equals and value != MASK and _is_secret(name.lower(), value, strict):
                yield raw, f"{name}={MASK}"
                break
            if JWT.search(word):
                yield raw, f"{name}={MASK}" if equals else MASK
                break


def _is_secret(name: str, value: str, strict: bool) -> bool:
    if _NAME.search(name) or JWT.search(value):
        return True
    return strict and bool(_DOUBTFUL.search(name)) and not _ORDINARY.fullmatch(value)


def _parameters(rest: str) -> Iterator[tuple[str, list[str]]]:
    """Each part of a URL as it stands, with what it may say as ``name=value``, decoded."""
    end = re.search(r"[?#]|$", rest)
    path, query = (rest[: end.start()], rest[end.end() :]) if end else (rest, "")
    for segment in path.split("/")[1:]:
        name, *parameters = segment.split(";")
        # A folder of a table is called so: /key=3/.
        first, *others = _words(name)
        yield name, [*others, *JWT.findall(first)]
        for raw in parameters:
            yield raw, _words(raw)
    for raw in re.split("[?#&;~]", query):
        yield raw, _words(raw)


def _words(raw: str) -> list[str]:
    decoded = raw
    for _ in range(_DECODED):
        decoded = unquote(decoded)
    return re.split("[?#&;~]", decoded)
