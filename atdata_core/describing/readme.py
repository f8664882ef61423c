"""A dataset as a README with a head of YAML, which Hugging Face's pages and tools read as a dataset card."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ..common.citation import doi_address
from ..common.licenses import license_id
from ..common.plurals import number_of
from ..samples.arrays import shape_name
from .bibtex import bibtex, encoded, one_line

if TYPE_CHECKING:
    from .description import DatasetDescription

_SHOWN = 20
"""Shards that stand in the README; the record names all of them."""
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
          (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))  # fmt: skip
_SYNTAX = re.compile(r"[\\`*_{}\[\]()#+.!|<>~&:@=-]")


def readme(description: DatasetDescription) -> str:
    """The README of a dataset; what others wrote stays text in it."""
    return "\n".join(["---", *_head(description), "---", "", *_body(description)])


def _head(description: DatasetDescription) -> list[str]:
    spdx = license_id(description.license)
    named = None if spdx is None or " " in spdx or spdx.startswith("LicenseRef-") else spdx.lower()
    size = next((name for most, name in _SIZES if (description.samples or 0) < most), "n>1B")
    other = {"license_name": spdx or description.license, "license_link": description.license_address}
    said: dict[str, Any] = {
        "pretty_name": description.name,
        "license": named or ("other" if description.license else None),
        **({} if named else other),
        "language": [tag.split("-")[0].lower() for tag in description.language],
        "language_bcp47": list(description.language),
        "tags": ["webdataset", "atproto", *description.keywords],
        "size_categories": None if description.samples is None else [size],
    }
    seen = {key: _seen(value) for key, value in said.items() if value}
    # JSON is YAML where no character is written as two.
    return [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in seen.items() if value]


def _seen(value: str | list[str]) -> str | list[str]:
    """A text, or texts, on one line each, without those of which nobody sees anything."""
    return one_line(value) if isinstance(value, str) else [text for each in value if (text := one_line(each))]


def _body(description: DatasetDescription) -> list[str]:
    rows = {
        "at-uri": f"`{description.uri}`",
        "account": _text(description.handle or description.did),
        "published": "" if description.published is None else _text(description.published.date().isoformat()),
        "version": _text(description.version or ""),
        "license": _link(description.license or "", description.license_address),
        "DOI": _link(description.doi or "", doi_address(description.doi) if description.doi else None),
        "homepage": _link(description.homepage or "", description.homepage),
        "creators": "; ".join(_link(each.name, each.address) for each in description.creators),
    }
    lines = [f"# {_text(description.name)}", "", *_paragraphs(description.summary), "", "| | |", "|---|---|"]
    lines += [f"| {title} | {value} |" for title, value in rows.items() if value]
    lines += ["", "## Load it", "", "```sh", "pip install atdata-core", "```", "", "```python"]
    lines += ["import atdata", "", f"dataset = atdata.load_dataset({description.where!r})", "```", ""]
    if description.fields:
        lines += ["## Fields", "", "| field | type | shape | what it is |", "|---|---|---|---|"]
        for field in description.fields:
            shape = description.shape_of(field)
            optional = ", may be missing" if field.optional else ""
            cells = (field.type + optional, "" if shape is None else shape_name(shape), field.description or "")
            lines.append(f"| {_text(field.name)} | {' | '.join(_text(cell) for cell in cells)} |")
        lines.append("")
    lines += ["## Shards", "", "| file | bytes | SHA-256 |", "|---|---|---|"]
    for shard in description.shards[:_SHOWN]:
        size = "" if shard.size is None else f"{shard.size:,}"
        lines.append(f"| {_link(shard.name, shard.address)} | {size} | `{shard.sha256 or ''}` |")
    if (more := len(description.shards) - _SHOWN) > 0:
        lines += ["", f"And {number_of(more, 'shard')} more, which the record names."]
    if description.citation:
        lines += ["", "## Citation", "", *_paragraphs(description.citation)]
    return [*lines, "", "```bibtex", *bibtex(description).splitlines(), "```", ""]


def _paragraphs(text: str) -> list[str]:
    return [_text(line) for line in text.splitlines()]


def _text(text: str) -> str:
    """Text that stays text in Markdown, on one line."""
    return _SYNTAX.sub(r"\\\g<0>", one_line(text)).replace(r"\<", "&lt;").replace(r"\&", "&amp;")


def _link(text: str, address: str | None) -> str:
    if address is None or not address.startswith(("https://", "http://")):
        return _text(text)
    address = encoded(address, '<>()\\`|"')
    return f"[{_text(text)}](<{address}>)"
