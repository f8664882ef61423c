"""Does a record fit its lexicon, and would the network take it? Asked before the first write.

The part of the lexicon language (https://atproto.com/specs/lexicon) that our lexicons use. Lengths of strings
count UTF-8 bytes. Fields that a lexicon does not know are allowed, ``null`` is not. Every problem is told, not
only the first. A PDS does not know our lexicons and takes what does not fit them, while it answers some mistakes
with a server error: so lexicon, data model, record key and size are checked here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

from atdata_core.atmosphere.xrpc.session import AS_SENT
from atdata_core.errors import PreflightError

NAMESPACE: Final = "science.alt.dataset"
SCHEMA: Final = f"{NAMESPACE}.schema"
ENTRY: Final = f"{NAMESPACE}.entry"
LABEL: Final = f"{NAMESPACE}.label"
JSON_SCHEMA_FORMAT: Final = f"{SCHEMA}#jsonSchemaFormat"
STORAGE_HTTP: Final = f"{NAMESPACE}.storageHttp"
STORAGE_S3: Final = f"{NAMESPACE}.storageS3"
STORAGE_BLOBS: Final = f"{NAMESPACE}.storageBlobs"

# Collections of the package atdata up to 0.2: read, never written.
OLD_NAMESPACE: Final = "ac.foundation.dataset"
OLD_SCHEMA: Final = f"{OLD_NAMESPACE}.sampleSchema"
OLD_ENTRY: Final = f"{OLD_NAMESPACE}.record"

MAX_REQUEST = 1_000_000
"""Bytes of a request's body: https://github.com/bluesky-social/atproto, measured on the official PDS."""

MAX_INTEGER = 2**53 - 1
"""The data model's integers are exact in JavaScript: https://atproto.com/specs/data-model."""

MAX_TOLD = 20
_JSON_SCHEMA_NAMES = frozenset({"$schema", "$ref", "$id", "$defs", "$comment"})
_IN_SCHEMA = re.compile(r"schema(\.|$)")

Schema = dict[str, Any]


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
        found = list(_key_problems(collection, rkey))
        if record.get("$type") != collection:
            found.append(f"$type: {record.get('$type')!r} instead of {collection!r}")
        found += problems(collection, record)
        model = list(_model_problems(record, "", collection))
        found += model
        if not model:
            found += _size_problems(put_request(did, collection, rkey, record, swap=swap), record)
    except RecursionError:
        found = ["record: it is nested too deeply"]
    _refuse(collection, found)


def check_storage(storage: dict[str, Any]) -> None:
    """Return if what an entry record says of its shards leaves room for the rest of it; raises as ``check``."""
    _refuse(ENTRY, list(_size_problems(storage, {"storage": storage})))


def _size_problems(request: object, record: dict[str, Any]) -> Iterator[str]:
    size = len(AS_SENT.encode(request).encode())
    if size > MAX_REQUEST:
        yield f"record: a request of {size:,} bytes, {MAX_REQUEST:,} are allowed{_advice(record)}"


def _refuse(collection: str, found: Sequence[str]) -> None:
    if not found:
        return
    told = "; ".join(found[:MAX_TOLD]) + (f"; and {len(found) - MAX_TOLD} more" if found[MAX_TOLD:] else "")
    kind = collection.rpartition(".")[2]
    raise PreflightError(
        f"The network would refuse this {kind} record, so it was not sent: {told}. "
        "Mend these values and try again.",
        collection=collection,
        problems=found,
    )


def put_request(did: str, collection: str, rkey: str, record: object, *, swap: str | None) -> dict[str, Any]:
    """The body of a putRecord; ``swap`` is the CID of the record that it replaces, None: there must be none."""
    # The typed client drops a None, so that an absent record is no condition any more.
    return {"repo": did, "collection": collection, "rkey": rkey, "record": record, "swapRecord": swap}


def _key_problems(collection: str, rkey: str) -> Iterator[str]:
    if not is_record_key(rkey):
        yield f"record key: {rkey[:60]!r} is not made of 1 to 512 of A-Za-z0-9._:~-"
    elif _definitions()[collection]["key"] == "tid" and not is_tid(rkey):
        yield f"record key: {rkey[:60]!r} is no TID, which this collection asks for"


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
        if bytes_of(value) is None:
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
        elif key.startswith("$") and not (
            collection == SCHEMA and key in _JSON_SCHEMA_NAMES and _IN_SCHEMA.match(path)
        ):
            yield f"{below}: names with $ belong to the protocol"
        yield from _model_problems(item, below, collection)


def _advice(record: dict[str, Any]) -> str:
    storage: Any = record.get("storage")
    if not isinstance(storage, dict):
        return ""
    named = cast("dict[str, Any]", storage)
    shards: Any = named.get("shards", named.get("blobs"))
    count = len(cast("list[Any]", shards)) if isinstance(shards, list) else 0
    return f" ({count:,} shards: write the data as fewer, larger ones)"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- the lexicons ---------------------------------------------------------------------------------


def problems(collection: str, record: object) -> list[str]:
    """What keeps ``record`` from fitting the lexicon ``collection``; empty when nothing does.

    Each is ``path: problem``. Raises ``KeyError`` for a collection that has no lexicon here.
    """
    return list(_check(record, _definitions()[collection]["record"], collection, ""))


@cache
def _definitions() -> dict[str, Schema]:
    """All definitions, by ``nsid`` or ``nsid#name``."""
    found: dict[str, Schema] = {}
    for file in (files("atdata_core.atmosphere") / "lexicons").iterdir():
        if file.name.endswith(".json"):
            lexicon: Any = json.loads(file.read_text("utf-8"))
            for name, definition in lexicon["defs"].items():
                found[lexicon["id"] if name == "main" else f"{lexicon['id']}#{name}"] = definition
    return found


def _check(value: Any, schema: Schema, home: str, path: str) -> Iterator[str]:
    """Problems of ``value``; ``home`` is the lexicon that a relative reference belongs to."""
    yield from _CHECKS[schema["type"]](value, schema, home, path)


def _ref(value: Any, schema: Schema, home: str, path: str) -> Iterator[str]:
    ref = schema["ref"]
    target = f"{home}{ref}" if ref.startswith("#") else ref
    yield from _check(value, _definitions()[target], target.partition("#")[0], path)


def _unknown(value: Any, _schema: Schema, _home: str, path: str) -> Iterator[str]:
    if not _is_object(value):
        yield f"{path}: {_named(value)}, not an object"


def _union(value: Any, _schema: Schema, _home: str, path: str) -> Iterator[str]:
    """All our unions are open: an object of a type that we do not know is allowed."""
    kind = cast("dict[str, Any]", value).get("$type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind:
        yield f"{path}: an object with a $type is needed"
    elif kind in _definitions():
        definition = _definitions()[kind]
        definition = definition.get("record", definition)
        if definition["type"] == "object":
            yield from _check(value, definition, kind.partition("#")[0], path)


def _object(value: Any, schema: Schema, home: str, path: str) -> Iterator[str]:
    if not _is_object(value):
        yield f"{path or 'record'}: {_named(value)}, not an object"
        return
    fields = cast("dict[str, Any]", value)
    for name in schema.get("required", ()):
        if name not in fields:
            yield f"{_below(path, name)}: missing"
    for name, inner in schema["properties"].items():
        if name not in fields:
            continue
        if fields[name] is None:
            yield f"{_below(path, name)}: null"
        else:
            yield from _check(fields[name], inner, home, _below(path, name))


def _array(value: Any, schema: Schema, home: str, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: {_named(value)}, not an array"
        return
    items = cast("list[Any]", value)
    if len(items) < schema.get("minLength", 0):
        yield f"{path}: {len(items)} items, at least {schema['minLength']} are needed"
    if len(items) > schema.get("maxLength", len(items)):
        yield f"{path}: {len(items)} items, {schema['maxLength']} are allowed"
    for position, item in enumerate(items):
        yield from _check(item, schema["items"], home, f"{path}[{position}]")


def _string(value: Any, schema: Schema, _home: str, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path}: {_named(value)}, not a string"
        return
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > schema.get("maxLength", size):
        yield f"{path}: {size:,} bytes, {schema['maxLength']:,} are allowed"
    if "const" in schema and value != schema["const"]:
        yield f"{path}: {_shown(value)} instead of {schema['const']!r}"
    if "pattern" in schema and not re.search(schema["pattern"], value, re.ASCII):
        yield f"{path}: {_shown(value)} is no semantic version such as 1.0.0"
    if "format" in schema and not _FORMATS[schema["format"]](value):
        yield f"{path}: {_shown(value)} is no {schema['format']}"


def _integer(value: Any, schema: Schema, _home: str, path: str) -> Iterator[str]:
    if type(value) is not int:
        yield f"{path}: {_named(value)}, not an integer"
    elif value < schema.get("minimum", value):
        yield f"{path}: {value}, at least {schema['minimum']} is needed"


def _bytes(value: Any, schema: Schema, _home: str, path: str) -> Iterator[str]:
    data = bytes_of(value)
    if data is None:
        yield f"{path}: {_named(value)}, not bytes"
    elif len(data) > schema.get("maxLength", len(data)):
        yield f"{path}: {len(data):,} bytes, {schema['maxLength']:,} are allowed"


def _blob(value: Any, _schema: Schema, _home: str, path: str) -> Iterator[str]:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    link: Any = fields.get("ref")
    fits = (
        fields.get("$type") == "blob"
        and isinstance(link, dict)
        and isinstance(cast("dict[str, Any]", link).get("$link"), str)
        and isinstance(fields.get("mimeType"), str)
        and type(fields.get("size")) is int
    )
    if not fits:
        yield f"{path}: no blob reference"


_CHECKS: dict[str, Callable[[Any, Schema, str, str], Iterator[str]]] = {
    "array": _array,
    "blob": _blob,
    "bytes": _bytes,
    "integer": _integer,
    "object": _object,
    "ref": _ref,
    "string": _string,
    "union": _union,
    "unknown": _unknown,
}


def bytes_of(value: Any) -> bytes | None:
    """The bytes of ``{"$bytes": base64}``, padded or not; None where it is something else."""
    if not isinstance(value, dict) or cast("dict[str, Any]", value).keys() != {"$bytes"}:
        return None
    text: Any = cast("dict[str, Any]", value)["$bytes"]
    if not isinstance(text, str):
        return None
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_object(value: Any) -> bool:
    """Bytes and links are written as objects and are none."""
    return isinstance(value, dict) and cast("dict[str, Any]", value).keys() not in ({"$bytes"}, {"$link"})


def _named(value: Any) -> str:
    if isinstance(value, dict) and not _is_object(cast("Any", value)):
        return "bytes" if "$bytes" in value else "a link"
    return "null" if value is None else type(cast("object", value)).__name__


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


# -- formats of strings ---------------------------------------------------------------------------

TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
_TID = re.compile(rf"[234567abcdefghij][{TID_ALPHABET}]{{12}}")
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")
_HANDLE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_NSID = re.compile(
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+"
    r"\.[A-Za-z][A-Za-z0-9]{0,62}"
)
_RECORD_KEY = re.compile(r"[A-Za-z0-9._:~-]{1,512}")

MAX_DID, MAX_HANDLE, MAX_NSID, MAX_RECORD_KEY = 2048, 253, 317, 512
_DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,20})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_URI = re.compile(r"[A-Za-z]\w*:(?://)?[^\s/]\S*", re.ASCII)
_MAX_URI = 8192


def is_tid(text: str) -> bool:
    """Whether ``text`` has the shape of a TID."""
    return _TID.fullmatch(text) is not None


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


def _is_datetime(text: str) -> bool:
    match = _DATETIME.fullmatch(text)
    if match is None or text.endswith("-00:00") or text.startswith("000"):
        return False
    try:
        datetime.fromisoformat(match.group(1))
    except ValueError:
        return False
    return True


def _is_at_uri(text: str) -> bool:
    """An at-uri may stop after the authority or the collection."""
    if not text.startswith("at://"):
        return False
    authority, *rest = text.removeprefix("at://").split("/")
    return (
        len(rest) <= 2
        and (is_did(authority) or is_handle(authority))
        and (not rest or is_nsid(rest[0]))
        and (len(rest) < 2 or is_record_key(rest[1]))
    )


def _is_uri(text: str) -> bool:
    return len(text) < _MAX_URI and _URI.fullmatch(text) is not None


_FORMATS: dict[str, Callable[[str], bool]] = {"at-uri": _is_at_uri, "datetime": _is_datetime, "uri": _is_uri}
