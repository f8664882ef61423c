"""What people type or paste as their account, taken down to the handle, DID or e-mail address that is meant."""

from __future__ import annotations

import logging
import re
import unicodedata
from functools import lru_cache
from urllib.parse import unquote

_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")
"""Characters that show nothing, besides those of the categories Cc and Cf."""
_ADDRESS = re.compile(r"(?:at://|(?:https?://)?[^/@\s]+/profile/)([^/?#]+).*|https?://([^/@\s]+)/?", re.IGNORECASE)
"""An at-uri, the address of a profile in an app of the network, or that of the site that a handle names."""
_SCHEMES = re.compile("(?:mailto|acct):", re.IGNORECASE)
_AROUND = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb<>,; "
"""Quotes and what stands between the parts of a list: around an account, never in one."""
_DOTS = re.compile("[\u3002\uff0e\uff61]")
"""What input methods write for a dot; a name of a host takes them for one (UTS 46)."""
_log = logging.getLogger("atdata_core")


def plain_identifier(given: str) -> str:
    """As ``identifier_in``; tells where that is not what was given."""
    text = identifier_in(given)
    if text != given:
        _tell("The account was given as %r; %r is what is used.", given, text)
    return text


def identifier_in(given: str) -> str:
    """The handle (lower case), DID or e-mail address in ``given``.

    ``@`` before it, blanks, quotes and commas around it, invisible marks, ``at://``, ``mailto:``, ``acct:``, the
    address of a profile and a dot at the end are taken off. What is no account after that is given back so.
    """
    text = "".join(each for each in given if _is_visible(each) or each.isspace()).strip().strip(_AROUND)
    if found := _SCHEMES.match(text):
        text = text[found.end() :]
    if found := _ADDRESS.fullmatch(text):
        text = unquote(found[1] or found[2])
    text = text.lstrip("@\uff20").strip()
    if text[:8].lower() == "did:plc:":
        text = text.lower()
    elif text[:4] != "did:" and "@" not in text:
        text = _DOTS.sub(".", text).rstrip(".").lower()
    return text


def plain_password(given: str) -> str:
    """A password without the blanks, newlines and invisible marks around it; tells where there were any."""
    start, end = 0, len(given)
    while start < end and not _is_visible(given[start]):
        start += 1
    while end > start and not _is_visible(given[end - 1]):
        end -= 1
    if end - start < len(given):
        _tell("The blanks, newlines or invisible marks around the app password were taken off.")
    return given[start:end]


def _is_visible(character: str) -> bool:
    hidden = unicodedata.category(character) in ("Cc", "Cf") or _INVISIBLE.match(character)
    return not hidden and not character.isspace()


@lru_cache
def _tell(what: str, *about: str) -> None:
    """Once in a process."""
    _log.warning(what, *about)
