"""What a person sees on a materialisation. No key, password or signed URL is ever in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import dagster as dg

from atdata_core.common.urls import displayed

from .markdown import TEXT, row, shown

if TYPE_CHECKING:
    from atdata_core.promotion.records.summary import Summary
    from atdata_core.promotion.stages.publish import PublishedRecord
    from atdata_core.promotion.stages.schema_stage import PublishedSchema
    from atdata_core.promotion.stages.visibility import Visibility
    from atdata_core.protocols import ShardFacts
    from atdata_core.state.facts import CopiedShards, Inventory

    from .previews import Preview

SHARDS_SHOWN = 100
VIEWER = "https://pdsls.dev/"
"""Shows any public record by its at-uri."""
DESCRIPTION = 1_000
"""Characters of a description that are shown."""
TAGS = 20

_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("bytes", "int"),
        dg.TableColumn("samples", "int"),
        dg.TableColumn("sha256", "string", description="First 16 of 64 digits"),
        dg.TableColumn("known", "string", description="How the digest is known"),
        # Long: what stands behind it is not seen.
        dg.TableColumn("url", "string"),
    ]
)


def of_shards(shards: Sequence[ShardFacts], known: Sequence[str]) -> dict[str, Any]:
    """Totals, and a row per shard; of very many the first."""
    counts = [shard.samples for shard in shards]
    metadata: dict[str, Any] = {
        "shards": len(shards),
        "bytes": sum(shard.size for shard in shards),
        "shard_table": table(
            _COLUMNS,
            [
                {
                    "bytes": shard.size,
                    "samples": shard.samples,
                    "sha256": shard.sha256[:16],
                    "known": how,
                    "url": displayed(shard.url),
                }
                for shard, how in list(zip(shards, known, strict=True))[:SHARDS_SHOWN]
            ],
        ),
    }
    if len(shards) > SHARDS_SHOWN:
        metadata["shard_table_shows"] = f"the first {SHARDS_SHOWN} of {len(shards)} shards"
    if None not in counts:
        metadata["dagster/partition_row_count"] = sum(count for count in counts if count is not None)
    return metadata


def of_fields(schema: Mapping[str, Any], shapes: Mapping[str, str] | None = None) -> dg.TableSchema:
    """The fields of a local schema record as the columns that Dagster shows.

    ``shapes`` are those of arrays in the first samples: a schema seldom says one.
    """
    from atdata_core.samples.described_fields import type_name

    seen = shapes or {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                shown(field["name"]),
                shown(type_name(field["fieldType"])),
                description=f"{seen[field['name']]} in the first samples" if field["name"] in seen else None,
                constraints=dg.TableColumnConstraints(nullable=bool(field.get("optional"))),
            )
            for field in schema["fields"]
        ]
    )


def of_changes(changed: Sequence[str] | None) -> dict[str, Any]:
    """What changed since the last time; None: there was none."""
    return {"changed": "first time" if changed is None else "; ".join(changed) or "nothing"}


def record_link(uri: str, service: str) -> dict[str, Any]:
    """An at-uri; with a link to look at it, where anonymous readers reach the service."""
    metadata: dict[str, Any] = {"at_uri": uri}
    if is_public(service):
        metadata["record"] = dg.MetadataValue.url(viewer(uri))
    return metadata


def viewer(uri: str) -> str:
    """Where people look at a record, by its at-uri."""
    return VIEWER + quote(uri, safe=":/")


def safe(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in which every text is nothing but text; Markdown and links were made so when they were made."""
    return {key: _safe(value) for key, value in metadata.items()}


def table(columns: dg.TableSchema, rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows whose texts are nothing but text."""
    return dg.TableMetadataValue([dg.TableRecord(safe(row)) for row in rows], columns)


def is_public(service: str) -> bool:
    """Whether anonymous readers can reach the URL of a service, as far as its name tells."""
    host = urlsplit(service).hostname or ""
    return (
        "." in host and not host.replace(".", "").isdigit() and not host.endswith((".test", ".local", ".localhost"))
    )


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    return [_safe(each) for each in value] if isinstance(value, list) else value


def of_inventory(found: Inventory, preview: Preview) -> dict[str, Any]:
    """Of ``local_dataset``."""
    return {
        "preview": dg.MetadataValue.md(preview.markdown),
        **of_changes(found.changed),
        "schema": found.schema_ref,
        "dagster/column_schema": of_fields(found.schema, preview.shapes),
        **of_shards(found.shards, found.looks),
        "entry_cid": found.cid,
    }


def of_schema(found: Inventory, published: PublishedSchema, service: str) -> dict[str, Any]:
    """Of ``published_schema``; ``service`` is the URL of the PDS."""
    return {
        **record_link(published.uri, service),
        "change": "created" if published.created else "reused",
        **of_changes(published.changed),
        "dagster/column_schema": of_fields(found.schema),
        "record_cid": published.cid,
        "entry_cid": found.cid,
    }


def of_copies(copies: CopiedShards) -> dict[str, Any]:
    """Of ``copied_shards``."""
    return {
        **of_changes(copies.changed),
        "destination": copies.destination or "where they are",
        "copied": copies.copied,
        "bytes_written": copies.bytes_written,
        **of_shards(copies.shards, copies.proofs),
        "entry_cid": copies.cid,
    }


def of_record(
    record: PublishedRecord, schema_uri: str, copies: CopiedShards, seen: Visibility, service: str
) -> dict[str, Any]:
    """Of ``atmosphere_record``; ``service`` is the URL of the PDS."""
    return {
        "overview": dg.MetadataValue.md(overview(record, schema_uri, copies, seen, service)),
        **record_link(record.uri, service),
        "change": record.change,
        **of_changes(record.changed),
        "schema": schema_uri,
        "label": record.label_uri or record.note or "none",
        "label_change": record.label_change,
        **({"version_label": record.version_label_uri} if record.version_label_uri else {}),
        "readable_anonymously": seen.summary,
        **of_shards(copies.shards, copies.proofs),
        "record_cid": record.cid,
        "entry_cid": copies.cid,
    }


def overview(record: PublishedRecord, schema_uri: str, copies: CopiedShards, seen: Visibility, service: str) -> str:
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
            f"\n**How {'those who have keys' if seen.unreadable else 'anonymous readers'} read it**\n",
            "```python",
            *_code(record.uri, service),
            "```",
        ]
    )


def _rows(record: PublishedRecord, summary: Summary, copies: CopiedShards, seen: Visibility) -> Iterator[str]:
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
    yield row(["readable anonymously", seen.summary], length=DESCRIPTION)
    if record.note:
        yield row(["label", record.note], length=DESCRIPTION)


def _links(record: PublishedRecord, schema_uri: str, service: str) -> Iterator[str]:
    """At-uris of the records; with a link to look at them, where anonymous readers reach the service."""
    for what, uri in (("record", record.uri), ("label", record.label_uri), ("schema", schema_uri)):
        if uri is not None:
            address = shown(uri, "code")
            yield f"| {what} | {f'[{address}]({viewer(uri)})' if is_public(service) else address} |"


def _code(uri: str, service: str) -> Iterator[str]:
    """Three lines of Python, as the README has them; a PDS that nobody else finds has to be named."""
    yield "from atdata.atmosphere import AtmosphereClient, AtmosphereIndex"
    address = "" if is_public(service) else repr(displayed(service))
    yield f"dataset = AtmosphereIndex(AtmosphereClient({address})).open_dataset({uri!r})"
    yield "print(next(iter(dataset.ordered())))"
