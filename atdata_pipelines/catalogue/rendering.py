"""The files of a catalogue, as bytes: the same datasets give the same bytes.

All text is somebody's, and stays text: Jinja escapes what it writes, and ``shown`` makes visible what nobody sees.
A link is one only where its address is plain http(s).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from atdata_core.common.citation import doi_address
from atdata_core.common.plurals import number_of
from atdata_core.describing import FORMATS, DatasetDescription, schema_org

from ..display.markdown import shown
from ..display.progress import size_of
from .places import MARK
from .published_datasets import PublishedDataset, in_order

T = TypeVar("T")

PAGE = 100
"""Datasets of a page of the index."""
FED = 50
"""Datasets of the feed."""
TAGS = 60
"""Tags that the index names: those of most datasets."""
TEXT = 50_000
"""Characters of a text or list on a page; of what is longer the beginning is shown, so that no page is large."""
NEVER = "1970-01-01T00:00:00+00:00"
"""Of a record that tells no time."""

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Site:
    """Whose catalogue it is, and where it will stand: ``url`` has no slash at its end."""

    account: str
    did: str
    url: str | None


def files_of(site: Site, datasets: Sequence[PublishedDataset]) -> Iterator[tuple[str, bytes]]:
    """The files of a catalogue by their paths, in an order in which none is there before what it needs.

    Args:
        site: Whose it is.
        datasets: In the order in which the index names them.
    """
    pages = [_Page(site, each) for each in datasets]
    yield "style.css", (_TEMPLATES / "style.css").read_bytes()
    for page in pages:
        yield from ((picture.path, picture.png) for picture in page.pictures)
    for page in pages:
        told = {"title": page.title, "summary": page.summary, "here": page.dataset.name}
        yield page.path, _render("dataset.html", page.path, site, page=page, **told)
    tagged: dict[str, list[_Page]] = {}
    for page in pages:
        for tag in page.tags:
            tagged.setdefault(tag, []).append(page)
    for tag, some in tagged.items():
        yield from _listing(site, some, tag)
    most = sorted(tagged, key=lambda tag: (-len(tagged[tag]), in_order(tag)))[:TAGS]
    yield from _listing(site, pages, tags={tag: len(tagged[tag]) for tag in sorted(most, key=in_order)})
    newest = sorted(pages, key=lambda page: (page.updated, page.path), reverse=True)
    yield "feed.xml", _render("feed.xml", "feed.xml", site, pages=newest[:FED])
    if site.url is not None:
        yield "sitemap.xml", _render("sitemap.xml", "sitemap.xml", site, pages=pages)


def _listing(
    site: Site, pages: Sequence[_Page], tag: str | None = None, tags: Mapping[str, int] | None = None
) -> Iterator[tuple[str, bytes]]:
    """The index, or that of a tag, in as many files as it needs; the first of them comes last."""
    count = max(1, -(-len(pages) // PAGE))
    paths = [_listing_path(tag, number) for number in range(1, count + 1)]
    of_all = f"Datasets of {site.account}"
    what = of_all if tag is None else f"{shown(tag, length=60)} · {of_all}"
    for number, path in reversed([*enumerate(paths)]):
        told = {
            "title": f"{what}, page {number + 1}" if number else what,
            "here": f"page {number + 1}" if tag is None else tag,
            "summary": f"{number_of(len(pages), 'dataset')}, by name",
            "pages": pages[number * PAGE : (number + 1) * PAGE],
            "paths": paths,
            "tag": tag,
            "tags": {} if number else tags or {},
        }
        yield path, _render("listing.html", path, site, **told)


def _listing_path(tag: str | None, number: int) -> str:
    if tag is None:
        return "index.html" if number == 1 else f"page-{number}.html"
    first = file_of("tags", tag)
    # No tag of its own has such a file: see there.
    return first if number == 1 else f"{first.removesuffix('.html')}.p{number}.html"


def file_of(folder: str, name: str) -> str:
    """The file of a name or tag: no two have the same, also where upper and lower case are one."""
    stem = name
    if not _PLAIN.fullmatch(name):
        plain = unicodedata.normalize("NFKD", name[:200]).encode("ascii", "ignore").decode().lower()
        words = re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-")[:60]
        # A plain name has no dot.
        stem = f"{words or 'other'}.{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return f"{folder}/{stem}.html"


class _Picture(NamedTuple):
    field: str
    path: str
    png: bytes
    width: int
    height: int
    alt: str


class _Fact(NamedTuple):
    """``values`` are texts, each with the address that it leads to, or None."""

    term: str
    values: Sequence[tuple[str, str | None]]


class _Page:
    """A dataset as its own page, and the pages that lead there, tell of it."""

    def __init__(self, site: Site, dataset: PublishedDataset) -> None:
        self.dataset, self.samples, self.about = dataset, dataset.samples, dataset.description
        self.path = file_of("datasets", dataset.name)
        self.title = f"{shown(dataset.name, length=80)} · Datasets of {site.account}"
        self.pictures = [*_pictures(dataset)]
        self.shapes = {} if dataset.samples is None else dataset.samples.shapes
        self.tags: Sequence[str] = ()
        self.facts: Sequence[_Fact] = ()
        self.updated = NEVER
        self.lines: Sequence[str] = ()
        self.load: Sequence[str] = ()
        self.bibtex: Sequence[str] = ()
        self.linked_data: dict[str, Any] | None = None
        about = dataset.description
        if about is not None:
            self.tags = bounded([tag for tag in about.keywords if tag.strip()])
            self.facts = [fact for fact in _facts(about) if fact.values]
            self.updated = about.published.isoformat(timespec="seconds") if about.published else NEVER
            self.lines = [line for line in (about.description or "").splitlines() if line.strip()]
            self.load = _load(about)
            self.bibtex = FORMATS["bibtex"](about).splitlines()
            self.linked_data = _linked_data(about, None if site.url is None else f"{site.url}/{self.path}")
        self.summary = " ".join(self.lines) or f"A dataset that {site.account} has published."
        self.short = "" if about is None else ", ".join(filter(None, _short(about)))


def _pictures(dataset: PublishedDataset) -> Iterator[_Picture]:
    if dataset.samples is None:
        return
    count = number_of(len(dataset.samples.rows), "sample")
    for field, png in dataset.samples.pictures.items():
        path = f"pictures/{hashlib.sha256(png).hexdigest()[:32]}.png"
        # https://www.w3.org/TR/png-3/#11IHDR
        width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
        yield _Picture(field, path, png, width, height, f"{shown(field, length=60)} of {count}, side by side")


def _short(about: DatasetDescription) -> Iterator[str | None]:
    """What the index tells."""
    yield about.license and shown(about.license, length=40)
    yield None if about.samples is None else number_of(about.samples, "sample")
    yield None if about.bytes is None else size_of(about.bytes)
    yield about.published and about.published.date().isoformat()


def _facts(about: DatasetDescription) -> Iterator[_Fact]:
    yield _Fact("License", [(about.license, about.license_address)] if about.license else [])
    yield _Fact("Creators", [(each.name, each.address) for each in about.creators])
    yield _Fact("DOI", [(about.doi, doi_address(about.doi))] if about.doi else [])
    yield _Fact("Homepage", [(about.homepage, about.homepage)] if about.homepage else [])
    yield _Fact("Published", [(about.published.date().isoformat(), None)] if about.published else [])
    yield _Fact("Version", [(about.version, None)] if about.version else [])
    yield _Fact("Samples", [(f"{about.samples:,}", None)] if about.samples is not None else [])
    yield _Fact("Size", [(size_of(about.bytes), None)] if about.bytes is not None else [])
    yield _Fact("Language", [(each, None) for each in about.language])


def _load(about: DatasetDescription) -> list[str]:
    lines = ["import atdata", "", f"ds = atdata.load_dataset({_literal(about.where)})"]
    if about.where != about.uri:
        lines += ["", "# This entry, also when its name stands for a newer one:"]
        lines += [f"ds = atdata.load_dataset({_literal(about.uri)})"]
    return lines


def _linked_data(about: DatasetDescription, url: str | None) -> dict[str, Any]:
    """What search engines read; ``url`` is that of the page, where the dataset has no other."""
    shards = tuple(shard for shard in bounded(about.shards) if is_web(shard.address))
    said = schema_org(replace(about, shards=shards, fields=bounded(about.fields), keywords=bounded(about.keywords)))
    return said if url is None else {"url": url, **said}


def _literal(text: str) -> str:
    """A text as it stands in a program, with double quotes where that is simple."""
    plain = repr(text)
    return plain if plain[0] == '"' or '"' in text else f'"{plain[1:-1]}"'


def bounded(items: Sequence[T]) -> Sequence[T]:
    """The first of them, as far as there is room for their texts."""
    size = 0
    for number, each in enumerate(items):
        size += len(str(each))
        if size > TEXT:
            return items[:number]
    return items


def is_web(url: object) -> bool:
    """Whether an address may be a link: plain http(s), with nothing in it that is secret or that nobody sees."""
    if not isinstance(url, str) or shown(url) != url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _text(value: object) -> object:
    return value if isinstance(value, Markup) else shown(value, length=TEXT)


def _render(template: str, path: str, site: Site, **told: Any) -> bytes:
    root = "../" * path.count("/")
    text = _environment.get_template(template).render(site=site, path=path, root=root, **told)
    return text.encode()


_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    finalize=_text,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_environment.globals |= {"mark": MARK, "never": NEVER, "file_of": file_of}
_environment.filters |= {
    "bounded": bounded,
    "cut": lambda text, length: shown(text, length=length),
    "is_web": is_web,
    "size": size_of,
}
