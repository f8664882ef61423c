"""A published dataset on one panel: what it is, how large, where it lies, and how strangers read it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from atdata_core.common.urls import displayed

from .markdown import TEXT, row, shown
from .materialisation_metadata import is_public, viewer

if TYPE_CHECKING:
    from atdata_core.promotion.records.summary import Summary
    from atdata_core.promotion.stages.publish import PublishedRecord
    from atdata_core.promotion.stages.visibility import Visibility
    from atdata_core.state.facts import CopiedShards

DESCRIPTION = 1_000
"""Characters of a description that are shown."""
TAGS = 20


def overview(
    record: "PublishedRecord", schema_uri: str, copies: "CopiedShards", seen: "Visibility", service: str
) -> str:
    """Of the record as it stands, as Markdown; ``service`` is the URL of the PDS."""
    if record.summary is None:
        return shown(record.note or "There is no record yet.", "markdown")
    rows = [*_rows(record, record.summary, copies, seen), *_links(record, schema_uri, service)]
    return "\n".join(
        [
            f"### {shown(record.summary.name or '', 'markdown', length=TEXT)}\n",
            "| | |",
            "| --- | --- |",
            *rows,
            f"\n**How {_readers(seen)} read it**\n",
            "```python",
            *_code(record.uri, service),
            "```",
        ]
    )


def _rows(
    record: "PublishedRecord", summary: "Summary", copies: "CopiedShards", seen: "Visibility"
) -> Iterator[str]:
    if summary.description:
        yield row(["what", summary.description], length=DESCRIPTION)
    if summary.tags:
        more = len(summary.tags) - TAGS
        yield row(
            ["tags", ", ".join(summary.tags[:TAGS]) + (f" and {more} more" if more > 0 else "")], length=DESCRIPTION
        )
    yield row(["license", summary.license or "none is given"])
    if summary.samples is not None:
        yield row(["samples", f"{summary.samples:,}"])
    size = sum(shard.size for shard in copies.shards)
    shards = len(copies.shards)
    yield row(["size", f"{size:,} bytes in {shards:,} shard{'' if shards == 1 else 's'}"])
    if summary.place is not None:
        yield f"| shards lie at | {shown(summary.place, 'code', length=DESCRIPTION)} |"
    copied = "none, the shards stay where they are"
    if copies.destination is not None:
        copied = shown(copies.destination, "code", length=DESCRIPTION)
    yield f"| copies | {copied} |"
    yield row(["strangers can read", seen.summary], length=DESCRIPTION)
    if record.note:
        yield row(["label", record.note], length=DESCRIPTION)


def _links(record: "PublishedRecord", schema_uri: str, service: str) -> Iterator[str]:
    """At-uris of the records; with a link to look at them, where strangers reach the service."""
    for what, uri in (("record", record.uri), ("label", record.label_uri), ("schema", schema_uri)):
        if uri is not None:
            address = shown(uri, "code")
            yield f"| {what} | {f'[{address}]({viewer(uri)})' if is_public(service) else address} |"


def _readers(seen: "Visibility") -> str:
    return "those who have keys" if seen.unreadable else "strangers"


def _code(uri: str, service: str) -> Iterator[str]:
    """Three lines of Python; a PDS that nobody else finds has to be named."""
    yield "from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex"
    address = "" if is_public(service) else repr(displayed(service))
    yield f"dataset = AtmosphereIndex(AtmosphereClient({address})).open_dataset({uri!r})"
    yield "print(next(iter(dataset.ordered())))"
