"""A dataset as an entry of a bibliography: ``@misc``, which every style knows."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from .description import DatasetDescription

_LATEX = {
    "\\": r"\textbackslash{}",
    # BibTeX counts braces, also where a backslash stands before one.
    "{": r"\textbraceleft{}",
    "}": r"\textbraceright{}",
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
    names = [name for creator in description.creators if (name := one_line(creator.name))]
    names = names or [_account(description)]
    fields = {
        "author": " and ".join(map(_author, names)),
        "title": f"{{{latex(description.name)}}}",
        "year": year,
        "version": latex(description.version or ""),
        "publisher": latex(_account(description)),
        "doi": encoded(description.doi or "", "{}\\"),
        "url": encoded(description.homepage or "", "{}\\"),
        "note": latex(" ".join(part for part in (description.citation, f"AT Protocol: {description.uri}") if part)),
    }
    rows = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return "\n".join(["@misc{" + _key(names[0], year, description.name) + ",", ",\n".join(rows), "}", ""])


def latex(text: str) -> str:
    """Text as TeX prints it, on one line."""
    return "".join(_LATEX.get(char, char) for char in one_line(text))


def one_line(text: str) -> str:
    """Text on one line, without the characters that nobody sees, and those that turn the direction of others."""
    return " ".join("".join(char for char in text if char.isspace() or not _is_unseen(char)).split())


def encoded(address: str, special: str) -> str:
    """An address with these characters, blanks and what nobody sees percent-encoded, and else as it is."""
    return "".join(
        quote(char, safe="", errors="replace") if char in special or char.isspace() or _is_unseen(char) else char
        for char in address
    )


def _is_unseen(char: str) -> bool:
    # The last two have no place in YAML.
    return unicodedata.category(char) in ("Cc", "Cf", "Cs") or char in "\ufffe\uffff"


def _author(name: str) -> str:
    """In braces: a name stays as it is, whatever it holds; "and" in it makes no second author, "others" no more."""
    return f"{{{latex(name)}}}" if re.search(r"\band\b|^others$|[,{}]", name, re.IGNORECASE) else latex(name)


def _account(description: DatasetDescription) -> str:
    return description.handle or description.did


def _key(author: str, year: str, name: str) -> str:
    plain = unicodedata.normalize("NFKD", f"{author.split()[-1]}-{year}-{name}").encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower() or "dataset"
