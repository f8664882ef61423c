"""What Dagster's UI makes of Markdown and of the messages of a run's log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from markdown_it import MarkdownIt

_LITERALS = re.compile(
    # mdast-util-gfm-autolink-literal 2, which looks at text whose escapes are resolved.
    r"(?:(?<=^)|(?<=[^\w]))(?:(?:https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+(?:\.[-\w]+)+)",
    re.IGNORECASE,
)
# The expression of Dagster's autolinking.ts, which begins so.
_LOGGED = re.compile(r"https?://", re.IGNORECASE)
_HARMLESS = {"text", "inline", "code_inline", "fence"}


def _tokens(markdown: str) -> Iterator[Any]:
    def walk(tokens: Sequence[Any]) -> Iterator[Any]:
        for token in tokens:
            yield token
            yield from walk(token.children or [])

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    yield from walk(parser.parse(markdown))


def made_of_markdown(markdown: str) -> list[str]:
    """What becomes of Markdown beside text: kinds of elements, targets of links and pictures that are no data."""
    found: list[str] = []
    for token in _tokens(markdown):
        if token.type == "text":
            found += [f"link {literal}" for literal in _LITERALS.findall(token.content)]
        elif token.type == "image" and token.attrs["src"].startswith("data:image/png;base64,"):
            continue
        elif token.type in ("image", "link_open"):
            found.append(f"{token.type} {token.attrs.get('src') or token.attrs.get('href')}")
        elif token.type not in _HARMLESS:
            found.append(token.type)
    return found


def linked_in_log(message: str) -> list[str]:
    """What becomes a link in a message of a run's log."""
    return _LOGGED.findall(message)
