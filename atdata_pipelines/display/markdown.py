"""Text from data in Dagster's UI: it stays text, on one line, and no longer than people read.

What the UI makes of text depends on the place. As Markdown, with bare addresses as links, it renders Markdown
metadata, the descriptions of checks' results and those of columns. In the messages of a run's log it makes links
of http addresses. Everywhere else (other metadata, tables, tags, errors, ticks) text is shown as it is.
"""

import re
from collections.abc import Sequence
from typing import Literal

from atdata_core.secrets import masked

Medium = Literal["text", "log", "markdown", "code"]

TEXT = 60
"""Characters of a cell."""

LONGEST = 2_000
"""Characters of any other text."""

_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\U000e0100-\U000e01ef]")
"""Printable characters that nobody sees, beside those that Python does not call printable."""

_SCHEME = re.compile("(https?):(?=//)", re.IGNORECASE)
_PART = re.compile(r"[|`]|[^\s|`]+")
_LINKED = re.compile(r"https?://|www\.|@", re.IGNORECASE)
"""What GFM makes a link or an address of without any brackets, also where it is escaped."""

_AFTER = ".,:;!?"
"""What stands behind an address more often than in it."""

_SYNTAX = re.compile(r"[\\|`*\[\]~$]|&(?=[A-Za-z#])|(?<![^\W_])_|_(?![^\W_])")
_BEGINNING = re.compile(r"^(\d{0,9})([#>+=.)-])")


def shown(text: object, place: Medium = "text", *, length: int = LONGEST) -> str:
    r"""Text of whomever, without secrets, so that it is nothing but text at a place of the UI.

    A character that nobody sees, or that turns others round, is shown as its escape (``\u202e``), a line break as
    a space.

    Args:
        text: Anything; its ``str``.
        place: ``markdown`` and ``code`` (an address, in a cell) are parts of Markdown; ``log`` is a message of a
            run's log, in which ``http://`` is written ``http[:]//``; ``text`` is what the UI shows as it is.
        length: Characters of the text that are shown; what is longer is cut.
    """
    # An escape is longer than its character, so nothing that would be shown is cut here.
    said = short(_visible(masked(str(text))[: length + 1]), length)
    if place == "log":
        return _SCHEME.sub(r"\1[:]", said)
    if place == "code":
        return f"`{said.strip().replace('`', '%60').replace('|', '%7C')}`" if said.strip() else ""
    if place == "markdown":
        return _BEGINNING.sub(r"\1\\\2", _PART.sub(_escaped, said.strip()))
    return said


def whole(text: object) -> str:
    """Text of whomever for a terminal or a pipe: all of it, without secrets, on one line."""
    return _visible(masked(str(text)))


def in_terminal(message: str) -> str:
    """A message of a run's log for a terminal, where addresses stand as they are."""
    return message.replace("[:]//", "://")


def row(cells: Sequence[str], *, length: int = TEXT) -> str:
    """A row of a table; a cell that is longer is cut, a secret in one is masked."""
    return "| " + " | ".join(shown(cell, "markdown", length=length) for cell in cells) + " |"


def short(text: str, length: int = TEXT) -> str:
    """A text, cut where it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _visible(text: str) -> str:
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(
        " "
        if character.isspace()
        else character
        if character.isprintable() and not _UNSEEN.match(character)
        else f"\\x{ord(character):02x}"
        if character.isascii()
        else character.encode("ascii", "backslashreplace").decode()
        for character in text
    )


def _escaped(part: re.Match[str]) -> str:
    """A word of Markdown. One that would become a link is code: backslashes do not keep it from that."""
    if _LINKED.search(part[0]):
        address = part[0].rstrip(_AFTER)
        return f"`{address}`{part[0][len(address) :]}"
    return _SYNTAX.sub(r"\\\g<0>", part[0]).replace("<", "&lt;")
