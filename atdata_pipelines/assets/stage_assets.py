"""The four stages of a promotion as assets, one partition per dataset.

Nothing passes through an IO manager: a stage reads what it needs from the ledger, and works it out again
where the ledger has nothing for this entry. So each of them can be rerun alone.
"""

from collections.abc import Callable

import dagster as dg

from atdata_core.promotion.prepare import validate
from atdata_core.promotion.stages import inventory_stage, publish, schema_stage, visibility

from ..config.broker import PUBLISHING
from ..config.executors import COPYING, QUEUE
from ..config.run_config import PromotionConfig
from ..config.settings import STAGES, Settings
from ..display import materialisations
from ..display.markdown import shown
from ..display.previews import preview_of
from .copied_shards import copied_shards
from .inline_checks import PUBLISHED_TRUE, evaluations, warnings_of
from .stage_context import progress_of, result_of, stage_context_of
from .step_retries import POLICY
from .upstream import dependency_on


def stages(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of the four stages."""

    @_stage(settings, kinds={"redis", "s3"}, code_version=inventory_stage.CODE_VERSION, queue=COPYING)
    def local_dataset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The shards of a dataset, with their digests; what changed without a word is refused here."""
        with stage_context_of(context, settings) as subject:
            found = subject.take_inventory(progress_of(context, "looked at"))
            for warning in found.warnings:
                context.log.warning(shown(warning, "log"))
            preview = preview_of(subject.entry, subject.index, found, subject.store)
            context.log.info(f"{len(found.shards)} shards, {found.size:,} bytes, {_count(found.samples)} samples")
        return result_of(found.cid, materialisations.of_inventory(found, preview))

    @_stage(settings, kinds={"atproto"}, code_version=schema_stage.CODE_VERSION, queue=PUBLISHING)
    def published_schema(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The schema record of the dataset's samples, found or written once all records are known to be good."""
        with stage_context_of(context, settings) as subject:
            found = subject.known_inventory(progress_of(context, "looked at"))
            client, options = subject.logged_in(), subject.options
            resolved = subject.resolve()
            validate(found, resolved, client)
            publish.begin_publishing(resolved)
            with publish.dropping_refused(resolved):
                published = schema_stage.publish_schema_of(found, client, subject.ledger, options)
            context.log.info(shown(f"{'created' if published.created else 'reused'} {published.uri}", "log"))
        return result_of(found.cid, materialisations.of_schema(found, published, client.base_url))

    @_stage(settings, kinds={"atproto"}, code_version=publish.CODE_VERSION, queue=PUBLISHING)
    def atmosphere_record(context: dg.AssetExecutionContext, config: PromotionConfig) -> dg.MaterializeResult:
        """The entry record that names the shards, and the label that points at it."""
        with stage_context_of(context, settings) as subject:
            progress = progress_of(context, "at their destination")
            client = subject.logged_in()
            resolved, options = subject.resolve(), subject.options
            with publish.dropping_refused(resolved):
                copies = subject.known_copies(resolved, progress)
                found = subject.known_inventory(progress)
                kept_schema = schema_stage.schema_of_run(found, client, subject.ledger, options)
                seen = visibility.probe_published(resolved, copies, subject.index, client.base_url)
            record = publish.publish_record(
                resolved, copies, kept_schema.uri, subject.index, client, visibility=seen
            )
            context.instance.add_run_tags(context.run.run_id, {"at_uri": shown(record.uri)})
            for warning in warnings_of(record, kept_schema, seen).values():
                context.log.warning(shown(warning, "log"))
            context.log.info(shown(f"{record.change} {record.uri}", "log"))
        if not context.op_execution_context.job_def.has_node_named(settings.named(PUBLISHED_TRUE)):
            for check in evaluations(settings, context.partition_key, record, kept_schema, seen):
                context.log_event(check)
        metadata = materialisations.of_record(record, kept_schema.uri, copies, seen, client.base_url)
        return result_of(copies.cid, metadata)

    return [local_dataset, published_schema, copied_shards(settings), atmosphere_record]


def _stage(
    settings: Settings, *, kinds: set[str], code_version: str, queue: str
) -> Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]:
    """Makes the asset of a stage from a function of its name: one partition per dataset, after the stage before."""

    def decorate(compute: Callable[..., dg.MaterializeResult]) -> dg.AssetsDefinition:
        place = STAGES.index(compute.__name__)
        before = _before_all(settings) if place == 0 else [settings.key(STAGES[place - 1])]
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


def _before_all(settings: Settings) -> list[dg.AssetKey | dg.AssetDep]:
    """What stands before the first stage."""
    entry: list[dg.AssetKey | dg.AssetDep] = [settings.entry] if settings.automation else []
    return entry if settings.upstream is None else [*entry, dependency_on(settings.upstream, settings)]


def _count(samples: int | None) -> str:
    return "an unknown number of" if samples is None else f"{samples:,}"
