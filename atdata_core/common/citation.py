"""What a dataset is cited and found by: creators, DOI, addresses, languages; each in one form, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast
from urllib.parse import quote, urlsplit

from ..errors import MetadataError

_DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:\s*)?(10\.\d{4,9}(?:\.\d+)*/[^\s\x00-\x1f]+)", re.IGNORECASE)
"""https://www.doi.org/doi-handbook/HTML/doi-name-syntax.html, and the ways in which people write one."""
_ORCID = re.compile(r"(?:(?:https?://)?orcid\.org/|orcid:\s*)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])", re.IGNORECASE)
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")
_LANGUAGE = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})(?:-[a-z]{4})?(?:-(?:[a-z]{2}|\d{3}))?"
    r"(?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*(?:-[a-wyz\d](?:-[a-z\d]{2,8})+)*(?:-x(?:-[a-z\d]{1,8})+)?"
    r"|x(?:-[a-z\d]{1,8})+",
    re.IGNORECASE,
)
"""A well-formed tag: https://www.rfc-editor.org/rfc/rfc5646#section-2.1, without the grandfathered ones."""
_CREATOR = re.compile(r"(?P<name>(?!<).*?\S)\s*(?:<(?P<id>[^<>]*)>)?", re.DOTALL)
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Creator:
    """A person or group that made a dataset; ``Ada Lovelace <0000-0002-1825-0097>`` as text.

    Attributes:
        name: As it is cited.
        orcid: ``0000-0002-1825-0097``, without an address before it.
        did: Of an account of the network.
    """

    name: str
    orcid: str | None = None
    did: str | None = None

    @classmethod
    def parse(cls, given: Any) -> Self:
        """A creator as people give one: ``Name``, ``Name <ORCID or DID>``, or a mapping of these fields.

        Raises:
            MetadataError: It is none, or its ORCID or DID is malformed.
        """
        if isinstance(given, Mapping):
            fields = cast("Mapping[str, Any]", given)
            found = [fields.get(key) for key in ("name", "orcid", "did")]
            if all(isinstance(each, str | None) for each in found) and found[0]:
                return cls._checked(found[0].strip(), found[1], found[2])
        parts = _CREATOR.fullmatch((creator_text(given) or "").strip())
        if parts is None:
            raise _refusal("creators", cast("object", given), "a creator is 'Name', 'Name <ORCID>' or 'Name <DID>'")
        ident = (parts["id"] or "").strip() or None
        did = ident if ident is not None and ident.startswith("did:") else None
        return cls._checked(parts["name"].strip(), None if did else ident, did)

    @classmethod
    def _checked(cls, name: str, orcid: str | None, did: str | None) -> Self:
        if not name or "\n" in name:
            raise _refusal("creators", name, "a creator has a name, on one line")
        if did is not None and not _DID.fullmatch(did):
            raise _refusal("creators", did, "that is no DID, such as did:plc:ewvi7nxzyoun6zhxrhs64oiz")
        return cls(name, None if orcid is None else _orcid(orcid), did)

    @property
    def address(self) -> str | None:
        """Where the creator is found: the page of the ORCID, else the DID; None where neither is given."""
        return f"https://orcid.org/{self.orcid}" if self.orcid else self.did

    def to_json(self) -> dict[str, str]:
        """The creator as a JSON object; what is not given is left out."""
        given = {"name": self.name, "orcid": self.orcid, "did": self.did}
        return {key: value for key, value in given.items() if value is not None}

    def __str__(self) -> str:
        ident = self.orcid or self.did
        return f"{self.name} <{ident}>" if ident else self.name


def creator_text(given: Any) -> str | None:
    """A creator as a text, also where one is given as a mapping of ``name``, ``orcid`` and ``did``; else None."""
    if isinstance(given, Mapping):
        fields = cast("Mapping[str, Any]", given)
        name, ident = fields.get("name"), fields.get("orcid") or fields.get("did")
        if not isinstance(name, str) or not isinstance(ident, str | None):
            return None
        return f"{name} <{ident}>" if ident else name
    return given if isinstance(given, str) else None


def _orcid(text: str) -> str:
    found = _ORCID.fullmatch(text.strip())
    if found is None:
        raise _refusal("creators", text, "that is no ORCID iD, such as 0000-0002-1825-0097")
    orcid = found[1].upper()
    # ISO 7064 MOD 11-2: https://support.orcid.org/hc/en-us/articles/360006897674
    total = 0
    for digit in orcid[:-1].replace("-", ""):
        total = (total + int(digit)) * 2
    if "0123456789X"[(12 - total % 11) % 11] != orcid[-1]:
        raise _refusal("creators", text, "the checksum at the end of that ORCID iD does not fit it")
    return orcid


def _doi(text: str) -> str:
    found = _DOI.fullmatch(text.strip())
    if found is None:
        raise _refusal("doi", text, "that is no DOI, such as 10.5281/zenodo.1234567")
    return found[1]


def _homepage(text: str) -> str:
    text = text.strip()
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[\s<>\"]", text)
    except ValueError:
        fits = False
    if not fits:
        raise _refusal("homepage", text, "that is no address of a web page, such as https://lab.example.org/digits")
    return text


def _language(text: str) -> str:
    if _LANGUAGE.fullmatch(text.strip()) is None:
        raise _refusal("language", text, "that is no language tag of BCP 47, such as en, de-CH or zh-Hant")
    return text.strip()


def _keyword(text: str) -> str:
    if not text.strip() or "\n" in text:
        raise _refusal("keywords", text, "a keyword is a few words on one line")
    return text.strip()


CANONICAL: dict[str, Callable[[str], str]] = {
    "creators": lambda text: str(Creator.parse(text)),
    "doi": _doi,
    "citation": str.strip,
    "homepage": _homepage,
    "keywords": _keyword,
    "language": _language,
}
"""By key what brings a text into its one form, or raises ``MetadataError``."""


def doi_address(doi: str) -> str:
    """Where a DOI leads."""
    return f"https://doi.org/{quote(doi, safe='/:;.()-_~')}"


def _refusal(key: str, given: object, problem: str) -> MetadataError:
    shown = str(given)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return MetadataError(
        f"{key} cannot be published as {shown!r}: {problem}. Mend it in the entry's metadata, or "
        f"give {key} with the promotion.",
        path=key,
    )
