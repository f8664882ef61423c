"""Sample type <-> local schema record <-> JSON Schema, and the comparison of two schemas.

A local schema record is what upstream's Redis index keeps: ``{name, version, fields: [{name, fieldType,
optional}], description, createdAt}``, and of ours also ``module`` (None for a type that was rebuilt from a
record without). ``fieldType.$type`` is ``local#primitive`` (with ``primitive``), ``local#ndarray`` (with
``dtype``) or ``local#array`` (with ``items``). A type is rebuilt from a record without running any code that
the record could bring.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from ..errors import SchemaError
from .decoding import check_identifier, module_of
from .decoding import decoded as decode
from .json_schema import array_format_versions, from_json_schema, to_json_schema
from .sample_types import SampleField, sample_fields

__all__ = [
    "SchemaRef",
    "array_format_versions",
    "check_names",
    "check_version",
    "compare",
    "decode",
    "describe",
    "fields_digest",
    "fields_of",
    "from_field_list",
    "from_json_schema",
    "full_name",
    "parse_schema_ref",
    "schema_of",
    "schema_ref",
    "schema_ref_of",
    "to_json_schema",
]

SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)

_REF = re.compile(r"(?:local://schemas/|atdata://local/(?:schema|sampleSchema)/)(?P<name>[^@]+)@(?P<version>.+)")

_OWN_REF = "local://schemas/"


class SchemaRef(NamedTuple):
    """A reference to a schema of a local index; ``module`` is None in upstream's newer forms."""

    module: str | None
    name: str
    version: str


def schema_of(sample_type: type, *, version: str = "1.0.0", description: str | None = None) -> dict[str, Any]:
    """The local schema record of a sample type.

    ``description`` None takes the class's docstring, if somebody wrote one.

    Raises:
        SchemaError: a version that is no semantic one, a class without fields or with a name that cannot
            be rebuilt, a field that cannot be described.
    """
    record = describe(sample_type, version=version, description=description)
    if sample_type.__module__ == "__main__":
        name = sample_type.__name__
        warnings.warn(
            f"{name} is defined in __main__, so its schema is called __main__.{name}, which says little to "
            "others and clashes with the next script's. Define it in a module that can be imported.",
            stacklevel=_level_outside(),
        )
    return record


def describe(sample_type: type, *, version: str = "1.0.0", description: str | None = None) -> dict[str, Any]:
    """As ``schema_of``, of a type that is compared and not published: nothing is said about where it is defined."""
    check_version(version)
    name = sample_type.__name__
    record: dict[str, Any] = {
        "name": name,
        "version": version,
        "fields": fields_of(sample_type),
        "description": _docstring(sample_type) if description is None else description,
        "createdAt": datetime.now(UTC).isoformat(),
        "module": module_of(sample_type),
    }
    check_names(record)
    return record


def fields_of(sample_type: type) -> list[dict[str, Any]]:
    """The ``fields`` of a sample type's schema record; raises ``SchemaError`` where one cannot be described."""
    return [
        {"name": each.name, "fieldType": _field_type(each), "optional": each.optional}
        for each in sample_fields(sample_type)
    ]


def fields_digest(record: Mapping[str, Any]) -> str:
    """What the ``fields`` of a schema record are known by, their order included: 128 bits of a SHA-256, in hex."""
    described = [[each["name"], each["fieldType"], bool(each.get("optional"))] for each in record["fields"]]
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def schema_ref_of(sample_type: type, version: str = "1.0.0") -> str:
    """``local://schemas/{module.Class}@{version}``, without a module where ``full_name`` has none."""
    described = {"module": module_of(sample_type), "name": sample_type.__name__}
    return f"{_OWN_REF}{full_name(described)}@{check_version(version)}"


def schema_ref(record: Mapping[str, Any]) -> str:
    """The reference of a local schema record."""
    return f"{_OWN_REF}{full_name(record)}@{record['version']}"


def full_name(record: Mapping[str, Any]) -> str:
    """``module.Class``, or ``Class`` where the module is not known."""
    module = record.get("module")
    return f"{module}.{record['name']}" if module else str(record["name"])


def parse_schema_ref(ref: str) -> SchemaRef:
    """The parts of a reference, in any of the three forms in the field.

    Raises:
        SchemaError: it has none of these forms.
    """
    found = _REF.fullmatch(ref)
    if found is None:
        raise SchemaError(
            f"{ref!r} is no reference to a local schema. It looks like "
            "local://schemas/my_module.MySample@1.0.0, or atdata://local/schema/MySample@1.0.0.",
            ref=ref,
        )
    module, _, name = found["name"].rpartition(".")
    return SchemaRef(module or None, name, found["version"])


def check_version(version: str) -> str:
    """The version itself, if it is a semantic one (1.0.0); else ``SchemaError``."""
    if SEMVER.fullmatch(version) is None or len(version) > 100:
        raise SchemaError(
            f"{version!r} is no semantic version. Use three numbers such as 1.0.0, or 1.0.0-rc.1.",
            version=version,
        )
    return version


def check_names(record: Mapping[str, Any]) -> None:
    """Raises ``SchemaError`` where a class or field has a name that Python cannot give it."""
    name = record.get("name")
    check_identifier(name, "class", str(name))
    fields = cast("Sequence[Mapping[str, Any]]", record["fields"])
    if not fields:
        raise SchemaError(f"{name} has no fields, so it describes no sample. Add one.", type_name=name)
    for each in fields:
        check_identifier(each.get("name"), "field", str(name))


def from_field_list(
    fields: Sequence[Mapping[str, Any]],
    *,
    name: str,
    version: str,
    description: str | None = None,
    created_at: str | None = None,
    module: str | None = None,
) -> dict[str, Any]:
    """A local schema record from a list of fields whose ``$type`` may have any prefix before ``#``.

    Older records of the network (``ac.foundation.dataset.sampleSchema``) have that form.

    Raises:
        SchemaError: a field without a name or without a type, or one that is nested too deeply.
    """
    try:
        described = [_described(each, name) for each in fields]
    except RecursionError:
        raise SchemaError(f"Schema {name!r} is nested too deeply to be read.", type_name=name) from None
    record: dict[str, Any] = {
        "name": name,
        "version": version,
        "fields": described,
        "description": description,
        "createdAt": created_at,
    }
    if module is not None:
        record["module"] = module
    return record


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Names of the fields in which two schema records differ; the order of fields does not count.

    Where one of the two was written by another program (it names no module), what that program may have
    left out or filled in is no difference: upstream calls an array without a dtype float32 in its index,
    and names no dtype at all on the network.
    """
    lenient = not (a.get("module") and b.get("module"))
    left, right = _by_name(a), _by_name(b)
    differing = [name for name in left if name not in right] + [name for name in right if name not in left]
    for name, field in left.items():
        other = right.get(name)
        if other is not None and not (
            bool(field.get("optional")) == bool(other.get("optional"))
            and _same_type(field["fieldType"], other["fieldType"], lenient)
        ):
            differing.append(name)
    return differing


def _level_outside() -> int:
    """The ``stacklevel`` by which a warning of the calling function points at the line outside of this package."""
    package = __name__.partition(".")[0]
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    # The first frame is this function's own, and level 1 is its caller's.
    return level


def _field_type(field: SampleField) -> dict[str, Any]:
    if field.kind == "ndarray":
        return {"$type": "local#ndarray", **({} if field.dtype is None else {"dtype": field.dtype})}
    if field.kind == "list":
        return {
            "$type": "local#array",
            **({} if field.items is None else {"items": _item_type(field.items)}),
        }
    if field.kind == "dict":
        # Upstream has no word for a dict and refuses unknown ones; a value under a primitive passes
        # through it unchanged.
        return {"$type": "local#primitive", "primitive": "str", "holds": "dict"}
    return {"$type": "local#primitive", "primitive": field.kind}


def _item_type(items: SampleField) -> dict[str, Any]:
    kind = _field_type(items)
    return {**kind, "nullable": True} if items.optional else kind


def _docstring(sample_type: type) -> str | None:
    text = sample_type.__doc__
    # A dataclass without a docstring is given its signature as one.
    if not text or text.startswith(f"{sample_type.__name__}("):
        return None
    return text.strip()


def _described(field: Mapping[str, Any], schema: str) -> dict[str, Any]:
    name = field.get("name")
    if not isinstance(name, str):
        raise SchemaError(f"Schema {schema!r} has a field without a name. Publish the schema again.", field=None)
    return {
        "name": name,
        "fieldType": _normalised(field.get("fieldType"), f"{schema}.{name}"),
        "optional": bool(field.get("optional", False)),
    }


def _normalised(field_type: Any, where: str) -> dict[str, Any]:
    if not isinstance(field_type, Mapping):
        raise SchemaError(f"{where} has no type. Publish the schema again.", field=where)
    given = cast("Mapping[str, Any]", field_type)
    kind = str(given.get("$type", "")).rpartition("#")[2] or str(given.get("kind", ""))
    normal = {**given, "$type": f"local#{kind}"}
    normal.pop("kind", None)
    if given.get("items") is not None:
        normal["items"] = _normalised(given["items"], f"{where}[]")
    return normal


def _by_name(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {field["name"]: field for field in record["fields"]}


def _same_type(a: Mapping[str, Any], b: Mapping[str, Any], lenient: bool) -> bool:
    if a == b:
        return True
    if not lenient or a.get("$type") != b.get("$type"):
        return False
    if a["$type"] == "local#ndarray":
        return a.get("dtype") is None or b.get("dtype") is None
    if a["$type"] == "local#array":
        text = {"$type": "local#primitive", "primitive": "str"}
        return _same_type(a.get("items", text), b.get("items", text), lenient)
    return False
