"""The four stages of a promotion as assets, one partition per dataset.

Nothing passes through an IO manager: a stage reads what it needs from the ledger, and works it out again
where the ledger has nothing for this entry. So each of them can be rerun alone.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from atdata_core.atmosphere.receipt import receipt_of
from atdata_core.common.plurals import number_of
from atdata_core.promotion.copies.chunks import Chunk
from atdata_core.promotion.prepare import validate
from atdata_core.promotion.stages import copy_stage, publish, schema_stage, visibility
from atdata_core.state.facts import CopiedShards, Inventory, RecordResult, SchemaResult

from ..config.executors import COPYING, PUBLISHING, QUEUE
from ..config.run_config import PromotionConfig
from ..config.settings import STAGES, Settings
from ..display import materialisation_metadata
from ..display.markdown import shown
from ..display.previews import preview_of
from .checks import PUBLISHED_TRUE, evaluation_of, seen_in_passing, warnings_of
from .stage_context import progress_of, result_of, stage_context_of
from .step_retries import POLICY
from .upstream import dependency_on


def copied_shards(settings: Settings) -> dg.AssetsDefinition:
    """The asset that copies. Its steps share a large dataset out, so that many workers copy it."""
    nothing = dg.In(dg.Nothing)
    step: dict[str, Any] = {
        "required_resource_keys": settings.resource_keys,
        "retry_policy": POLICY,
        "pool": settings.copying_pool,
        "tags": {QUEUE: COPYING},
    }

    @dg.op(name=settings.named("share_out"), ins={"before": nothing}, out=dg.DynamicOut(dg.Nothing), **step)
    def share_out(context: dg.AssetExecutionContext) -> Any:
        """Chunks of shards that workers copy beside each other; none where the last step copies all by itself."""
        with stage_context_of(context, settings) as stage:
            found = stage.known_inventory(progress_of(context, "looked at"))
            chunks = copy_stage.chunks_to_copy(found, stage.ledger, stage.store)
        for chunk in chunks:
            yield dg.DynamicOutput(None, mapping_key=f"shards_{chunk.start + 1}_to_{chunk.stop}")

    @dg.op(name=settings.named("copy_chunk"), ins={"chunk": nothing}, out=dg.Out(dg.Nothing), **step)
    def copy_chunk(context: dg.AssetExecutionContext) -> None:
        """Copy the shards of a chunk that are not there yet."""
        _, first, _, last = str(context.op_execution_context.get_mapping_key()).split("_")
        with stage_context_of(context, settings) as stage:
            stage.copy_chunk(Chunk(int(first) - 1, int(last)), context.log.info)

    # Only by an input of the asset's own does Dagster note of which partition the stage before was.
    @dg.op(name=settings.named("see_copies"), ins={"before": nothing, "copied": nothing}, **step)
    def see_copies(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """See every shard where it will be read; copy what is not there."""
        with stage_context_of(context, settings) as stage:
            copies = stage.copy_shards(progress_of(context, "at their destination"))
            said = "shards stay where they are" if len(copies.shards) > 1 else "its shard stays where it is"
            if copies.destination is not None:
                said = (
                    f"{copies.copied:,} of {number_of(len(copies.shards), 'shard')} copied to {copies.destination}"
                )
            context.log.info(shown(said, "log"))
        return result_of(copies.cid, materialisation_metadata.of_copies(copies))

    @dg.graph_asset(
        key=settings.key("copied_shards"),
        ins={"before": dg.AssetIn(key=settings.key("published_schema"))},
        partitions_def=settings.partitions,
        group_name=settings.group,
        kinds={"s3"},
        code_version=CopiedShards.CODE_VERSION,
    )
    def copied_shards(before: Any) -> Any:
        """The shards where they will be read, each seen there with its digest."""
        return see_copies(before=before, copied=share_out(before).map(copy_chunk).collect())

    return copied_shards


def stages(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of the four stages."""

    @_stage(settings, kinds={"redis", "s3"}, code_version=Inventory.CODE_VERSION, queue=COPYING)
    def local_dataset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The shards of a dataset, with their digests; what changed without a word is refused here."""
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

    @_stage(settings, kinds={"atproto"}, code_version=SchemaResult.CODE_VERSION, queue=PUBLISHING)
    def published_schema(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The schema record of the dataset's samples, found or written once all records are known to be good."""
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

    @_stage(settings, kinds={"atproto"}, code_version=RecordResult.CODE_VERSION, queue=PUBLISHING)
    def atmosphere_record(context: dg.AssetExecutionContext, config: PromotionConfig) -> dg.MaterializeResult:
        """The entry record that names the shards, and the label that points at it."""
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

    made = [local_dataset, published_schema, copied_shards(settings), atmosphere_record]
    return [asset.map_asset_specs(settings.described) for asset in made]


def _stage(
    settings: Settings, *, kinds: set[str], code_version: str, queue: str
) -> Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]:
    """Makes the asset of a stage from a function of its name: one partition per dataset, after the stage before."""

    def decorate(compute: Callable[..., dg.MaterializeResult]) -> dg.AssetsDefinition:
        place = STAGES.index(compute.__name__)
        before: list[dg.AssetKey | dg.AssetDep] = [settings.key(STAGES[place - 1])] if place else []
        if place == 0 and settings.automation:
            before.append(settings.entry)
        if place == 0 and settings.upstream is not None:
            before.append(dependency_on(settings.upstream, settings))
        return dg.asset(
            key=settings.key(compute.__name__),
            deps=before,
            partitions_def=settings.partitions,
            group_name=settings.group,
            kinds=kinds,
            code_version=code_version,
            pool=settings.copying_pool if queue == COPYING else settings.publishing_pool,
            op_tags={QUEUE: queue},
            required_resource_keys=settings.resource_keys,
            retry_policy=POLICY,
        )(compute)

    return decorate
