"""A sample type rebuilt from a schema record that anybody may have written.

Nothing of the record is run: names must be plain identifiers, kinds must be known ones, and the class is
put together from types that stand here.
"""

from __future__ import annotations

import copyreg
import json
import keyword
import re
import types
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ..errors import SchemaError
from .sample_types import PackableSample

BINARY_KINDS = ("sparse", "arrow_tensor", "safetensors", "dataframe")
"""Kinds of upstream that are kept as bytes in their own formats; they are read as bytes."""

_PRIMITIVES: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "bytes": bytes}
_DTYPE = re.compile(r"[<>=|]?[a-zA-Z_]+[0-9]*(\[[a-zA-Z0-9]+\])?", re.ASCII)
MOST_FIELDS = 1_000

_made: WeakValueDictionary[str, type] = WeakValueDictionary()
"""The types that are in use: strangers' schemas are as many and as large as they like."""

_RESERVED = frozenset(name for name in vars(PackableSample) if not name.startswith("__"))


class _Rebuilt(type):
    """The type of rebuilt sample types: they pickle as their schema.

    Pickle would look for them by name, and so import the module that somebody else's record names.
    """

    __rebuilt_from__: str


def _reduced(made: _Rebuilt) -> tuple[Any, tuple[str]]:
    return _decoded, (made.__rebuilt_from__,)


copyreg.pickle(_Rebuilt, _reduced)  # pyright: ignore[reportArgumentType, reportUnknownMemberType]


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


def module_of(sample_type: type) -> str | None:
    """The module that a class comes from; None for one rebuilt from a schema that tells none."""
    canonical = vars(sample_type).get("__rebuilt_from__")
    return sample_type.__module__ if canonical is None else json.loads(canonical)["module"]


def decoded(record: Mapping[str, Any]) -> type:
    """The sample type of a local schema record; the same type for the same record.

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
        return _decoded(json.dumps({part: record.get(part) for part in ("name", "module", "fields")}))
    except SchemaError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise SchemaError(f"{_called(record)} cannot be rebuilt: {error}. Publish it again.") from None


def _called(record: Mapping[str, Any]) -> str:
    name = record.get("name")
    return f"Schema {name[:100]!r}" if isinstance(name, str) else "A schema without a name"


def _decoded(canonical: str) -> type:
    known = _made.get(canonical)
    return known or _made.setdefault(canonical, _make(canonical))


def _make(canonical: str) -> type:
    record = json.loads(canonical)
    name = check_identifier(record["name"], "class", str(record["name"]))
    annotations: dict[str, Any] = {}
    for each in cast("Sequence[Any]", record["fields"]):
        if not isinstance(each, Mapping):
            raise SchemaError(f"Schema {name!r}: {each!r} is no field. Publish it again.", type_name=name)
        field = cast("Mapping[str, Any]", each)
        called = check_identifier(field.get("name"), "field", name)
        if called in annotations:
            raise SchemaError(
                f"Schema {name!r} has two fields called {called!r}. Publish it again.", type_name=name
            )
        annotation = _annotation(field.get("fieldType"), f"{name}.{called}")
        annotations[called] = annotation | None if field.get("optional") else annotation
    if not annotations:
        raise SchemaError(f"Schema {name!r} has no fields, so it describes no sample.", type_name=name)
    body = {
        "__annotations__": annotations,
        "__module__": _module(record.get("module"), name),
        "__doc__": f"Rebuilt from the schema {name}.",
        # No field can be called so.
        "__rebuilt_from__": canonical,
    }
    made = types.new_class(name, (PackableSample,), {"metaclass": _Rebuilt}, lambda names: names.update(body))
    return cast("type[Any]", dataclass(eq=False)(made))


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
        bare = dict if given.get("holds") == "dict" else _PRIMITIVES.get(str(given.get("primitive")))
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
        raise SchemaError(
            f"{where} is of kind {json.dumps(given)[:200]}, from which no type can be rebuilt. "
            "Read the dataset with the class that it was written with.",
            field=where,
        )
    return bare | None if given.get("nullable") else bare


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
