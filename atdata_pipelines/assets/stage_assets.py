"""The four stages of a promotion as assets, one partition per dataset.

Nothing passes through an IO manager: a stage reads what it needs from the ledger, and works it out again
where the ledger has nothing for this entry. So each of them can be rerun alone.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from atdata_core.state.stage_names import CODE_VERSIONS, STAGES

from ..config.executors import COPYING, PUBLISHING, QUEUE
from ..config.run_config import PromotionConfig
from ..config.settings import COPIES, Settings
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
        from . import stage_steps

        yield from stage_steps.share_out(context, settings)

    @dg.op(name=settings.named("copy_chunk"), ins={"chunk": nothing}, out=dg.Out(dg.Nothing), **step)
    def copy_chunk(context: dg.AssetExecutionContext) -> None:
        """Copy the shards of a chunk that are not there yet."""
        from . import stage_steps

        stage_steps.copy_chunk(context, settings)

    # Only by an input of the asset's own does Dagster note of which partition the stage before was.
    @dg.op(name=settings.named("see_copies"), ins={"before": nothing, "copied": nothing}, **step)
    def see_copies(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """See every shard where it will be read; copy what is not there."""
        from . import stage_steps

        return stage_steps.see_copies(context, settings)

    @dg.graph_asset(
        key=settings.key("copied_shards"),
        ins={"before": dg.AssetIn(key=settings.key("published_schema"))},
        partitions_def=settings.partitions,
        group_name=settings.group,
        kinds={"s3"},
        code_version=CODE_VERSIONS[COPIES],
    )
    def copied_shards(before: Any) -> Any:
        """The shards where they will be read, each seen there with its digest."""
        return see_copies(before=before, copied=share_out(before).map(copy_chunk).collect())

    return copied_shards


def stages(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of the four stages."""

    @_stage(settings, kinds={"redis", "s3"}, queue=COPYING)
    def local_dataset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The shards of a dataset, with their digests; what changed without a word is refused here."""
        from . import stage_steps

        return stage_steps.local_dataset(context, settings)

    @_stage(settings, kinds={"atproto"}, queue=PUBLISHING)
    def published_schema(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The schema record of the dataset's samples, found or written once all records are known to be good."""
        from . import stage_steps

        return stage_steps.published_schema(context, settings)

    @_stage(settings, kinds={"atproto"}, queue=PUBLISHING)
    def atmosphere_record(context: dg.AssetExecutionContext, config: PromotionConfig) -> dg.MaterializeResult:
        """The entry record that names the shards, and the label that points at it."""
        from . import stage_steps

        return stage_steps.atmosphere_record(context, settings)

    made = [local_dataset, published_schema, copied_shards(settings), atmosphere_record]
    return [asset.map_asset_specs(settings.described) for asset in made]


def _stage(
    settings: Settings, *, kinds: set[str], queue: str
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
            code_version=CODE_VERSIONS[compute.__name__],
            pool=settings.copying_pool if queue == COPYING else settings.publishing_pool,
            op_tags={QUEUE: queue},
            required_resource_keys=settings.resource_keys,
            retry_policy=POLICY,
        )(compute)

    return decorate
