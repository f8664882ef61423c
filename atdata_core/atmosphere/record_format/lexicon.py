"""Does a record fit its lexicon? The part of the lexicon language that our lexicons use.

https://atproto.com/specs/lexicon. Lengths of strings count UTF-8 bytes. Fields that a lexicon does not know
are allowed, ``null`` is not. Every problem is told, not only the first.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, cast

from atdata_core.atmosphere.record_format.at_uri import is_did, is_handle, is_nsid, is_record_key

_DATETIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,20})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_URI = re.compile(r"[A-Za-z]\w*:(?://)?[^\s/]\S*", re.ASCII)
_MAX_URI = 8192

Schema = dict[str, Any]


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
    kind = schema["type"]
    if kind == "ref":
        target = _absolute(schema["ref"], home)
        yield from _check(value, _definitions()[target], target.partition("#")[0], path)
    elif kind == "union":
        yield from _union(value, path)
    elif kind == "object":
        yield from _object(value, schema, home, path)
    elif kind == "array":
        yield from _array(value, schema, home, path)
    elif kind == "string":
        yield from _string(value, schema, path)
    elif kind == "integer":
        yield from _integer(value, schema, path)
    elif kind == "bytes":
        yield from _bytes(value, schema, path)
    elif kind == "blob":
        yield from _blob(value, path)
    elif kind == "unknown":
        if not _is_object(value):
            yield f"{path}: {_named(value)}, not an object"
    else:
        raise NotImplementedError(f"lexicon type {kind}")


def _union(value: Any, path: str) -> Iterator[str]:
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


def _string(value: Any, schema: Schema, path: str) -> Iterator[str]:
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
    if "format" in schema and not _fits(value, schema["format"]):
        yield f"{path}: {_shown(value)} is no {schema['format']}"


def _integer(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if type(value) is not int:
        yield f"{path}: {_named(value)}, not an integer"
    elif value < schema.get("minimum", value):
        yield f"{path}: {value}, at least {schema['minimum']} is needed"


def _bytes(value: Any, schema: Schema, path: str) -> Iterator[str]:
    data = bytes_of(value)
    if data is None:
        yield f"{path}: {_named(value)}, not bytes"
    elif len(data) > schema.get("maxLength", len(data)):
        yield f"{path}: {len(data):,} bytes, {schema['maxLength']:,} are allowed"


def _blob(value: Any, path: str) -> Iterator[str]:
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


def _fits(text: str, form: str) -> bool:
    if form == "datetime":
        return _is_datetime(text)
    if form == "at-uri":
        return _is_at_uri(text)
    if form == "uri":
        return len(text) < _MAX_URI and _URI.fullmatch(text) is not None
    raise NotImplementedError(f"string format {form}")


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


def _absolute(ref: str, home: str) -> str:
    return f"{home}{ref}" if ref.startswith("#") else ref


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
