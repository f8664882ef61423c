"""How records are named: record keys and at-uris.

Record keys are made from identity, so that the same publication always has the same key.
Entries and labels want TIDs (https://atproto.com/specs/tid): 13 characters that hold 53 bits of
microseconds and 10 bits of a clock's id. Ours are taken from a SHA-256 instead of a clock: the time part
stays below 2**50 microseconds, that is between 1970 and 2005, so that no clock can make the same key.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from atdata_core.atmosphere.record_format.lexicon import (
    ENTRY,
    LABEL,
    MAX_RECORD_KEY,
    SCHEMA,
    TID_ALPHABET,
    is_did,
    is_handle,
    is_nsid,
    is_record_key,
    is_tid,
)
from atdata_core.common.cid import dag_cbor
from atdata_core.errors import PreflightError, RefusedError
from atdata_core.state.facts import PublicationId

_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")


def is_identity_tid(text: str) -> bool:
    """Whether a key can come from an identity; one that a clock made since 2005 cannot."""
    # The topmost 5 bits are zero in each of ours.
    return is_tid(text) and text[0] == TID_ALPHABET[0]


@lru_cache(maxsize=10_000)  # a promotion asks for the keys of its records again and again
def identity_tid(*parts: str) -> str:
    """The TID of an identity: the same parts, in the same order, give the same 13 characters.

    60 bits of the SHA-256 of the DAG-CBOR list of ``parts``: 50 as microseconds, 10 as clock id.
    """
    digest = hashlib.sha256(dag_cbor(parts)).digest()
    # The top 4 of 64 bits stay zero: the sign bit, and the 3 that keep the time below 2**50 us.
    number = int.from_bytes(digest[:8], "big") >> 4
    return "".join(TID_ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))


class Publication(PublicationId):
    """Account, published name and CID of the index entry: the same three, the same records."""

    __slots__ = ()

    @property
    def rkey(self) -> str:
        """Record key of the entry record."""
        return identity_tid(ENTRY, self.did, self.name, self.cid)

    @property
    def uri(self) -> str:
        """At-uri of the entry record."""
        return f"at://{self.did}/{ENTRY}/{self.rkey}"

    @property
    def label_rkey(self) -> str:
        """Record key of the label; the versions of a name share it."""
        return label_rkey(self.did, self.name)


def label_rkey(did: str, name: str, version: str | None = None) -> str:
    """The record key of the label of a name; with a version, of that fixed label."""
    return identity_tid(LABEL, did, name, *([] if version is None else [version]))


def schema_rkey(full_name: str, version: str) -> str:
    """The record key of a schema: ``{module}.{Class}:{version}``.

    Each byte outside ``A-Za-z0-9._-`` is written as ``:xx``.

    Raises:
        PreflightError: The key would be longer than 512 characters.
    """
    key = f"{_escaped(full_name)}:{_escaped(version)}"
    if len(key) > MAX_RECORD_KEY:
        raise PreflightError(
            f"The schema of {full_name!r}, version {version!r}, would need a record key of {len(key)} characters; "
            f"{MAX_RECORD_KEY} are allowed. Give the class or its module a shorter name.",
            collection=SCHEMA,
            problems=[f"record key of {len(key)} characters"],
        )
    return key


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda match: b":%02x" % match.group()[0], text.encode()).decode("ascii")


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
