"""Text from data in Markdown: it stays text, on one line, and no longer than people read."""

import html
import re
from collections.abc import Sequence

from atdata_core.masking import masked

TEXT = 60
"""Characters of a cell."""


def escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", html.escape(text, quote=False))


def row(cells: Sequence[str], *, length: int = TEXT) -> str:
    """A row of a table; a cell that is longer is cut, a secret in one is masked."""
    return "| " + " | ".join(escaped(short(masked(cell), length)) for cell in cells) + " |"


def code(text: str, *, length: int) -> str:
    """A text as code in a cell: an address there is no link, and is shown as it is."""
    plain = "".join(
        character if character.isprintable() and character != "`" else " " for character in masked(text)
    )
    return f"`{short(plain, length).replace('|', '%7C')}`"


def short(text: str, length: int = TEXT) -> str:
    """A text, cut where it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"
