"""Identifiers of the AT Protocol: their shapes, new TIDs and DIDs; and the errors that routes answer with.

https://atproto.com/specs/record-key, /specs/nsid, /specs/handle, /specs/tid
"""

from __future__ import annotations

import base64
import re
import secrets
import time

_RKEY = re.compile(r"[A-Za-z0-9.\-_:~]{1,512}")
_NSID = re.compile(
    r"[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)+"
    r"\.[a-zA-Z][a-zA-Z0-9]{0,62}"
)
_HANDLE = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")

_TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"


class XrpcError(Exception):
    """An error reply: HTTP status, error name, message (https://atproto.com/specs/xrpc)."""

    def __init__(self, error: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.error = error
        self.message = message
        self.status = status


def invalid(message: str) -> XrpcError:
    """The everyday refusal: 400 ``InvalidRequest``."""
    return XrpcError("InvalidRequest", message)


def internal() -> XrpcError:
    """What the reference PDS says where it did not expect the input: 500 ``InternalServerError``."""
    return XrpcError("InternalServerError", "Internal Server Error", status=500)


def is_rkey(text: str) -> bool:
    """Whether ``text`` can be a record key."""
    return _RKEY.fullmatch(text) is not None and text not in {".", ".."}


def is_nsid(text: str) -> bool:
    """Whether ``text`` can name a collection."""
    return len(text) <= 317 and _NSID.fullmatch(text) is not None


def is_handle(text: str) -> bool:
    """Whether ``text`` (in lower case) is a handle: a domain name of two labels or more."""
    return len(text) <= 253 and _HANDLE.fullmatch(text) is not None


def is_did(text: str) -> bool:
    """Whether ``text`` is a DID."""
    return len(text) <= 2048 and _DID.fullmatch(text) is not None


def new_did() -> str:
    """A fresh ``did:plc``: 24 characters of base32 (120 bits, random here)."""
    return "did:plc:" + base64.b32encode(secrets.token_bytes(15)).decode().lower()


class TidClock:
    """Gives TIDs that only grow, also when the machine's clock does not."""

    def __init__(self) -> None:
        self._last = 0
        self._id = secrets.randbelow(1024)

    def next(self, after: str | None = None) -> str:
        """A TID later than every earlier one of this clock, and than ``after``."""
        seen = _microseconds(after) if after else 0
        self._last = max(time.time_ns() // 1000, self._last + 1, seen + 1)
        number = self._last << 10 | self._id
        return "".join(_TID_ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))


def _microseconds(tid: str) -> int:
    number = 0
    for character in tid:
        number = number << 5 | _TID_ALPHABET.index(character)
    return number >> 10
