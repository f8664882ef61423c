"""Shard URLs: brace patterns, the schemes that are understood, and never a credential in one."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ..errors import StorageError
from ..secrets import masked_url, url_secrets

MAX_SHARDS = 1_000_000
"""A pattern may stand for so many shards; an entry record has room for some 6,000."""
_MAX_CHARACTERS = 1 << 28
_MAX_DEPTH = 32
_MAX_PATTERN = 1 << 18
"""Characters of one URL or pattern."""

_INTEGERS = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?", re.ASCII)
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.-?(\d{1,9}))?", re.ASCII)
_ALPHABET = string.ascii_uppercase + string.ascii_lowercase
_PLAIN = re.compile(r"[^\\{}]+")
_PATTERN = re.compile(r"[{}\\]|::")
_ESCAPED = re.compile(r"\\(.)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

Scheme = Literal["s3", "http", "https", "file"]


def expand(urls: str | Sequence[str], *, most: int = MAX_SHARDS) -> list[str]:
    """The URLs that brace patterns stand for, in order, as webdataset expands them.

    ``{000..009}`` (with a width and an optional ``..step``), ``{a..c}``, ``{train,test}``, nested; ``\\``
    takes the meaning from a brace or comma. ``::`` stands between URLs in one string.

    Args:
        urls: One string, or several; each may be a pattern.
        most: URLs that they may stand for.

    Raises:
        StorageError: Unbalanced braces, no URL at all, more than ``most`` URLs, or one that is far longer than any.
    """
    patterns = _split(urls) if isinstance(urls, str) else list(urls)
    nodes = [_parse(pattern) for pattern in patterns]
    count = sum(node.count for node in nodes)
    characters = sum(node.count * len(pattern) for node, pattern in zip(nodes, patterns, strict=True))
    if count > most or characters > _MAX_CHARACTERS:
        raise StorageError(
            f"The pattern {displayed(patterns[0])[:200]!r} stands for {count} shards; {most} are the most. "
            "Use a narrower range, or several datasets.",
            urls=patterns[:1],
        )
    expanded = [url for node in nodes for url in node.urls()]
    if not all(expanded) or not expanded:
        raise StorageError("No shard URL is given. Name at least one tar, such as data-{000..009}.tar.", urls=[])
    return expanded


def literal(url: str) -> str:
    """The pattern that stands for this URL alone; to be given to ``expand`` in a list.

    A list, because in one string ``::`` would still stand between two URLs.
    """
    return re.sub(r"[{}\\]", r"\\\g<0>", url)


def scheme(url: str) -> Scheme:
    """How a URL is opened; a plain path is ``"file"``.

    Raises:
        StorageError: Another scheme, ``pipe:`` (which webdataset would run as a command) among them.
    """
    found = _SCHEME.match(url)
    name = found[1].lower() if found else "pipe" if url.startswith("pipe:") else "file"
    if name in ("s3", "http", "https", "file"):
        return name
    raise StorageError(
        f"{displayed(url)}: the scheme {name!r} is not understood. Use s3://, http(s):// or a path, or give "
        "a data store that can read it.",
        urls=[url],
    )


def parse_s3(url: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``; the key is taken as it stands, nothing is unquoted.

    Raises:
        StorageError: Not of that form, or a credential is in it.
    """
    refuse_credentials(url)
    bucket, _, key = url[5:].partition("/")
    if url[:5].lower() != "s3://" or not bucket or not key:
        raise StorageError(f"{displayed(url)} is not of the form s3://bucket/key. Name both.", urls=[url])
    return bucket, key


def plain_path(path: str) -> str:
    """A path in which no reader finds a pattern: what would be one is percent-encoded."""
    return _PATTERN.sub(lambda found: "".join(f"%{ord(each):02X}" for each in found[0]), path)


def local_path(url: str) -> Path:
    """The path that a ``file://`` URL or a plain path names.

    Raises:
        StorageError: A ``file://`` URL of another machine.
    """
    if not _SCHEME.match(url):
        return Path(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise StorageError(
            f"{displayed(url)} is no URL of a file. Use file:///path.", urls=[displayed(url)]
        ) from None
    if parts.netloc not in ("", "localhost"):
        raise StorageError(
            f"{displayed(url)} names a file of the machine {parts.netloc!r}. Use file:///path, with three slashes.",
            urls=[url],
        )
    # Imported here, for it brings what a web client needs.
    from urllib.request import url2pathname

    return Path(url2pathname(parts.path))


def refuse_credentials(url: str) -> None:
    """Raise where a URL carries a user, password or signature: it would be published, or written down.

    Raises:
        StorageError: The message shows the URL without the secret.
    """
    if _has_credential(url):
        raise StorageError(
            f"{displayed(url)} carries a credential. Use the plain URL, and give the key to a data store or "
            "the environment instead.",
            urls=[displayed(url)],
        )


@lru_cache(maxsize=1 << 12)
def _has_credential(url: str) -> bool:
    # Kept, for every stage of a promotion asks of the same shards.
    return any(url_secrets(url, strict=True))


def displayed(url: str) -> str:
    """The URL for people and logs: without user, password, key and signature."""
    return masked_url(url, strict=True)


@dataclass(frozen=True, slots=True)
class _Node:
    """A parsed pattern: how many strings it stands for, known before any is made, and those strings."""

    count: int
    urls: Callable[[], Iterable[str]]


def _split(urls: str) -> list[str]:
    # Not within the brackets of an IPv6 address.
    return re.split(r"::(?![^\[]*\])", urls)


def _parse(pattern: str, depth: int = 0) -> _Node:
    """A product of literals and groups."""
    if len(pattern) > _MAX_PATTERN:
        raise StorageError(
            f"The URL {displayed(pattern[:100])!r}... has {len(pattern):,} characters; {_MAX_PATTERN:,} is most. "
            "Give the URLs as a list instead.",
            urls=[],
        )
    factors: list[_Node] = []
    literal = ""
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            literal += pattern[at : at + 2]
            at += 2
        elif character == "{":
            end = _closing(pattern, at)
            factors += (_literal(literal), *_parse_group(pattern[at + 1 : end], depth + 1))
            literal = ""
            at = end + 1
        elif character == "}":
            raise _unbalanced(pattern)
        else:
            plain = _PLAIN.match(pattern, at)
            literal += plain[0] if plain else character
            at = plain.end() if plain else at + 1
    return _product([*factors, _literal(literal)])


def _parse_group(text: str, depth: int) -> list[_Node]:
    """The factors of what stands between two braces: a range, alternatives, or just text in braces."""
    if depth > _MAX_DEPTH:
        raise StorageError(f"A pattern has braces {_MAX_DEPTH} deep. Give the URLs as a list instead.", urls=[])
    if found := _INTEGERS.fullmatch(text):
        return [_integers(found[1], found[2], found[3])]
    if found := _LETTERS.fullmatch(text):
        places = _steps(_ALPHABET.index(found[1]), _ALPHABET.index(found[2]), found[3])
        return [_Node(len(places), lambda: (_ALPHABET[place] for place in places))]
    alternatives = _alternatives(text)
    if len(alternatives) == 1:
        return [_literal("{"), _parse(text, depth), _literal("}")]
    nodes = [_parse(alternative, depth) for alternative in alternatives]
    return [_Node(sum(node.count for node in nodes), lambda: (url for node in nodes for url in node.urls()))]


def _integers(first: str, last: str, step: str | None) -> _Node:
    if max(len(first), len(last), len(step or "")) > 18:
        raise StorageError(f"The range {{{first[:30]}..{last[:30]}}} is too large.", urls=[])
    padded = any(end.lstrip("-").startswith("0") and end.lstrip("-") != "0" for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    numbers = _steps(int(first), int(last), step)
    count = len(numbers)
    return _Node(count, lambda: (f"{number:0{width}d}" for number in numbers))


def _steps(first: int, last: int, step: str | None) -> range:
    stride = int(step or 1) or 1
    return range(first, last + 1, stride) if first < last else range(first, last - 1, -stride)


def _alternatives(text: str) -> list[str]:
    """The parts between the commas that are in no braces of their own."""
    parts: list[str] = []
    start = at = 0
    while at < len(text):
        if text[at] == "{":
            at = _closing(text, at)
        elif text[at] == ",":
            parts.append(text[start:at])
            start = at + 1
        at += 2 if text[at] == "\\" else 1
    return [*parts, text[start:]]


def _closing(text: str, opening: int) -> int:
    """Where the brace that opens at ``opening`` closes."""
    depth, at = 0, opening
    while at < len(text):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at
        at += 2 if text[at] == "\\" else 1
    raise _unbalanced(text)


def _literal(text: str) -> _Node:
    return _Node(1, lambda: (text,))


def _product(factors: Sequence[_Node]) -> _Node:
    count = prod(factor.count for factor in factors)
    # Escapes end here, as with braceexpand: once more for each pair of braces around them.
    return _Node(
        count,
        lambda: (_ESCAPED.sub(r"\1", "".join(parts)) for parts in product(*(each.urls() for each in factors))),
    )


def _unbalanced(pattern: str) -> StorageError:
    return StorageError(
        f"The braces of {displayed(pattern)[:200]!r} are unbalanced. Close each, or write \\{{ for a literal one.",
        urls=[displayed(pattern)[:200]],
    )
