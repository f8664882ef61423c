"""The AT Protocol data model: JSON in, canonical bytes and a CID out.

https://atproto.com/specs/data-model. Bytes (``{"$bytes": base64}``) and links (``{"$link": cid}``) are
``bytes`` and ``Link`` in memory. DAG-CBOR is written here because libipld writes 36 bytes that happen to
look like a CID as a link, and this side must give the CIDs of the reference PDS whatever is sent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import libipld

from atdata_pipelines.sandbox.pds.syntax import XrpcError, internal, invalid

_SAFE_INTEGER = 2**53 - 1
_DAG_CBOR, _RAW = 0x71, 0x55
_BASE64 = re.compile(r"([A-Za-z0-9+/_-]{4})*([A-Za-z0-9+/_-]{2}(==)?|[A-Za-z0-9+/_-]{3}=?)?")
_INDEX = re.compile("0|[1-9][0-9]{0,9}")
_MAX_INDEX = 2**32 - 1
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Link:
    """A link to something by its CID (version 1, text form)."""

    cid: str


@dataclass(frozen=True, slots=True)
class Blob:
    """A reference to a blob, as a record holds it. ``size`` is in bytes."""

    cid: str
    mime: str
    size: int


def parse_json(body: bytes) -> Any:
    """The data-model value of a JSON text, read as JavaScript does: 2.0 is 2, broken text has U+FFFD.

    Raises:
        XrpcError: 400 where it is no JSON.
    """
    try:
        text = body.decode(errors="replace")
        return _from_json(json.loads(text, parse_float=_number, parse_constant=_no_constant))
    except ValueError:
        raise XrpcError("SyntaxError", "The request's body is not valid JSON") from None
    except RecursionError:
        raise invalid("The request's body is nested too deeply") from None


def to_json(value: Any) -> Any:
    """The inverse of ``parse_json``, as an object for ``json.dumps``."""
    match value:
        case bytes():
            return {"$bytes": base64.b64encode(value).decode().rstrip("=")}
        case Link(cid):
            return {"$link": cid}
        case list():
            return [to_json(item) for item in value]
        case dict():
            return {key: to_json(item) for key, item in value.items()}
        case _:
            return value


def from_storage(text: str) -> Any:
    """A JSON text with the keys of each object in the order in which the reference PDS gives them.

    That one decodes DAG-CBOR for each answer, so a program that takes an order from a record finds this one;
    in JavaScript, keys that look like the index of an array come first of all, by number.
    """

    def place(pair: tuple[str, Any]) -> tuple[bool, tuple[int, bytes]]:
        key = pair[0]
        return not (_INDEX.fullmatch(key) and int(key) < _MAX_INDEX), _place(key)

    return json.loads(text, object_pairs_hook=lambda pairs: dict(sorted(pairs, key=place)))


def encode(value: Any) -> bytes:
    """The value as DAG-CBOR: map keys by length, then bytes; smallest integers.

    Raises:
        XrpcError: 400 for a number that is no integer, 500 for an integer outside of +-(2^53 - 1), as
            the reference PDS answers.
    """
    out = bytearray()
    try:
        _write(value, out)
    except RecursionError:
        raise invalid("The record is nested too deeply") from None
    return bytes(out)


def cid_of(encoded: bytes) -> str:
    """The CID of DAG-CBOR bytes."""
    return _cid(_DAG_CBOR, encoded)


def cid_of_blob(data: bytes) -> str:
    """The CID of a blob's bytes."""
    return _cid(_RAW, data)


def blobs_in(value: Any) -> Iterator[Blob]:
    """Every blob that a record refers to.

    Raises:
        XrpcError: 400 where a record holds a blob in the form of old.
    """
    if isinstance(value, list):
        for item in value:
            yield from blobs_in(item)
    elif isinstance(value, dict):
        match value:
            case {"$type": "blob", "ref": Link(cid), "mimeType": str(mime), "size": int(size)} if (
                "/" in mime and size >= -1 and len(value) == 4
            ):
                yield Blob(cid, mime, size)
            case {"cid": str(cid), "mimeType": str(mime)} if mime and len(value) == 2 and is_cid(cid):
                raise invalid(f"Legacy blobs are not allowed ({cid})")
            case _:
                for item in value.values():
                    yield from blobs_in(item)


def is_cid(text: str) -> bool:
    """Whether ``text`` is a CID, version 1 in base32."""
    try:
        return text.startswith("b") and libipld.decode_cid(text)["version"] == 1
    except (ValueError, KeyError):
        return False


def _cid(codec: int, data: bytes) -> str:
    return libipld.encode_cid(bytes([1, codec, 0x12, 32]) + hashlib.sha256(data).digest())


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _from_json(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "__proto__" in value:
        raise invalid("Invalid key: __proto__")
    if len(value) == 1:
        if isinstance(text := value.get("$bytes"), str) and (data := _base64(text)) is not None:
            return data
        if isinstance(cid := value.get("$link"), str) and is_cid(cid):
            return Link(cid)
    return {_LONE_SURROGATE.sub("\ufffd", key): _from_json(item) for key, item in value.items()}


def _base64(text: str) -> bytes | None:
    if not _BASE64.fullmatch(text):
        return None
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(bare + "=" * (-len(bare) % 4))


def _place(key: str) -> tuple[int, bytes]:
    """Where a key comes in a DAG-CBOR map: by length, then bytes."""
    encoded = key.encode()
    return len(encoded), encoded


def head(major: int, number: int) -> bytes:
    """The beginning of a DAG-CBOR item: its major type, and its number or length."""
    if number < 24:
        return bytes([major << 5 | number])
    for extra, width in enumerate((1, 2, 4, 8)):
        if number < 1 << 8 * width:
            return bytes([major << 5 | 24 + extra]) + number.to_bytes(width, "big")
    raise internal()


def _write(value: Any, out: bytearray) -> None:
    match value:
        case None:
            out += b"\xf6"
        case bool():
            out += b"\xf5" if value else b"\xf4"
        case int():
            if abs(value) > _SAFE_INTEGER:
                raise internal()
            out += head(0, value) if value >= 0 else head(1, -1 - value)
        case float():
            raise invalid("Non-integer numbers are not part of the data model")
        case str():
            text = value.encode()
            out += head(3, len(text)) + text
        case bytes():
            out += head(2, len(value)) + value
        case Link(cid):
            raw = b"\x00" + raw_cid(cid)
            out += b"\xd8\x2a" + head(2, len(raw)) + raw
        case list():
            out += head(4, len(value))
            for item in value:
                _write(item, out)
        case dict():
            out += head(5, len(value))
            for key in sorted(value, key=_place):
                encoded = key.encode()
                out += head(3, len(encoded)) + encoded
                _write(value[key], out)
        case _:
            raise internal()


def raw_cid(cid: str) -> bytes:
    """A CID in binary form."""
    return bytes(libipld.decode_multibase(cid)[1])
