"""What a person sees on a materialisation. No key, password or signed URL is ever in it."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import dagster as dg

from atdata_core.common.urls import displayed
from atdata_core.protocols import ShardFacts
from atdata_core.samples.arrays import shape_name

from .markdown import shown

SHARDS_SHOWN = 100
VIEWER = "https://pdsls.dev/"
"""Shows any public record by its at-uri."""

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
    seen = shapes or {}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                shown(field["name"]),
                shown(_type_name(field["fieldType"])),
                description=f"{seen[field['name']]} in the first samples" if field["name"] in seen else None,
                constraints=dg.TableColumnConstraints(nullable=bool(field.get("optional"))),
            )
            for field in schema["fields"]
        ]
    )


def of_changes(changed: Sequence[str] | None) -> dict[str, Any]:
    """What is other than the last time; None: there was none."""
    if changed is None:
        return {"changed": "first time"}
    return {"changed": "; ".join(changed) or "nothing"}


def of_record(uri: str, service: str) -> dict[str, Any]:
    """An at-uri; with a link to look at it, where strangers reach the service."""
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
    """Whether strangers can reach the URL of a service, as far as its name tells."""
    host = urlsplit(service).hostname or ""
    return (
        "." in host and not host.replace(".", "").isdigit() and not host.endswith((".test", ".local", ".localhost"))
    )


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    return [_safe(each) for each in value] if isinstance(value, list) else value


def _type_name(kind: Any) -> str:
    if not isinstance(kind, Mapping):
        return str(kind)
    name = str(kind.get("primitive") or kind.get("$type", "").rpartition("#")[2] or "unknown")
    if isinstance(kind.get("dtype"), str):
        name = f"{name}[{kind['dtype']}]"
    if isinstance(kind.get("shape"), list):
        name = f"{name} {shape_name(kind['shape'])}"
    return f"{name}[{_type_name(kind['items'])}]" if "items" in kind else name
