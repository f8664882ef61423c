"""Pages as a browser takes them apart: their elements, and what would be wrong with these."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_VOID = {"meta", "link", "img", "br", "hr", "input"}
_ADDRESSES = {"href", "src", "srcset", "action", "data", "formaction", "poster", "content"}


class Element(NamedTuple):
    """An element, and what stands in it as text, that of its children included."""

    tag: str
    attributes: dict[str, str]
    text: list[str]

    def __str__(self) -> str:
        return " ".join("".join(self.text).split())


class WebPage(HTMLParser):
    """``elements`` in their order; a page whose tags do not match is refused."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        element = Element(tag, {name: value or "" for name, value in attrs}, [])
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text.append(data)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements of a kind."""
        return [each for each in self.elements if each.tag == tag and attributes.items() <= each.attributes.items()]

    def one(self, tag: str, **attributes: str) -> Element:
        """The only one of a kind."""
        [found] = self.all(tag, **attributes)
        return found

    @property
    def linked_data(self) -> dict[str, Any]:
        """The JSON-LD in its head."""
        return json.loads("".join(self.one("script", type="application/ld+json").text))

    def dangers(self) -> Iterator[str]:
        """What could run, be fetched from elsewhere, or lead to another place than a page."""
        for tag, attributes, _ in self.elements:
            if tag in ("iframe", "object", "embed", "form", "base", "style", "svg", "video", "audio", "math"):
                yield tag
            if tag == "script" and attributes != {"type": "application/ld+json"}:
                yield f"script {attributes}"
            for name, value in attributes.items():
                if name.startswith("on") or name == "style":
                    yield f"{tag} {name}={value}"
                if name in _ADDRESSES and tag != "meta":
                    scheme = urlsplit(value).scheme
                    if scheme not in ("", "http", "https", "at", "mailto") or (scheme == "" and value[:2] == "//"):
                        yield f"{tag} {name}={value}"
                    fetched = tag in ("img", "script") or attributes.get("rel") == "stylesheet"
                    if fetched and scheme:
                        yield f"{tag} is fetched from {value}"


def page_at(path: Path) -> WebPage:
    """The page in a file."""
    return WebPage(path.read_text("utf-8"))


def broken_links(folder: Path) -> list[str]:
    """Links of the pages in a folder that lead to no file in it."""
    found: list[str] = []
    for path in folder.rglob("*.html"):
        page = page_at(path)
        names = {each.attributes["id"] for each in page.elements if "id" in each.attributes}
        for each in page.elements:
            for name in ("href", "src"):
                value = each.attributes.get(name)
                if value is None or urlsplit(value).scheme:
                    continue
                file, _, fragment = value.partition("#")
                target = (path.parent / file).resolve() if file else path
                inside = target.is_relative_to(folder.resolve())
                if not (inside and target.is_file()) or (fragment and not file and fragment not in names):
                    found.append(f"{path.name}: {value}")
    return found
