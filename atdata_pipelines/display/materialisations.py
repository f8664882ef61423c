"""What a person sees of each stage of a dataset, whether its asset or the bulk job has done it.

Dagster's pages keep the order: what people look for comes first, what only programs compare comes last.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from . import materialisation_metadata
from .overview import overview

if TYPE_CHECKING:
    from atdata_core.promotion.stages.publish import PublishedRecord
    from atdata_core.promotion.stages.schema_stage import PublishedSchema
    from atdata_core.promotion.stages.visibility import Visibility
    from atdata_core.state.facts import CopiedShards, Inventory

    from .previews import Preview


def of_inventory(found: "Inventory", preview: "Preview") -> dict[str, Any]:
    """Of ``local_dataset``."""
    return {
        "preview": dg.MetadataValue.md(preview.markdown),
        **materialisation_metadata.of_changes(found.changed),
        "schema": found.schema_ref,
        "dagster/column_schema": materialisation_metadata.of_fields(found.schema, preview.shapes),
        **materialisation_metadata.of_shards(found.shards, found.looks),
        "entry_cid": found.cid,
    }


def of_schema(found: "Inventory", published: "PublishedSchema", service: str) -> dict[str, Any]:
    """Of ``published_schema``; ``service`` is the URL of the PDS."""
    return {
        **materialisation_metadata.of_record(published.uri, service),
        "change": "created" if published.created else "reused",
        **materialisation_metadata.of_changes(published.changed),
        "dagster/column_schema": materialisation_metadata.of_fields(found.schema),
        "record_cid": published.cid,
        "entry_cid": found.cid,
    }


def of_copies(copies: "CopiedShards") -> dict[str, Any]:
    """Of ``copied_shards``."""
    return {
        **materialisation_metadata.of_changes(copies.changed),
        "destination": copies.destination or "where they are",
        "copied": copies.copied,
        "bytes_written": copies.bytes_written,
        **materialisation_metadata.of_shards(copies.shards, copies.proofs),
        "entry_cid": copies.cid,
    }


def of_record(
    record: "PublishedRecord", schema_uri: str, copies: "CopiedShards", seen: "Visibility", service: str
) -> dict[str, Any]:
    """Of ``atmosphere_record``; ``service`` is the URL of the PDS."""
    return {
        "overview": dg.MetadataValue.md(overview(record, schema_uri, copies, seen, service)),
        **materialisation_metadata.of_record(record.uri, service),
        "change": record.change,
        **materialisation_metadata.of_changes(record.changed),
        "schema": schema_uri,
        "label": record.label_uri or record.note or "none",
        "label_change": record.label_change,
        **({"version_label": record.version_label_uri} if record.version_label_uri else {}),
        "strangers_can_read": seen.summary,
        **materialisation_metadata.of_shards(copies.shards, copies.proofs),
        "record_cid": record.cid,
        "entry_cid": copies.cid,
    }
