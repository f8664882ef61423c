"""Would the network take this record? Asked before the first write.

A PDS does not know our lexicons and takes what does not fit them, while it answers some mistakes with a
server error. So everything is checked here: the lexicon, the data model, the record key, the size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from atdata_core.atmosphere.record_format import lexicon
from atdata_core.atmosphere.record_format.at_uri import is_record_key
from atdata_core.atmosphere.record_format.nsids import SCHEMA
from atdata_core.atmosphere.record_format.record_keys import is_tid
from atdata_core.atmosphere.xrpc.replies import encode_json, put_request
from atdata_core.errors import PreflightError

MAX_REQUEST = 1_000_000
"""Bytes of a request's body: https://github.com/bluesky-social/atproto, measured on the official PDS."""

MAX_INTEGER = 2**53 - 1
"""The data model's integers are exact in JavaScript: https://atproto.com/specs/data-model."""

MAX_TOLD = 20
_JSON_SCHEMA_NAMES = frozenset({"$schema", "$ref", "$id", "$defs", "$comment"})
_IN_SCHEMA = re.compile(r"schema(\.|$)")


def check(collection: str, rkey: str, record: dict[str, Any], *, did: str, swap: str | None = None) -> None:
    """Return if the network would take ``record`` under this key.

    Args:
        collection: Its name.
        rkey: The record key.
        record: What would be written.
        did: The account that would write it.
        swap: CID of the record that it would replace; None: it would be created.

    Raises:
        PreflightError: It would not; ``problems`` lists every reason.
    """
    try:
        found = [*_key_problems(collection, rkey), *_type_problems(collection, record)]
        found += lexicon.problems(collection, record)
        model = list(_model_problems(record, "", collection))
        found += model
        if not model:
            size = len(encode_json(put_request(did, collection, rkey, record, swap=swap)))
            found += _size_problems(size, record)
    except RecursionError:
        found = ["record: it is nested too deeply"]
    if found:
        told = "; ".join(found[:MAX_TOLD]) + (f"; and {len(found) - MAX_TOLD} more" if found[MAX_TOLD:] else "")
        kind = collection.rpartition(".")[2]
        raise PreflightError(
            f"The network would refuse this {kind} record, so it was not sent: {told}. "
            "Mend these values and try again.",
            collection=collection,
            problems=found,
        )


def _key_problems(collection: str, rkey: str) -> Iterator[str]:
    if not is_record_key(rkey):
        yield f"record key: {rkey[:60]!r} is not made of 1 to 512 of A-Za-z0-9._:~-"
    elif collection != SCHEMA and not is_tid(rkey):
        yield f"record key: {rkey[:60]!r} is no TID, which this collection asks for"


def _type_problems(collection: str, record: dict[str, Any]) -> Iterator[str]:
    if record.get("$type") != collection:
        yield f"$type: {record.get('$type')!r} instead of {collection!r}"


def _model_problems(value: Any, path: str, collection: str) -> Iterator[str]:
    """What the data model forbids: floats, large integers, keys of its own, text that is no Unicode."""
    if isinstance(value, dict):
        yield from _object_problems(cast("dict[Any, Any]", value), path, collection)
    elif isinstance(value, list):
        for position, item in enumerate(cast("list[Any]", value)):
            yield from _model_problems(item, f"{path}[{position}]", collection)
    elif isinstance(value, str):
        if not _is_unicode(value):
            yield f"{path}: not valid Unicode"
    elif isinstance(value, float):
        yield f"{path}: {value} is a float, which a record cannot hold"
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            yield f"{path}: {value} is beyond 2**53"
    elif value is not None:
        yield f"{path}: {type(value).__name__}, which is no JSON"


def _object_problems(value: dict[Any, Any], path: str, collection: str) -> Iterator[str]:
    if value.keys() == {"$bytes"}:
        if lexicon.bytes_of(value) is None:
            yield f"{path}: $bytes is no base64"
        return
    if value.keys() == {"$link"} and isinstance(value["$link"], str):
        return
    for key, item in value.items():
        below = f"{path}.{key}" if path else str(key)
        if not isinstance(key, str) or not _is_unicode(key):
            yield f"{path or 'record'}: the key {key!r} is no text"
            continue
        if key == "$type":
            if not isinstance(item, str) or not item:
                yield f"{below}: no type"
        elif key == "__proto__":
            yield f"{below}: the reference PDS refuses this name"
        elif key.startswith("$") and not _is_json_schema_name(key, path, collection):
            yield f"{below}: names with $ belong to the protocol"
        yield from _model_problems(item, below, collection)


def _is_json_schema_name(key: str, path: str, collection: str) -> bool:
    return collection == SCHEMA and key in _JSON_SCHEMA_NAMES and _IN_SCHEMA.match(path) is not None


def _size_problems(size: int, record: dict[str, Any]) -> Iterator[str]:
    if size > MAX_REQUEST:
        advice = ""
        storage: Any = record.get("storage")
        if isinstance(storage, dict):
            shards: Any = cast("dict[str, Any]", storage).get("shards")
            count = len(cast("list[Any]", shards)) if isinstance(shards, list) else 0
            advice = f" ({count:,} shards: write the data as fewer, larger ones)"
        yield f"record: a request of {size:,} bytes, {MAX_REQUEST:,} are allowed{advice}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
