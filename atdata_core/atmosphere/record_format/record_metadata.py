"""An entry's own metadata in its record: msgpack in a bytes field, as the lexicon says.

The field's other known reader decodes ``$bytes`` only with padding, and a PDS leaves padding out. A length
that is a multiple of 3 needs none. So headers are widened until it is: msgpack lets every map, array, string
and integer be written with a longer header than it needs, and each reader gives the same value back.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, cast

import msgpack

from atdata_core.atmosphere.record_format.lexicon import bytes_of
from atdata_core.errors import MetadataError
from atdata_core.samples.metadata import checked_size, pack, unpack

_msgpack: Any = msgpack

# Fields of the structured form that atdata 0.4 and later writes, by its names for them in Python.
_STRUCTURED = {"sourceUri": "source_uri", "createdBy": "created_by", "processingSteps": "processing_steps"}


def pack_metadata(metadata: dict[Any, Any]) -> bytes:
    """Metadata as msgpack whose length is a multiple of 3, at most 100,000 bytes.

    (Only a map of 16 or more entries whose keys and values are all floats or constants may keep its length.)

    Raises:
        MetadataError: msgpack cannot hold it, or it is too large.
    """
    return checked_size(_widened(pack(metadata)))


def to_field(metadata: dict[Any, Any]) -> dict[str, str]:
    """The value of a record's ``metadata`` field; raises as ``pack_metadata`` does."""
    return {"$bytes": base64.b64encode(pack_metadata(metadata)).decode("ascii").rstrip("=")}


def unpack_metadata(field: Any) -> dict[Any, Any] | None:
    """Metadata from a record's field: ``$bytes``, or the plain object that other programs write.

    Raises:
        MetadataError: It is neither.
    """
    if field is None:
        return None
    packed = bytes_of(field)
    if packed is not None:
        value = unpack(packed)
        if isinstance(value, dict):
            return cast("dict[Any, Any]", value)
        raise MetadataError(f"metadata holds {type(value).__name__}, not a map.")
    if isinstance(field, dict) and "$bytes" not in field:
        return _flattened(cast("dict[str, Any]", field))
    raise MetadataError("metadata is neither bytes nor an object.")


def _flattened(field: dict[str, Any]) -> dict[str, Any]:
    """``custom`` merged with the known fields beside it, which win."""
    known = {_STRUCTURED.get(key, key): value for key, value in field.items() if key not in ("$type", "custom")}
    custom: Any = field.get("custom")
    if isinstance(custom, dict):
        return {
            **known,
            **{key: value for key, value in cast("dict[str, Any]", custom).items() if key not in known},
        }
    return known if custom is None else {**known, "custom": custom}


# -- widening: https://github.com/msgpack/msgpack/blob/master/spec.md ------------------------------


def _widened(packed: bytes) -> bytes:
    """The same map with 0, 1 or 2 (modulo 3) more bytes of header, so that its length divides by 3."""
    missing = -len(packed) % 3
    if missing == 0:
        return packed
    count, header = _map_header(packed)
    if header == 1:
        # A map of up to 15 entries: two bytes more, or four.
        wide = b"\xde" + count.to_bytes(2, "big") if missing == 2 else b"\xdf" + count.to_bytes(4, "big")
        return wide + packed[header:]
    if missing == 2:
        return b"\xdf" + count.to_bytes(4, "big") + packed[header:]
    for start in _element_starts(packed, count):
        found = _wider(packed[start : start + 6])
        if found is not None:
            replaced, wide = found
            return packed[:start] + wide + packed[start + replaced :]
    return packed


def _map_header(packed: bytes) -> tuple[int, int]:
    """Number of entries, and length of the header in bytes."""
    if packed[0] & 0xF0 == 0x80:
        return packed[0] & 0x0F, 1
    return int.from_bytes(packed[1:3], "big"), 3


def _element_starts(packed: bytes, count: int) -> Iterator[int]:
    """Where each key and value of the outermost map begins."""
    unpacker: Any = _msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(packed)
    unpacker.read_map_header()
    for _ in range(2 * count):
        yield unpacker.tell()
        unpacker.skip()


def _wider(head: bytes) -> tuple[int, bytes] | None:
    """One byte more (or four): how many bytes to replace, by what; None where that cannot be.

    ``head`` is the beginning of an element, at least its header.
    """
    first = head[0]
    if first <= 0x7F:  # positive fixint -> uint 8
        return 1, bytes((0xCC, first))
    if first >= 0xE0:  # negative fixint -> int 8
        return 1, bytes((0xD0, first))
    if 0xA0 <= first <= 0xBF:  # fixstr -> str 8
        return 1, bytes((0xD9, first & 0x1F))
    if first in (0xD9, 0xC4, 0xCC):  # str 8, bin 8, uint 8 -> 16
        return 2, bytes((first + 1, 0, head[1]))
    if first in (0x90, 0x80):  # an empty array or map -> 32
        return 1, bytes((0xDD if first == 0x90 else 0xDF, 0, 0, 0, 0))
    if 0x81 <= first <= 0x9F:  # fixmap, fixarray -> 32
        return 1, bytes((0xDD if first & 0x10 else 0xDF, 0, 0, 0, first & 0x0F))
    if first == 0xCE:  # uint 32 -> 64
        return 5, bytes((0xCF, 0, 0, 0, 0)) + head[1:5]
    return None
