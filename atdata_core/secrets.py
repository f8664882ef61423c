"""Secrets never leave: text for people, logs and stores, without passwords, tokens, keys and signatures.

What a secret is, is known in two ways: by its shape (a JWT, a signed URL, an ``Authorization``), and by its
value (the passwords and keys that this process was given). A parameter of a URL is secret where its name says so,
or where its value is a JSON Web Token. The names are looked for in the query, in the fragment and in the parameters
of a path (``;token=``), also where they are percent-encoded.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote, unquote

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


_VARIABLES = (
    "ATDATA_APP_PASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ATDATA_PUBLISH_SECRET_ACCESS_KEY",
)
_URL_VARIABLES = ("ATDATA_REDIS_URL", "ATDATA_CELERY_URL")
_LEAST = 4
"""Characters below which a secret hides nothing, and masking it would leave little of any text."""
_WORD = 6
"""Characters below which a secret is looked for as a whole word only: it may be a part of any other."""
_EVERYBODYS = frozenset({"password", "secret", "admin", "minioadmin", "test", "testing"})
"""Stand-ins that hide nothing: to mask them would make messages unreadable, and tell which word it was."""
_SURE = 12
"""Characters from which on nobody writes a secret by accident."""

# Bounded at both ends where a long run of letters could be tried again from each of them.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}://[^\s'\"<>]+")

_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("eyj",), JWT, MASK),
    (
        ("bearer", "basic", "dpop"),
        re.compile(r"\b(bearer|basic|dpop)(\s+)(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}", re.ASCII | re.I),
        rf"\1\2{MASK}",
    ),
    # The header of AWS, and a query without its URL.
    (
        ("signature=", "credential=", "security-token=", "awsaccesskeyid=", "googleaccessid=", "sig="),
        re.compile(
            r"\b((?:x-amz-|x-goog-)?(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|sig)"
            r"=[^\s&,;'\"<>]{8,}",
            re.ASCII | re.I,
        ),
        rf"\1={MASK}",
    ),
    # What S3 repeats when a signature does not match.
    (
        ("<",),
        re.compile(r"<(\w{0,40}(?:Signature|StringToSign|CanonicalRequest|AccessKeyId|Token)\w{0,40})>[^<]+", re.A),
        rf"<\1>{MASK}",
    ),
    (("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", re.ASCII), MASK),
    (("-----begin ",), re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]*"), MASK),
)
"""What each shape has in it, in lower case: no expression runs over a text without; the shape; what to show."""

_kept: set[str] = set()


def keep_secret(value: object) -> None:
    """From now on mask this value in everything that this process says."""
    if isinstance(value, str) and value:
        _kept.add(value)


def masked(text: str, *, sure: bool = False) -> str:
    """The text without secrets.

    Args:
        text: For people, logs or a store.
        sure: Leave alone what is only the same as a short secret: for text that is data, such as a bucket's
            name.
    """
    for secret in _known(sure):
        if len(secret) < _WORD:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
        else:
            text = text.replace(secret, MASK)
    if "://" in text:
        text = _URL.sub(lambda found: masked_url(found[0]), text)
    lower = text.lower()
    for hints, shape, instead in _SHAPES:
        if any(hint in lower for hint in hints):
            text = shape.sub(instead, text)
    return text


def holds_secret(text: str) -> bool:
    """Whether something in the text should not be published."""
    return masked(text, sure=True) != text


def masked_json(texts: Sequence[bytes]) -> Sequence[bytes]:
    """JSON texts; what is surely secret in one is masked."""
    # Few hold any: they are looked through as one.
    if not holds_secret(b"\n".join(texts).decode()):
        return texts
    return [json.dumps(masked_data(json.loads(text), sure=True)).encode() for text in texts]


def masked_data(value: Any, *, sure: bool = False) -> Any:
    """A value of lists, dicts and tuples with all its texts masked; anything else in it stays.

    What is nested too deeply to be looked at, as hostile data can be, is masked as a whole.
    """
    try:
        return _masked_data(value, sure)
    except RecursionError:
        return MASK


def _masked_data(value: Any, sure: bool) -> Any:
    if isinstance(value, str):
        return masked(value, sure=sure)
    if isinstance(value, list):
        return [_masked_data(item, sure) for item in cast("list[Any]", value)]
    if type(value) is tuple:
        return tuple(_masked_data(item, sure) for item in cast("tuple[Any, ...]", value))
    if isinstance(value, Mapping):
        return {key: _masked_data(item, sure) for key, item in cast("Mapping[Any, Any]", value).items()}
    return value


def _known(sure: bool) -> tuple[str, ...]:
    """The secrets of this process as they may stand in a text, the longest first."""
    values = {value for name in _VARIABLES if (value := os.environ.get(name, "").strip())} | _kept
    values |= {password for name in _URL_VARIABLES if (password := _password_of(os.environ.get(name, "")))}
    return _looked_for(frozenset(values), _SURE if sure else _LEAST)


@lru_cache(maxsize=16)
def _looked_for(values: frozenset[str], least: int) -> tuple[str, ...]:
    secrets = {value for value in values if len(value) >= least} - _EVERYBODYS
    return tuple(sorted({form for value in secrets for form in _forms(value)}, key=len, reverse=True))


@lru_cache(maxsize=256)
def _forms(secret: str) -> frozenset[str]:
    return frozenset({secret, quote(secret, safe=""), json.dumps(secret)[1:-1], unquote(secret)})


@lru_cache(maxsize=16)
def _password_of(url: str) -> str | None:
    userinfo, at, _ = url.partition("://")[2].rpartition("@")
    return userinfo.partition(":")[2] or None if at else None


class _Masking(logging.Filter):
    """Takes secrets out of what is logged, before any handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked(record.getMessage()), None
        if record.exc_info:
            record.exc_text = masked(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


# httpx logs the URL of each request, and shards may be read through presigned ones.
for _name in ("atdata_core", "httpx"):
    logging.getLogger(_name).addFilter(_Masking())
