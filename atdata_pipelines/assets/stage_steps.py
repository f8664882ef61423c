"""What the stages of a promotion do, each with what it says in the log and on its asset.

Definitions load without this module: all that a promotion needs is imported with the first step of a run.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from atdata_core.atmosphere.receipt import receipt_of
from atdata_core.common.plurals import number_of
from atdata_core.promotion.copies.chunks import Chunk
from atdata_core.promotion.prepare import validate
from atdata_core.promotion.stages import copy_stage, publish, schema_stage, visibility

from ..config.settings import Settings
from ..display import materialisation_metadata
from ..display.markdown import shown
from ..display.previews import preview_of
from .check_results import evaluation_of, seen_in_passing, warnings_of
from .checks import PUBLISHED_TRUE
from .stage_context import progress_of, result_of, stage_context_of


def share_out(context: dg.AssetExecutionContext, settings: Settings) -> Iterator[dg.DynamicOutput[None]]:
    """What ``share_out`` does."""
    with stage_context_of(context, settings) as stage:
        found = stage.known_inventory(progress_of(context, "looked at"))
        chunks = copy_stage.chunks_to_copy(found, stage.ledger, stage.store)
    for chunk in chunks:
        yield dg.DynamicOutput(None, mapping_key=f"shards_{chunk.start + 1}_to_{chunk.stop}")


def copy_chunk(context: dg.AssetExecutionContext, settings: Settings) -> None:
    """What ``copy_chunk`` does."""
    _, first, _, last = str(context.op_execution_context.get_mapping_key()).split("_")
    with stage_context_of(context, settings) as stage:
        stage.copy_chunk(Chunk(int(first) - 1, int(last)), context.log.info)


def see_copies(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """What ``see_copies`` does."""
    with stage_context_of(context, settings) as stage:
        copies = stage.copy_shards(progress_of(context, "at their destination"))
        said = "shards stay where they are" if len(copies.shards) > 1 else "its shard stays where it is"
        if copies.destination is not None:
            said = f"{copies.copied:,} of {number_of(len(copies.shards), 'shard')} copied to {copies.destination}"
        context.log.info(shown(said, "log"))
    return result_of(copies.cid, materialisation_metadata.of_copies(copies))


def local_dataset(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """What ``local_dataset`` does."""
    with stage_context_of(context, settings) as stage:
        settings.hooks.before_promotion(context, stage.entry)
        found = stage.take_inventory(progress_of(context, "looked at"))
        for warning in found.warnings:
            context.log.warning(shown(warning, "log"))
        preview = preview_of(stage.entry, stage.index, found, stage.store)
        counts = [number_of(len(found.shards), "shard"), number_of(found.size, "byte")]
        counts.append("samples not counted" if found.samples is None else number_of(found.samples, "sample"))
        context.log.info(", ".join(counts))
    return result_of(found.cid, materialisation_metadata.of_inventory(found, preview))


def published_schema(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """What ``published_schema`` does."""
    with stage_context_of(context, settings) as stage:
        found = stage.known_inventory(progress_of(context, "looked at"))
        client, options = stage.logged_in(), stage.options
        resolved = stage.resolve()
        validate(found, resolved, client)
        publish.begin_publishing(resolved)
        with publish.dropping_refused(resolved):
            published = schema_stage.publish_schema_of(found, client, stage.ledger, options)
        context.log.info(shown(f"{'created' if published.created else 'reused'} {published.uri}", "log"))
    return result_of(found.cid, materialisation_metadata.of_schema(found, published, client.base_url))


def atmosphere_record(context: dg.AssetExecutionContext, settings: Settings) -> dg.MaterializeResult:
    """What ``atmosphere_record`` does."""
    with stage_context_of(context, settings) as stage:
        progress = progress_of(context, "at their destination")
        client = stage.logged_in()
        resolved, options = stage.resolve(), stage.options
        with publish.dropping_refused(resolved):
            copies = stage.known_copies(resolved, progress)
            found = stage.known_inventory(progress)
            kept_schema = schema_stage.schema_of_run(found, client, stage.ledger, options)
            seen = visibility.probe_published(resolved, copies, stage.index, client.base_url)
        record = publish.publish_record(resolved, copies, kept_schema.uri, stage.index, client, visibility=seen)
        context.instance.add_run_tags(context.run.run_id, {"at_uri": shown(record.uri)})
        for warning in warnings_of(record, kept_schema, seen).values():
            context.log.warning(shown(warning, "log"))
        context.log.info(shown(f"{record.change} {record.uri}", "log"))
        settings.hooks.after_promotion(context, stage.entry, record)
    if not context.op_execution_context.job_def.has_node_named(settings.named(PUBLISHED_TRUE)):
        receipt = None if record.cid is None else receipt_of(record.uri, client, cid=record.cid)
        for each in seen_in_passing(settings, record, kept_schema, seen, receipt):
            context.log_event(evaluation_of(each, context.partition_key))
    metadata = materialisation_metadata.of_record(record, kept_schema.uri, copies, seen, client.base_url)
    return result_of(copies.cid, metadata)
