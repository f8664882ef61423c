"""Local schema record <-> JSON Schema (draft 07), as records of the network hold it.

The published shims describe arrays: a field is one where its ``$ref`` names such a shim, with ``dtype``
(and upstream's ``shape`` and ``dimensionNames``) beside it. A PDS reorders the keys of ``properties``, so
the order of the fields stands in ``x-atdata-order``, which validators ignore.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..errors import SchemaError

ORDER = "x-atdata-order"

_SHIMS = {
    "ndarray": "https://json-schema.alt.science/atdata-ndarray-bytes/1.0.0#/$defs/ndarray",
    "sparse": "https://json-schema.alt.science/atdata-sparse-bytes/1.0.0#/$defs/sparse",
    "structured": "https://json-schema.alt.science/atdata-structured-bytes/1.0.0#/$defs/structured",
    "arrow_tensor": "https://json-schema.alt.science/atdata-arrow-tensor/1.0.0#/$defs/tensor",
    "safetensors": "https://json-schema.alt.science/atdata-safetensors/1.0.0#/$defs/safetensors",
    "dataframe": "https://json-schema.alt.science/atdata-dataframe/1.0.0#/$defs/dataframe",
}
_ANNOTATIONS = ("dtype", "shape", "dimensionNames")

_JSON_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte", "contentEncoding": "base64"},
}
_PRIMITIVES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


def to_json_schema(record: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a local schema record; a field that is not ``required`` is optional."""
    fields = cast("Sequence[Mapping[str, Any]]", record["fields"])
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {field["name"]: _property(field["fieldType"]) for field in fields},
        "required": [field["name"] for field in fields if not field.get("optional")],
        ORDER: [field["name"] for field in fields],
    }


def from_json_schema(
    json_schema: Mapping[str, Any],
    *,
    name: str,
    version: str,
    description: str | None = None,
) -> dict[str, Any]:
    """The local schema record of a JSON Schema, ours or upstream's.

    A property that says nothing known becomes a field of kind ``local#unknown``: the record can be read,
    no type can be rebuilt from it.

    Raises:
        SchemaError: it is nested too deeply.
    """
    try:
        fields = _fields(json_schema)
    except RecursionError:
        raise SchemaError(f"Schema {name!r} is nested too deeply to be read.", type_name=name) from None
    return {
        "name": name,
        "version": version,
        "fields": fields,
        "description": description,
        "createdAt": None,
    }


def _fields(json_schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    properties = _mapping(json_schema.get("properties"))
    required = [field for field in _list(json_schema.get("required")) if isinstance(field, str)]
    # Upstream gives no order; its list of required fields has kept one.
    order = [field for field in _list(json_schema.get(ORDER)) if isinstance(field, str)] or required
    names = [field for field in dict.fromkeys(order) if field in properties]
    names += [field for field in properties if field not in names]
    fields: list[dict[str, Any]] = []
    for field in names:
        kind = _field_type(properties[field])
        nullable = kind.pop("nullable", False)
        fields.append({"name": field, "fieldType": kind, "optional": bool(nullable) or field not in required})
    return fields


def _property(field_type: Mapping[str, Any]) -> dict[str, Any]:
    kind = _kind(field_type)
    described: dict[str, Any] = {}
    if kind in _SHIMS:
        annotations = {key: field_type[key] for key in _ANNOTATIONS if field_type.get(key) is not None}
        described = {"$ref": _SHIMS[kind], **annotations}
    elif kind == "array":
        items = field_type.get("items")
        described = {"type": "array", **({} if items is None else {"items": _property(items)})}
    elif kind == "primitive":
        known = _JSON_TYPES.get(str(field_type.get("primitive")), {})
        described = {"type": "object"} if field_type.get("holds") == "dict" else dict(known)
    # Only items can be null by themselves. A list of types would be misread upstream.
    return {"anyOf": [described, {"type": "null"}]} if field_type.get("nullable") else described


def _field_type(described: Any) -> dict[str, Any]:
    given = _mapping(described)
    alternatives = _list(given.get("anyOf") or given.get("oneOf"))
    kinds = given.get("type")
    if isinstance(kinds, list):
        alternatives = [{**given, "type": kind} for kind in cast("list[Any]", kinds)]
    if alternatives:
        real = [each for each in alternatives if _mapping(each).get("type") != "null"]
        if len(real) != 1:
            return {"$type": "local#unknown"}
        inner = _field_type(real[0])
        return {**inner, "nullable": True} if len(real) < len(alternatives) else inner
    reference = str(given.get("$ref", "")).lower()
    if reference:
        annotations = {key: given[key] for key in _ANNOTATIONS if given.get(key) is not None}
        return {"$type": f"local#{_referenced(reference)}", **annotations}
    if kinds == "array":
        items = given.get("items")
        return {"$type": "local#array", **({} if items is None else {"items": _field_type(items)})}
    if kinds == "object":
        return {"$type": "local#primitive", "primitive": "str", "holds": "dict"}
    if kinds == "string" and (given.get("format") == "byte" or given.get("contentEncoding") == "base64"):
        return {"$type": "local#primitive", "primitive": "bytes"}
    if isinstance(kinds, str) and kinds in _PRIMITIVES:
        return {"$type": "local#primitive", "primitive": _PRIMITIVES[kinds]}
    return {"$type": "local#unknown"}


def _referenced(reference: str) -> str:
    """The kind that a shim's address names. "safetensors" has "tensor" in it, so it comes before."""
    marks = ("ndarray", "sparse", "structured", "safetensors", "dataframe")
    return next(
        (mark for mark in marks if mark in reference),
        "arrow_tensor" if "tensor" in reference else "unknown",
    )


def _kind(field_type: Mapping[str, Any]) -> str:
    return str(field_type.get("$type", "")).rpartition("#")[2]


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
