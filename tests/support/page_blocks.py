"""The blocks of code of README and docs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block, and the page that it stands on."""

    page: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that it is, where its first line says so."""
        named = re.match(r"# (\.?\w+(?:\.\w+)?)\n", self.text)
        return named[1] if named else None

    @property
    def lines(self) -> list[str]:
        """Its commands, a line each."""
        text = self.text.replace("\\\n", " ")
        return [line for line in text.splitlines() if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """Those of a page, in its order."""
    name = page.relative_to(ROOT).as_posix()
    return [Block(name, language, text) for language, text in _FENCE.findall(page.read_text())]


def prose(page: Path) -> str:
    """What stands between them."""
    return _FENCE.sub("", page.read_text())
