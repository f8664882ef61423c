"""The stage ``copied_shards``, as an asset of several steps: where a dataset is large, many workers copy it."""

from typing import Any

import dagster as dg

from atdata_core.promotion.copies.chunks import Chunk
from atdata_core.promotion.stages import copy_stage

from ..config.executors import COPYING, QUEUE
from ..config.settings import Settings
from ..display import materialisations
from ..display.markdown import shown
from .stage_context import progress_of, result_of, stage_context_of
from .step_retries import POLICY


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
        with stage_context_of(context, settings) as subject:
            found = subject.known_inventory(progress_of(context, "looked at"))
            chunks = copy_stage.chunks_to_copy(found, subject.ledger, subject.store)
        for chunk in chunks:
            yield dg.DynamicOutput(None, mapping_key=f"shards_{chunk.start + 1}_to_{chunk.stop}")

    @dg.op(name=settings.named("copy_chunk"), ins={"chunk": nothing}, out=dg.Out(dg.Nothing), **step)
    def copy_chunk(context: dg.AssetExecutionContext) -> None:
        """Copy the shards of a chunk that are not there yet."""
        _, first, _, last = str(context.op_execution_context.get_mapping_key()).split("_")
        with stage_context_of(context, settings) as subject:
            subject.copy_chunk(Chunk(int(first) - 1, int(last)), context.log.info)

    # Only by an input of the asset's own does Dagster note of which partition the stage before was.
    @dg.op(name=settings.named("see_copies"), ins={"before": nothing, "copied": nothing}, **step)
    def see_copies(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """See every shard where strangers will read it; copy what is not there."""
        with stage_context_of(context, settings) as subject:
            copies = subject.copy_shards(progress_of(context, "at their destination"))
            if copies.destination is None:
                context.log.info("shards stay where they are")
            else:
                copied = f"{copies.copied} of {len(copies.shards)} shards copied to {copies.destination}"
                context.log.info(shown(copied, "log"))
        return result_of(copies.cid, materialisations.of_copies(copies))

    @dg.graph_asset(
        key=settings.key("copied_shards"),
        ins={"before": dg.AssetIn(key=settings.key("published_schema"))},
        partitions_def=settings.partitions,
        group_name=settings.group,
        kinds={"s3"},
        code_version=copy_stage.CODE_VERSION,
    )
    def copied_shards(before: Any) -> Any:
        """The shards where strangers will read them, each seen there with its digest."""
        return see_copies(before=before, copied=share_out(before).map(copy_chunk).collect())

    return copied_shards
