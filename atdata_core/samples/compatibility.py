"""Two schema records compared: the fields in which they differ, and whether one may follow the other.

What is compatible is what a reader of the new version bears: a new field that may be absent, a field that may now
be absent, a dimension or dtype that is fixed no more. Removed fields count as breaking too, because programs name
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ..errors import SchemaConflictError
from .arrays import shape_name
from .schema import SEMVER, full_name


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


def breaking_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What the later of two schema records breaks, a few words for each field, in the order of the fields."""
    before, after = _by_name(old), _by_name(new)
    found: list[str] = []
    for name, field in before.items():
        if name not in after:
            found.append(f"{name} was removed")
            continue
        if field.get("optional") and not after[name].get("optional"):
            found.append(f"{name} was optional and is required")
        found += [f"{name}{change}" for change in _narrowed(field["fieldType"], after[name]["fieldType"])]
    found += [
        f"{name} is new and required" for name in after if name not in before and not after[name].get("optional")
    ]
    return found


def version_order(version: str) -> tuple[Any, ...] | None:
    """By this, versions sort as https://semver.org/#spec-item-11 asks; None for one that is no semantic version."""
    if SEMVER.fullmatch(version) is None:
        return None
    numbers, _, pre = version.partition("+")[0].partition("-")
    # Identifiers of digits come before others and by their value; a version without any comes after all with some.
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else []
    return (*map(int, numbers.split(".")), not pre, *parts)


def newest_with_fields(
    wanted: Mapping[str, Any], published: Iterable[Mapping[str, Any]], *, where: str
) -> Mapping[str, Any] | None:
    """The newest version of a class that has the fields of a sample type; None where there is no version of it.

    Args:
        wanted: Local schema record of the sample type.
        published: Those of the class; what has no semantic version is passed over.
        where: Who has them, for the error.

    Raises:
        SchemaConflictError: There are versions, all with other fields; it names the call that publishes one.
    """
    versions = {str(each["version"]): each for each in published}
    ordered = sorted((order, version) for version in versions if (order := version_order(version)) is not None)
    newest_first = [version for _, version in reversed(ordered)]
    for version in newest_first:
        if not compare(wanted, versions[version]):
            return versions[version]
    if not newest_first:
        return None
    name, newest = full_name(wanted), newest_first[0]
    differing, free = compare(wanted, versions[newest]), _next(versions[newest], wanted)
    raise SchemaConflictError(
        f"{where} {name} with other fields only, in version {', '.join(reversed(newest_first))}: "
        f"{', '.join(differing)} differ from {newest}. Publish this class under a version of its own and try "
        f'again: index.publish_schema({wanted["name"]}, version="{free}").',
        name=name,
        version=newest,
        versions=newest_first[::-1],
        fields=differing,
        type_name=name,
    )


def may_break(old: str, new: str) -> bool:
    """Whether the numbers of two semantic versions say that the later one may break with the earlier one.

    Another major version says so; major version 0 promises nothing.
    """
    return old.partition(".")[0] != new.partition(".")[0] or new.startswith("0.")


def next_major(version: str) -> str:
    """The version under which a breaking change may be published."""
    return f"{int(version.partition('.')[0]) + 1}.0.0"


def _next(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """A version for a schema that comes after another: a major one where it breaks with that."""
    major, minor, _ = str(old["version"]).split(".", 2)
    return next_major(major) if breaking_changes(old, new) and major != "0" else f"{major}.{int(minor) + 1}.0"


def _narrowed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """How a type bears less than before; each begins behind the name of the field."""
    before, after = _kinds(old), _kinds(new)
    if not set(before) <= set(after):
        return [f" was {' | '.join(before)} and is {' | '.join(after)}"]
    found: list[str] = []
    gone = [each for each in _values(old) if each not in _values(new)]
    if _values(new) and (gone or not _values(old)):
        found.append(
            f" could be {gone[0][1]!r} and cannot any more" if gone else " could have any value and is bound"
        )
    if new.get("dtype") not in (None, old.get("dtype")):
        found.append(f" had the dtype {old.get('dtype') or 'any'} and has {new['dtype']}")
    if not _fits(old.get("shape"), new.get("shape")):
        found.append(f" had the shape {_shape(old.get('shape'))} and has {_shape(new.get('shape'))}")
    inner: Any = old.get("items"), new.get("items")
    if inner[1] is not None:
        if inner[0] is None:
            return [*found, " held items of any type and is bound to one"]
        if inner[0].get("nullable") and not inner[1].get("nullable"):
            found.append("[] could be null and cannot any more")
        found += [f"[]{change}" for change in _narrowed(*inner)]
    return found


def _kinds(field_type: Mapping[str, Any]) -> list[str]:
    """The types that values may have, without what describes them closer."""
    holds = field_type.get("holds")
    if isinstance(holds, list):
        return list(map(str, cast("list[Any]", holds)))
    kind = str(holds or field_type.get("primitive") or field_type.get("$type", "unknown"))
    return [kind.rpartition("#")[2]]


def _values(field_type: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The values that are allowed, each with its type: True is 1. None is any value of the type."""
    return [(type(each).__name__, each) for each in cast("Sequence[Any]", field_type.get("enum") or ())]


def _fits(old: Any, new: Any) -> bool:
    """Whether every array of one shape is of the other; None is any shape, in a shape any length."""
    if new is None:
        return True
    if not isinstance(old, list) or not isinstance(new, list):
        return old == new
    pairs = list(zip(cast("list[Any]", old), cast("list[Any]", new), strict=False))
    return len(cast("list[Any]", old)) == len(cast("list[Any]", new)) and all(b in (None, a) for a, b in pairs)


def _shape(shape: Any) -> str:
    return shape_name(cast("list[Any]", shape)) if isinstance(shape, list) else "any"


def _same_type(a: Mapping[str, Any], b: Mapping[str, Any], lenient: bool) -> bool:
    if a == b or ("enum" in a and "enum" in b and _without_order(a) == _without_order(b)):
        return True
    if a.get("items") and b.get("items") and _same_type(a["items"], b["items"], lenient):
        return {**a, "items": None} == {**b, "items": None}
    if not lenient or a.get("$type") != b.get("$type"):
        return False
    if a["$type"] == "local#ndarray":
        return a.get("dtype") is None or b.get("dtype") is None
    if a["$type"] == "local#array":
        text = {"$type": "local#primitive", "primitive": "str"}
        return _same_type(a.get("items", text), b.get("items", text), lenient)
    return False


def _without_order(field_type: Mapping[str, Any]) -> dict[str, Any]:
    return {**field_type, "enum": sorted(_values(field_type), key=repr)}


def _by_name(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {field["name"]: field for field in cast("Sequence[Mapping[str, Any]]", record["fields"])}
