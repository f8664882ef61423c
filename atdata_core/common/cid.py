"""Content identifiers (CIDs) of index entries and of records.

CIDv1, codec dag-cbor, SHA-256, in lower-case base32. The encoder stands here because the DAG-CBOR encoders
at hand guess: they write any byte string that happens to parse as a CID as a link.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, cast

DAG_CBOR_SHA256 = b"\x01\x71\x12\x20"
"""What a CID of version 1 begins with: DAG-CBOR, SHA-256, 32 bytes (https://github.com/multiformats/cid)."""

_CID_TAG = b"\xd8\x2a"


def entry_cid(schema_ref: str, data_urls: Sequence[str]) -> str:
    """CID of an index entry: its schema and its data, not its name or metadata."""
    return block_cid(dag_cbor({"data_urls": list(data_urls), "schema_ref": schema_ref}))


def record_cid(record: Mapping[str, Any]) -> str:
    """CID that a PDS gives a record, from its ATProto JSON (``{"$bytes": ...}``, ``{"$link": ...}``).

    Raises:
        ValueError: the record holds what the data model does not, such as a float.
    """
    return block_cid(dag_cbor(record))


def dag_cbor(value: Any) -> bytes:
    """DAG-CBOR of an ATProto JSON value; native ``bytes`` are taken too.

    Raises:
        ValueError: a float, an integer beyond 64 bits, a key that is no string, another type.
    """
    block = bytearray()
    _encode(value, block)
    return bytes(block)


def block_cid(block: bytes) -> str:
    """CID of DAG-CBOR."""
    digest = hashlib.sha256(block).digest()
    return "b" + base64.b32encode(DAG_CBOR_SHA256 + digest).decode().lower().rstrip("=")


def _encode(value: Any, block: bytearray) -> None:
    if isinstance(value, str):
        text = value.encode()
        block += _head(3, len(text))
        block += text
    elif value is None:
        block += b"\xf6"
    elif isinstance(value, bool):
        block += b"\xf5" if value else b"\xf4"
    elif isinstance(value, int):
        if not -(2**64) <= value < 2**64:
            raise ValueError(f"{value} does not fit in 64 bits")
        block += _head(0, value) if value >= 0 else _head(1, -1 - value)
    elif isinstance(value, bytes):
        block += _head(2, len(value))
        block += value
    elif isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        block += _head(4, len(items))
        for item in items:
            _encode(item, block)
    elif isinstance(value, Mapping):
        _encode_map(cast("Mapping[Any, Any]", value), block)
    else:
        raise ValueError(f"{value!r} ({type(value).__name__}) has no place in the ATProto data model")


def _encode_map(value: Mapping[Any, Any], block: bytearray) -> None:
    if len(value) == 1:
        ((only, inner),) = value.items()
        if only == "$bytes":
            data = _decoded(inner)
            block += _head(2, len(data))
            block += data
            return
        if only == "$link":
            link = b"\x00" + _parsed_cid(inner)
            block += _CID_TAG + _head(2, len(link)) + link
            return
    keys: list[tuple[int, bytes, str]] = []
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"{key!r} is no string, a record's keys are")
        encoded = key.encode()
        keys.append((len(encoded), encoded, key))
    block += _head(5, len(keys))
    for length, encoded, key in sorted(keys):
        block += _head(3, length)
        block += encoded
        _encode(value[key], block)


def _head(major: int, argument: int) -> bytes:
    """Major type and length, in the fewest bytes."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    for extra, code, limit in ((24, ">B", 1 << 8), (25, ">H", 1 << 16), (26, ">I", 1 << 32)):
        if argument < limit:
            return bytes((major << 5 | extra,)) + struct.pack(code, argument)
    return bytes((major << 5 | 27,)) + struct.pack(">Q", argument)


def _decoded(text: Any) -> bytes:
    """Base64, with padding or (as a PDS writes it) without."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError(f"$bytes is no base64: {error}") from None


def _parsed_cid(text: Any) -> bytes:
    try:
        if text[:1] != "b":
            raise ValueError("not base32")
        body = text[1:].upper()
        return base64.b32decode(body + "=" * (-len(body) % 8))
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError(f"$link {text!r} is no CID in base32: {error}") from None
