"""In which fields two records differ."""

from __future__ import annotations

from typing import Any, cast

from atdata_core.errors import RecordChangedError


def differing_fields(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of the fields in which two records differ, ``createdAt`` aside, in alphabetical order."""
    names = (one.keys() | other.keys()) - {"createdAt"}
    return sorted(
        name
        for name in names
        if (name in one) != (name in other) or _canonical(one.get(name)) != _canonical(other.get(name))
    )


def changed(did: str, collection: str, rkey: str, fields: list[str]) -> RecordChangedError:
    """The error of a record that is another one than was expected; ``fields`` names what differs, if known."""
    uri = f"at://{did}/{collection}/{rkey}"
    what = f"differs in {', '.join(fields)}" if fields else "is another one than was last seen"
    return RecordChangedError(
        f"The record at {uri} {what}; it was left as it is. Read it and decide: "
        "take it over, or publish under another name.",
        uri=uri,
        fields=fields,
    )


def _canonical(value: Any) -> Any:
    """JSON with one spelling of ``$bytes``: a PDS gives base64 back without its padding."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if fields.keys() == {"$bytes"}:
            return {"$bytes": str(fields["$bytes"]).rstrip("=")}
        return {key: _canonical(item) for key, item in fields.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in cast("list[Any]", value)]
    return value
