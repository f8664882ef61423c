"""A dataset as an entry of a bibliography: ``@misc``, which every style knows."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .description import DatasetDescription

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': r"{\textquotedbl}",
    "@": "{@}",
}
"""What means something to TeX, or to a program that looks for the beginning of an entry."""


def bibtex(description: DatasetDescription) -> str:
    """The BibTeX of a dataset, which ends with a line of its own."""
    year = "" if description.published is None else f"{description.published.year:04d}"
    names = [creator.name for creator in description.creators]
    fields = {
        "author": " and ".join(map(_author, names)) or _author(_account(description)),
        "title": f"{{{latex(description.name)}}}",
        "year": year,
        "version": latex(description.version or ""),
        "publisher": latex(_account(description)),
        "doi": latex(description.doi or ""),
        "url": latex(description.homepage or ""),
        "note": latex(" ".join(part for part in (description.citation, f"AT Protocol: {description.uri}") if part)),
    }
    rows = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return "\n".join(["@misc{" + _key(description, year) + ",", ",\n".join(rows), "}", ""])


def latex(text: str) -> str:
    """Text as TeX prints it, on one line."""
    return "".join(_LATEX.get(char, char) for char in one_line(text))


def one_line(text: str) -> str:
    """Text on one line, without the characters that nobody sees, and those that turn the direction of others."""
    seen = (char for char in text if char.isspace() or unicodedata.category(char) not in ("Cc", "Cf", "Cs"))
    return " ".join("".join(seen).split())


def _author(name: str) -> str:
    """In braces: a name stays as it is, whatever it holds, and an "and" in it makes no second author."""
    return f"{{{latex(name)}}}" if re.search(r"\band\b|[,{}]", name) else latex(name)


def _account(description: DatasetDescription) -> str:
    return description.handle or description.did


def _key(description: DatasetDescription, year: str) -> str:
    first = description.creators[0].name.split()[-1] if description.creators else _account(description)
    plain = unicodedata.normalize("NFKD", f"{first}-{year}-{description.name}").encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower() or "dataset"
