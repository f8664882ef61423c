"""Sample type <-> local schema record.

A local schema record is what upstream's Redis index keeps: ``{name, version, fields: [{name, fieldType,
optional}], description, createdAt}``, and of ours also ``module`` (None for a type that was rebuilt from a
record without). ``fieldType.$type`` is ``local#primitive`` (with ``primitive``), ``local#ndarray`` (with
``dtype``) or ``local#array`` (with ``items``). What upstream has no word for passes through it under a primitive:
``holds`` is then ``"dict"`` or the list of primitives that a value may be, ``enum`` the values that are allowed.
A field for which there is no word at all is ``local#unknown``, with its ``annotation``; it is never published.

Anybody may have written a record, so nothing of it is run: names must be plain identifiers, kinds must be known
ones, and a class is put together from types that stand here.
"""

from __future__ import annotations

import copyreg
import hashlib
import inspect
import json
import keyword
import re
import types
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Union, cast
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ..errors import SchemaError
from .field_types import PLAIN_TYPES, UNDESCRIBED, SampleField
from .sample_types import PackableSample, sample_fields

SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)

_REF = re.compile(r"(?:local://schemas/|atdata://local/(?:schema|sampleSchema)/)(?P<name>[^@]+)@(?P<version>.+)")

BINARY_KINDS = ("sparse", "arrow_tensor", "safetensors", "dataframe")
"""Kinds of upstream that are kept as bytes in their own formats; they are read as bytes."""
_DTYPE = re.compile(r"[<>=|]?[a-zA-Z_]+[0-9]*(\[[a-zA-Z0-9]+\])?", re.ASCII)
_ENUM_TYPES = (str, int, bool)
"""Of the values of a Literal, the types that a schema can name."""
MOST_FIELDS = 1_000
_made: WeakValueDictionary[str, type] = WeakValueDictionary()
"""The types that are in use: schemas of others are as many and as large as they like."""
_UNKNOWN = {"primitive": "Unknown primitive type", "ref": "Schema references are not yet supported"}
_RESERVED = frozenset(name for name in vars(PackableSample) if not name.startswith("__"))


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
    for each in sample_fields(sample_type):
        _refuse_undescribed(each, sample_type.__name__)
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
    if SEMVER.fullmatch(version) is None or len(version) > 100:
        raise SchemaError(
            f"{version!r} is no semantic version. Use three numbers such as 1.0.0, or 1.0.0-rc.1.",
            version=version,
        )
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


def _refuse_undescribed(field: SampleField, type_name: str) -> None:
    if field.items is not None:
        _refuse_undescribed(field.items, type_name)
    if _has_no_word(field):
        raise SchemaError(
            f"{type_name}.{field.name} is annotated {_shown(field.annotation)}, for which a schema has no word: "
            "such samples can be packed and read, but not published. Use str, int, float, bool, bytes, unions of "
            "these, Literal[...] of str, int and bool, list[...], dict or NDArray, each also as 'X | None'.",
            type_name=type_name,
            field=field.name,
        )


def _has_no_word(field: SampleField) -> bool:
    """Whether a schema cannot describe a field. JSON has no bytes, and the network's has no floats."""
    return field.kind in UNDESCRIBED or not all(type(each) in _ENUM_TYPES for each in field.values)


def _shown(annotation: Any) -> str:
    return annotation.__name__ if type(annotation) is type else str(annotation)


def fields_of(sample_type: type) -> list[dict[str, Any]]:
    """The ``fields`` of a sample type's schema record."""
    return [
        {"name": each.name, "fieldType": _field_type(each), "optional": each.optional}
        for each in sample_fields(sample_type)
    ]


_REBUILT = "name", "version", "module", "fields", "description"
"""Parts of a schema record that a type is rebuilt from; another version is another type."""


def decode(record: Mapping[str, Any], *, anew: bool = False) -> type:
    """The sample type of a local schema record, its description as docstring.

    The same type for the same record, unless it is made ``anew``.

    Raises:
        SchemaError: a name or a kind that cannot be rebuilt.
    """
    fields: Any = record.get("fields")
    if not isinstance(fields, list):
        raise SchemaError(f"{_called(record)} has no list of fields. Publish it again.")
    count = len(cast("list[Any]", fields))
    if count > MOST_FIELDS:
        raise SchemaError(
            f"{_called(record)} has {count:,} fields; {MOST_FIELDS:,} are the most. Use a dict field."
        )
    try:
        canonical = json.dumps({part: record.get(part) for part in _REBUILT})
        return _make(canonical) if anew else _decoded(canonical)
    except SchemaError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise SchemaError(f"{_called(record)} cannot be rebuilt: {error}. Publish it again.") from None


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
    return {
        "name": name,
        "version": version,
        "fields": described,
        "description": description,
        "createdAt": created_at,
        **({} if module is None else {"module": module}),
    }


def check_names(record: Mapping[str, Any]) -> None:
    """Raises ``SchemaError`` where a class or field has a name that Python cannot give it."""
    name = record.get("name")
    check_identifier(name, "class", str(name))
    fields = cast("Sequence[Mapping[str, Any]]", record["fields"])
    if not fields:
        raise SchemaError(
            f"{name} has no fields. It must have at least one field to describe a sample: add one.", type_name=name
        )
    for each in fields:
        check_identifier(each.get("name"), "field", str(name))


def check_identifier(name: object, what: str, schema: str) -> str:
    """The name, if Python can give it to a class or field; ``what`` is one of these two words.

    Raises:
        SchemaError: it is no identifier, a keyword, a name with two underscores around it, or one that
            sample types use themselves.
    """
    plain = (
        isinstance(name, str)
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and not (name.startswith("__") and name.endswith("__"))
        and unicodedata.normalize("NFKC", name) == name
    )
    if not plain or (what == "field" and name in _RESERVED):
        raise SchemaError(
            f"Schema {schema[:100]!r}: {str(name)[:100]!r} cannot be the name of a {what}. Use a Python "
            f"identifier that is no keyword, has no double underscores and is none of {sorted(_RESERVED)}.",
            type_name=schema,
            field=name,
        )
    return cast(str, name)


def fields_digest(record: Mapping[str, Any]) -> str:
    """What the ``fields`` of a schema record are known by, their order included: 128 bits of a SHA-256, in hex."""
    described = [[each["name"], each["fieldType"], bool(each.get("optional"))] for each in record["fields"]]
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def schema_ref(record: Mapping[str, Any]) -> str:
    """``local://schemas/{module.Class}@{version}``, without a module where ``full_name`` has none."""
    return f"local://schemas/{full_name(record)}@{record['version']}"


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
            f"Invalid schema reference: {ref!r} is no reference to a local schema. It looks like "
            "local://schemas/my_module.MySample@1.0.0, or atdata://local/schema/MySample@1.0.0.",
            ref=ref,
        )
    module, _, name = found["name"].rpartition(".")
    return SchemaRef(module or None, name, found["version"])


def module_of(sample_type: type) -> str | None:
    """The module that a class comes from; None for one rebuilt from a schema that tells none."""
    canonical = vars(sample_type).get("__rebuilt_from__")
    return sample_type.__module__ if canonical is None else json.loads(canonical)["module"]


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
        if field.items is None:
            return {"$type": "local#array"}
        nullable = {"nullable": True} if field.items.optional else {}
        return {"$type": "local#array", "items": {**_field_type(field.items), **nullable}}
    if field.kind == "dict":
        # Upstream has no word for a dict and refuses unknown ones; a value under a primitive passes
        # through it unchanged.
        return {"$type": "local#primitive", "primitive": "str", "holds": "dict"}
    if _has_no_word(field):
        return {"$type": "local#unknown", "annotation": _shown(field.annotation)}
    if field.kind == "choice":
        holds = {"holds": list(field.plain)} if len(field.plain) > 1 else {}
        enum = {"enum": list(field.values)} if field.values else {}
        return {"$type": "local#primitive", "primitive": next(iter(field.plain)), **holds, **enum}
    return {"$type": "local#primitive", "primitive": field.kind}


def _docstring(sample_type: type) -> str | None:
    text = sample_type.__doc__
    # A dataclass without a docstring is given its signature as one.
    if not text or text.startswith(f"{sample_type.__name__}("):
        return None
    return inspect.cleandoc(text)


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
    return _ArrayType(normal) if kind == "ndarray" else normal


class _ArrayType(dict[str, Any]):
    """The type of an array field; one that states no ``dtype`` has upstream's default for who looks it up."""

    def __missing__(self, key: str) -> str:
        if key == "dtype":
            return "float32"
        raise KeyError(key)


class _Rebuilt(type):
    """The type of rebuilt sample types: they pickle as their schema.

    Pickle would look for them by name, and so import the module that somebody else's record names.
    """

    __rebuilt_from__: str


def _reduced(made: _Rebuilt) -> tuple[Any, tuple[str]]:
    return _decoded, (made.__rebuilt_from__,)


copyreg.pickle(_Rebuilt, _reduced)  # pyright: ignore[reportArgumentType, reportUnknownMemberType]


def _decoded(canonical: str) -> type:
    known = _made.get(canonical)
    return known or _made.setdefault(canonical, _make(canonical))


def _make(canonical: str) -> type:
    record = json.loads(canonical)
    if record["name"] is None:
        raise SchemaError("A schema must have a 'name'; None cannot be the name of a class. Publish it again.")
    name = check_identifier(record["name"], "class", str(record["name"]))
    annotations: dict[str, Any] = {}
    defaults: dict[str, None] = {}
    for field in cast("Sequence[Mapping[str, Any]]", record["fields"]):
        if not isinstance(field, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SchemaError(f"Schema {name!r}: {field!r} is no field. Publish it again.", type_name=name)
        called = check_identifier(field.get("name"), "field", name)
        if called in annotations:
            raise SchemaError(
                f"Schema {name!r} has two fields called {called!r}. Publish it again.", type_name=name
            )
        annotation = _annotation(field.get("fieldType"), f"{name}.{called}")
        annotations[called] = annotation
        if field.get("optional"):
            annotations[called], defaults[called] = annotation | None, None
    if not annotations:
        raise SchemaError(
            f"Schema {name!r} has no fields. It must have at least one field to describe a sample.", type_name=name
        )
    body = {
        **defaults,
        "__annotations__": annotations,
        "__module__": _module(record.get("module"), name),
        "__doc__": record["description"] if isinstance(record["description"], str) else None,
        # No field can be called so.
        "__rebuilt_from__": canonical,
    }
    made = types.new_class(name, (PackableSample,), {"metaclass": _Rebuilt}, lambda names: names.update(body))
    return cast("type[Any]", dataclass(eq=False)(made))


def _called(record: Mapping[str, Any]) -> str:
    name = record.get("name")
    return f"Schema {name[:100]!r}" if isinstance(name, str) else "A schema without a name"


def _module(module: object, name: str) -> str:
    """Where the class says that it comes from; only a label, nothing is imported."""
    if module is None:
        return __name__
    for part in str(module).split("."):
        check_identifier("main" if part == "__main__" else part, "class", f"{module}.{name}")
    return str(module)


def _annotation(field_type: Any, where: str) -> Any:
    given: Mapping[str, Any] = cast("Mapping[str, Any]", field_type) if isinstance(field_type, Mapping) else {}
    kind = str(given.get("$type", "")).rpartition("#")[2]
    bare: Any = None
    if kind == "primitive":
        bare = _primitive(given)
    elif kind == "ndarray":
        bare = _array(given.get("dtype"), where)
    elif kind == "structured":
        bare = NDArray[Any]
    elif kind in BINARY_KINDS:
        bare = bytes
    elif kind == "array":
        items = given.get("items")
        bare = list if items is None else list[_annotation(items, f"{where}[]")]
    if bare is None:
        what = _UNKNOWN.get(kind, "Unknown field type kind")
        raise SchemaError(
            f"{what}: {where} is of kind {json.dumps(given)[:200]}, from which no type can be rebuilt. "
            "Read the dataset with the class that it was written with.",
            field=where,
        )
    return bare | None if given.get("nullable") else bare


def _primitive(given: Mapping[str, Any]) -> Any:
    """The type of plain values that is described; None where it is none."""
    holds, enum = given.get("holds"), given.get("enum")
    if isinstance(enum, list):
        values = cast("list[Any]", enum)
        known = values and all(type(each) in _ENUM_TYPES for each in values)
        return cast("Any", Literal)[tuple(values)] if known else None
    if isinstance(holds, list):
        kinds = [PLAIN_TYPES.get(str(each)) for each in cast("list[Any]", holds)]
        return None if not kinds or None in kinds else cast("Any", Union)[tuple(kinds)]
    return dict if holds == "dict" else PLAIN_TYPES.get(str(given.get("primitive")))


def _array(dtype: Any, where: str) -> Any:
    if dtype is None:
        return NDArray[Any]
    if isinstance(dtype, str) and _DTYPE.fullmatch(dtype):
        try:
            return NDArray[np.dtype(dtype).type]
        except TypeError:
            pass
    raise SchemaError(
        f"{where} names {str(dtype)[:100]!r}, which numpy has no dtype for. "
        "Read the dataset with the class that it was written with.",
        field=where,
    )
