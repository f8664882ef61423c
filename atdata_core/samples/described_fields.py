"""The fields of a schema as people read them: their types in words, and what a docstring says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import docstring_parser

from .arrays import shape_name

_LONGEST = 20_000
"""Characters of a docstring, of whomever, that are looked through."""


@dataclass(frozen=True, slots=True)
class DescribedField:
    """A field of a schema.

    Attributes:
        name: As the sample type has it.
        type: For people: ``str``, ``array[float]``, ``ndarray[uint8] 32×32×3``.
        field_type: As the schema record describes it.
        optional: Whether it may be None.
        description: What the docstring, or the published schema, says of it; None where that is nothing.
        dtype: Of an array, where the schema names one.
        shape: Of an array, where the schema names one: lengths, None for any.
    """

    name: str
    type: str
    field_type: Mapping[str, Any]
    optional: bool
    description: str | None = None
    dtype: str | None = None
    shape: tuple[int | None, ...] | None = None


def described_fields(schema: Mapping[str, Any]) -> tuple[DescribedField, ...]:
    """The fields of a schema record in the form of the local index, in order."""
    said = field_descriptions(schema)
    return tuple(
        _described(field, said.get(field["name"]))
        for field in cast("Sequence[Mapping[str, Any]]", schema.get("fields") or ())
    )


def field_descriptions(schema: Mapping[str, Any]) -> dict[str, str]:
    """What is said of the fields of a schema record, by their names.

    A published schema may say it field by field; else the docstring of the class does, under ``Attributes:``,
    ``Args:`` or ``Parameters``, in the style of Google, NumPy or reST.
    """
    fields = cast("Sequence[Mapping[str, Any]]", schema.get("fields") or ())
    names = {str(field.get("name")) for field in fields}
    text = schema.get("description")
    found: dict[str, str] = {}
    if isinstance(text, str):
        try:
            parts = docstring_parser.parse(text[:_LONGEST]).params
        except docstring_parser.ParseError:
            parts = []
        for part in parts:
            # "label (int)" where a type stands beside the name of an attribute.
            name = part.arg_name.split(" ")[0]
            if name in names and part.description:
                found[name] = " ".join(part.description.split())
    own = {str(field.get("name")): field.get("description") for field in fields}
    return {**found, **{name: said for name, said in own.items() if isinstance(said, str) and said}}


def type_name(kind: Any) -> str:
    """The type of a field of a schema record, for people: ``ndarray[uint8] 32×32×3``."""
    if not isinstance(kind, Mapping):
        return str(kind)
    given = cast("Mapping[str, Any]", kind)
    name = str(given.get("primitive") or str(given.get("$type", "")).rpartition("#")[2] or "unknown")
    holds, shape = given.get("holds"), _shape(given)
    if isinstance(holds, list):
        name = " | ".join(map(str, cast("list[Any]", holds)))
    if isinstance(given.get("dtype"), str):
        name = f"{name}[{given['dtype']}]"
    if shape is not None:
        name = f"{name} {shape_name(shape)}"
    return f"{name}[{type_name(given['items'])}]" if "items" in given else name


def _described(field: Mapping[str, Any], said: str | None) -> DescribedField:
    kind: Any = field.get("fieldType")
    given: Mapping[str, Any] = cast("Mapping[str, Any]", kind) if isinstance(kind, Mapping) else {}
    dtype = given.get("dtype")
    return DescribedField(
        str(field["name"]),
        type_name(given),
        given,
        bool(field.get("optional")),
        said,
        dtype if isinstance(dtype, str) else None,
        _shape(given),
    )


def _shape(given: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    shape: Any = given.get("shape")
    if not isinstance(shape, list):
        return None
    return tuple(length if type(length) is int else None for length in cast("list[Any]", shape))
