"""What a dataset may be called.

A name is at once a partition key in Dagster, the ``name`` of an entry record (200 bytes in the published
lexicon) and a part of the path of its copies. Names that other programs wrote are only read; these rules
hold for names that we are asked to write.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

from ..errors import DatasetNameError

MAX_BYTES = 200
"""UTF-8 bytes of an entry's name in the lexicon ``science.alt.dataset.entry``."""

NEAR = 3
"""Names that an error offers for a misspelt one."""

_LONGEST_FILE = 200
"""Bytes of a file's name; file systems take 255."""

LOCAL = "@local/"
"""What a person may write before the name of a dataset of the lab's index."""

_QUOTED = 250
"""Characters, so that every name that is allowed is quoted whole."""

ALLOWED = (
    f"A name has 1 to {MAX_BYTES} bytes of UTF-8, no control characters, no '...' "
    "and no '.' or '..' between slashes"
)


def check_dataset_name(name: str) -> str:
    """The name itself, if it can be published and be a partition key.

    Raises:
        DatasetNameError: naming what is wrong and what is allowed.
    """
    problem = _problem(name)
    if problem is not None:
        raise DatasetNameError(f"Dataset name {quoted(name)} {problem}. {ALLOWED}.", name=name)
    return name


def is_published(where: str) -> bool:
    """Whether a dataset of the network is meant, ``at://...`` or ``@handle/name``; not so ``@local/name``."""
    return where.startswith(("at://", "@")) and not where.startswith(LOCAL)


def quoted(name: object) -> str:
    """A name or key of whomever in a message: what nobody sees is escaped, and what is very long is cut."""
    return repr(f"{name[:_QUOTED]}..." if isinstance(name, str) and len(name) > _QUOTED else name)


def near(name: str, names: Iterable[str]) -> str:
    """A sentence on what a misspelt name may have meant, with a space before it; empty where nothing is near."""
    found = difflib.get_close_matches(name, names, NEAR, 0.5)
    return f" Near it: {', '.join(found)}." if found else ""


def file_name(name: str) -> str:
    """A name, of whomever, as that of a file in the folder that is meant, and never a hidden one."""
    safe = re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"
    # The end of a long one tells more.
    return safe.encode(errors="replace")[-_LONGEST_FILE:].decode(errors="ignore").lstrip(".") or "_"


def distinct(name: str, number: int, taken: set[str]) -> str:
    """The name of a file among those that are ``taken``, which it joins; a number tells it from a namesake."""
    # Some file systems know no capitals.
    while name.casefold() in taken:
        name = f"{number:06d}-{name}"
    taken.add(name.casefold())
    return name


def _problem(name: object) -> str | None:
    if not isinstance(name, str):
        return f"is {type(name).__name__}, not str"
    if not name.strip():
        return "is empty"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if size > MAX_BYTES:
        return f"is {size} bytes long"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        return "contains a control character"
    if "..." in name:
        return "contains '...', which Dagster reads as a range of partitions"
    if {".", ".."} & set(name.split("/")):
        return "contains '.' or '..' as a part of a path"
    return None
