"""Local schema record <-> JSON Schema (draft 07), as records of the network hold it.

The published shims describe arrays: a field is one where its ``$ref`` names such a shim, with ``dtype``
(and upstream's ``shape`` and ``dimensionNames``) beside it. A PDS reorders the keys of ``properties``, so
the order of the fields stands in ``x-atdata-order``, which validators ignore.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..errors import SchemaError
from .described_fields import field_descriptions

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
_NAMES: dict[Any, str] = {str: "str", int: "int", bool: "bool"}
"""Of the types whose values an ``enum`` may name."""
_PRIMITIVES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


def to_json_schema(record: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a local schema record; a field that is not ``required`` is optional.

    Each field has what the docstring of the class says of it as its ``description``.
    """
    fields = cast("Sequence[Mapping[str, Any]]", record["fields"])
    said = {name: {"description": text} for name, text in field_descriptions(record).items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            field["name"]: {**_property(field["fieldType"]), **said.get(field["name"], {})} for field in fields
        },
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
        said = _mapping(properties[field]).get("description")
        fields.append(
            {
                "name": field,
                "fieldType": kind,
                "optional": bool(nullable) or field not in required,
                **({"description": said} if isinstance(said, str) and said else {}),
            }
        )
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
        described = _plain(field_type)
    # Only items can be null by themselves. A list of types would be misread upstream.
    return {"anyOf": [described, {"type": "null"}]} if field_type.get("nullable") else described


def _plain(field_type: Mapping[str, Any]) -> dict[str, Any]:
    holds = field_type.get("holds")
    if holds == "dict":
        return {"type": "object"}
    kinds = [dict(_JSON_TYPES.get(str(kind), {})) for kind in _list(holds) or [field_type.get("primitive")]]
    if field_type.get("enum"):
        return {**(kinds[0] if len(kinds) == 1 else {}), "enum": _list(field_type["enum"])}
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _enumerated(values: Sequence[Any]) -> dict[str, Any] | None:
    """What a list of allowed values says; None where a plain type alone says all that is understood of it."""
    real = [each for each in values if each is not None]
    kinds = [_NAMES.get(type(each)) for each in real]
    if not real or None in kinds:
        return None
    # In one order, as a sample type has them.
    held = [kind for kind in _JSON_TYPES if kind in kinds]
    return {
        "$type": "local#primitive",
        "primitive": held[0],
        **({"holds": held} if len(held) > 1 else {}),
        "enum": real,
        **({"nullable": True} if len(real) < len(values) else {}),
    }


def _union(alternatives: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One type for several; only plain ones can stand side by side."""
    kinds = {kind for each in alternatives for kind in _list(each.get("holds")) or [each.get("primitive")]}
    if not kinds <= _JSON_TYPES.keys() or any(
        "enum" in each or each.get("holds") == "dict" for each in alternatives
    ):
        return {"$type": "local#unknown"}
    held = [kind for kind in _JSON_TYPES if kind in kinds]
    holds = {"holds": held} if len(held) > 1 else {}
    return {"$type": "local#primitive", "primitive": held[0], **holds}


def _field_type(described: Any) -> dict[str, Any]:
    given = _mapping(described)
    enumerated = _enumerated(_list(given.get("enum")))
    if enumerated is not None:
        return enumerated
    alternatives = _list(given.get("anyOf") or given.get("oneOf"))
    kinds = given.get("type")
    if isinstance(kinds, list):
        alternatives = [{**given, "type": kind} for kind in cast("list[Any]", kinds)]
    if alternatives:
        real = [each for each in alternatives if _mapping(each).get("type") != "null"]
        kinds = list(map(_field_type, real))
        inner = kinds[0] if len(kinds) == 1 else _union(kinds)
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
