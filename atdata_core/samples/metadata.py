"""Metadata of a dataset <-> msgpack, exactly.

Anything that msgpack holds comes back as it was: floats, bytes, integers from -2**63 to 2**64 - 1, keys
that are no strings, nesting. (Tuples come back as lists, msgpack has one kind of array.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgpack

from ..errors import MetadataError
from ..secrets import holds_secret

MAX_BYTES = 100_000
"""Packed bytes that the published lexicon of an entry leaves for metadata."""

_MAX_DEPTH = 500
_msgpack: Any = msgpack


def pack(metadata: dict[Any, Any]) -> bytes:
    """Metadata as one msgpack map of at most ``MAX_BYTES`` bytes.

    Raises:
        MetadataError: naming the value that msgpack cannot hold and where it is, or the size.
    """
    if not isinstance(metadata, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise MetadataError(f"metadata is {type(metadata).__name__}, not dict. Give a dict or None.")
    try:
        packed: bytes = _msgpack.packb(metadata)
        # What packs need not come back: a tuple as a key returns as a list, which is none.
        unpack(packed)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        path, problem = next(_problems(metadata, "metadata", 0), ("metadata", f"cannot be packed ({error})"))
        raise MetadataError(
            f"{path} {problem}. Metadata may hold None, bool, int, float, str, bytes, lists and dicts.",
            path=path,
        ) from None
    return checked_size(packed)


def checked_size(packed: bytes) -> bytes:
    """Packed metadata; ``MetadataError`` where there are more than ``MAX_BYTES`` bytes of them."""
    if len(packed) > MAX_BYTES:
        raise MetadataError(
            f"metadata takes {len(packed):,} bytes as msgpack, {MAX_BYTES:,} are allowed. "
            "Keep what is larger in a file beside the shards and its URL here.",
            size=len(packed),
        )
    return packed


def unpack(packed: bytes) -> Any:
    """The inverse of ``pack``; reads what other programs packed too.

    Raises:
        MetadataError: the bytes are no msgpack.
    """
    try:
        return _msgpack.unpackb(packed, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise MetadataError(f"metadata of {len(packed):,} bytes is no msgpack: {error}") from error


def refuse_secrets(published: Mapping[str, Any]) -> None:
    """Raise where something that is to be published holds a password, token, key or signed URL.

    Args:
        published: What will be in a record, by the name that the error shall give it.

    Raises:
        MetadataError: naming the value's place, never the value.
    """
    # Nearly none holds any, so they are looked through as one: a list of many thousand words would take minutes.
    if not holds_secret("\n".join(_texts(published))):
        return
    for name, value in published.items():
        for path in _secret_places(value, name):
            raise MetadataError(
                f"{path} holds what looks like a password, token, key or signed URL, and the record would show it "
                "to everybody. Take it out, or name a plain URL instead, and try again.",
                path=path,
            )


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, keys among them."""
    left = [value]
    while left:
        found = left.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, bytes):
            yield found.decode("latin-1")
        elif isinstance(found, Mapping):
            left += [*cast("Mapping[Any, Any]", found), *cast("Mapping[Any, Any]", found).values()]
        elif isinstance(found, list | tuple):
            left += cast("list[Any]", found)


def _secret_places(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for position, (key, item) in enumerate(cast("dict[Any, Any]", value).items()):
            hidden = isinstance(key, str | bytes) and _is_secret(key)
            below = f"{path}[the key number {position}]" if hidden else f"{path}[{str(key)[:40]!r}]"
            if hidden:
                yield below
            yield from _secret_places(item, below)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(cast("list[Any]", value)):
            yield from _secret_places(item, f"{path}[{position}]")
    elif isinstance(value, str | bytes) and _is_secret(value):
        yield path


def _is_secret(value: str | bytes) -> bool:
    return holds_secret(value.decode("latin-1") if isinstance(value, bytes) else value)


def _problems(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Where and why a value cannot be packed, first one first."""
    if depth > _MAX_DEPTH:
        yield f"{path[:40]}...", f"is nested deeper than {_MAX_DEPTH} levels"
    elif isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            if isinstance(key, tuple):
                yield f"{path}[{key!r}]", "has a tuple as its key, which msgpack cannot give back"
            for _, problem in _problems(key, "", 0):
                yield path, f"has a key that {problem}"
            yield from _problems(item, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(cast("list[Any]", value)):
            yield from _problems(item, f"{path}[{position}]", depth + 1)
    else:
        try:
            _msgpack.packb(value)
        except OverflowError:
            yield path, f"is an integer of {value.bit_length()} bits, beyond the 64 of msgpack"
        except UnicodeEncodeError:
            yield path, "is a str that is not valid Unicode"
        except (TypeError, ValueError):
            kind = cast("type[Any]", type(value))
            yield path, f"is of type {kind.__module__}.{kind.__name__}, which msgpack cannot hold"
