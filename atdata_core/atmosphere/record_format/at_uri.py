"""at-uris: the address of one record in one repository.

Syntax: https://atproto.com/specs/at-uri-scheme (the restricted form, which records use).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atdata_core.errors import RefusedError

_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")
_HANDLE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_NSID = re.compile(
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+"
    r"\.[A-Za-z][A-Za-z0-9]{0,62}"
)
_RECORD_KEY = re.compile(r"[A-Za-z0-9._:~-]{1,512}")

MAX_DID, MAX_HANDLE, MAX_NSID = 2048, 253, 317


def is_did(text: str) -> bool:
    """Whether ``text`` has the shape of a DID."""
    return len(text) <= MAX_DID and _DID.fullmatch(text) is not None


def is_handle(text: str) -> bool:
    """Whether ``text`` has the shape of a handle (a domain name)."""
    return len(text) <= MAX_HANDLE and _HANDLE.fullmatch(text) is not None


def is_nsid(text: str) -> bool:
    """Whether ``text`` has the shape of a collection's name."""
    return len(text) <= MAX_NSID and _NSID.fullmatch(text) is not None


def is_record_key(text: str) -> bool:
    """Whether ``text`` can be a record key: https://atproto.com/specs/record-key."""
    return text not in (".", "..") and _RECORD_KEY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class AtUri:
    """``at://{authority}/{collection}/{rkey}``; ``authority`` is a DID or a handle."""

    authority: str
    collection: str
    rkey: str

    @classmethod
    def parse(cls, uri: str) -> AtUri:
        """The parts of an at-uri that names one record.

        Raises:
            RefusedError: (a ``ValueError``) where it does not.
        """
        # Callers without type checking hand on what a lookup gave them, None for instance.
        scheme, _, rest = str(uri).partition("://")
        parts = rest.split("/")
        if scheme != "at" or len(parts) != 3:
            raise RefusedError(
                f"{uri!r} is no at-uri of a record. It has the form at://DID-OR-HANDLE/COLLECTION/RECORD-KEY.",
                ref=uri,
            )
        authority, collection, rkey = parts
        for part, fits, what in (
            (authority, is_did(authority) or is_handle(authority), "DID or handle"),
            (collection, is_nsid(collection), "collection"),
            (rkey, is_record_key(rkey), "record key"),
        ):
            if not fits:
                raise RefusedError(f"The at-uri {uri!r} is malformed: {part!r} is no {what}.", ref=uri)
        return cls(authority, collection, rkey)

    def __str__(self) -> str:
        return f"at://{self.authority}/{self.collection}/{self.rkey}"
