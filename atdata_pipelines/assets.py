"""The four stages of a promotion as assets, one partition per dataset.

Nothing passes through an IO manager: a stage reads what it needs from the ledger, and works it out again
where the ledger has nothing for this entry. So each of them can be rerun alone.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg
from pydantic import Field

from atdata_core.promotion import inventory, publish, reach, schema
from atdata_core.promotion.asked import Asked
from atdata_core.promotion.draft import check_all
from atdata_core.promotion.values import Values

from . import materialisations
from .conditions import condition_of, is_declared
from .copied import copied_shards
from .executors import COPYING, PUBLISHING, QUEUE
from .markdown import shown
from .previews import preview_of
from .retries import POLICY
from .seen import PUBLISHED_TRUE, evaluations, warnings_of
from .settings import RECORD, STAGES, Settings
from .subject import progress_of, result_of, subject_of
from .upstream import dependency_on


class PromotionConfig(dg.Config):
    """What a person can say about a dataset when it is published."""

    name: str | None = Field(
        default=None, description="Name to publish under; empty (null): the dataset's own name."
    )
    description: str | None = Field(
        default=None,
        description='Null: the last one given, else that of the entry\'s metadata. "" clears it.',
    )
    tags: list[str] | None = Field(
        default=None, description="Null: the last ones given, else those of the entry's metadata. [] clears them."
    )
    license: str | None = Field(
        default=None,
        description="An SPDX identifier such as CC-BY-4.0. Null: the last one given, else that of the entry's "
        'metadata. "" clears it.',
    )

    version: str | None = Field(
        default=None,
        description="Makes a second label of this version, which stays with this entry. Null: none.",
    )
    take_over: bool = Field(
        default=False, description="Write over a record or label that was edited elsewhere since it was published."
    )
    restore: bool = Field(
        default=True,
        description="Write again what was deleted on the network or retracted. Sensor, schedule and "
        "automation conditions don't: such a dataset is left to a person.",
    )
    require_public: bool = Field(
        default=False,
        description="Refuse shards that a stranger cannot read; else that is a warning, unless the pipeline is "
        "configured to refuse them always.",
    )
    require_license: bool = Field(
        default=False, description="Refuse to publish without a license that SPDX knows; else that is a warning."
    )
    require_compatible: bool = Field(
        default=False,
        description="Refuse a schema that breaks with the version before it, unless its own version says so; else "
        "that is a warning.",
    )

    def asked(self, settings: Settings, run: dg.DagsterRun) -> Asked:
        """All of it, for a stage of a run, with what the pipeline is configured with."""
        return Asked(
            self.name,
            Values.of(self.description, self.tags, self.license),
            self.version,
            self.take_over,
            self.restore and not is_declared(run),
            self.require_public or settings.require_public,
            run.run_id,
            settings.defaults,
            self.require_license or settings.require_license,
            self.require_compatible or settings.require_compatible,
        )


def stages(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of the four stages."""

    @_stage(settings, kinds={"redis", "s3"}, code_version=inventory.CODE_VERSION, queue=COPYING)
    def local_dataset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The shards of a dataset, with their digests; what changed without a word is refused here."""
        with subject_of(context, settings) as subject:
            found = subject.take_inventory(progress_of(context, "looked at"))
            for warning in found.warnings:
                context.log.warning(shown(warning, "log"))
            preview = preview_of(subject.entry, subject.index, found, subject.store)
            context.log.info(f"{len(found.shards)} shards, {found.size:,} bytes, {_count(found.samples)} samples")
        return result_of(found.cid, materialisations.of_inventory(found, preview))

    @_stage(settings, kinds={"atproto"}, code_version=schema.CODE_VERSION, queue=PUBLISHING)
    def published_schema(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The schema record of the dataset's samples, found or written once all records are known to be good."""
        with subject_of(context, settings) as subject:
            found = subject.known_inventory(progress_of(context, "looked at"))
            client, asked = subject.logged_in(), _asked(context, settings)
            check_all(
                subject.entry,
                found,
                client.did,
                subject.ledger,
                data_store=subject.store,
                asked=asked,
                service=client.base_url,
            )
            published = schema.publish_schema_of(
                found,
                client,
                subject.ledger,
                run=context.run.run_id,
                require_compatible=asked.require_compatible,
            )
            context.log.info(shown(f"{'created' if published.created else 'reused'} {published.uri}", "log"))
        return result_of(found.cid, materialisations.of_schema(found, published, client.base_url))

    @_stage(settings, kinds={"atproto"}, code_version=publish.CODE_VERSION, queue=PUBLISHING)
    def atmosphere_record(context: dg.AssetExecutionContext, config: PromotionConfig) -> dg.MaterializeResult:
        """The entry record that names the shards, and the label that points at it."""
        with subject_of(context, settings) as subject:
            progress = progress_of(context, "at their destination")
            client = subject.logged_in()
            copies = subject.known_copies(progress)
            asked = config.asked(settings, context.run)
            found = subject.known_inventory(progress)
            kept_schema = schema.schema_of_run(
                found, client, subject.ledger, run=asked.run, require_compatible=asked.require_compatible
            )
            seen = reach.see_published(
                subject.entry, copies, subject.index, client.base_url, data_store=subject.store, asked=asked
            )
            record = publish.publish_record(
                subject.entry,
                copies,
                kept_schema.uri,
                subject.index,
                client,
                subject.ledger,
                asked=asked,
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
            automation_condition=condition_of(compute.__name__, settings),
            required_resource_keys=settings.resource_keys,
            retry_policy=POLICY,
        )(compute)

    return decorate


def _before_all(settings: Settings) -> list[dg.AssetKey | dg.AssetDep]:
    """What stands before the first stage."""
    entry: list[dg.AssetKey | dg.AssetDep] = [settings.entry] if settings.automation else []
    return entry if settings.upstream is None else [*entry, dependency_on(settings.upstream, settings)]


def _asked(context: dg.AssetExecutionContext, settings: Settings) -> Asked:
    """What this run will say to the last stage, so that an early one can refuse it before anything is written."""
    ops: Any = context.run.run_config.get("ops", {})
    said = ops.get(settings.named(RECORD), {}).get("config", {})
    return PromotionConfig(**said).asked(settings, context.run)


def _count(samples: int | None) -> str:
    return "an unknown number of" if samples is None else f"{samples:,}"
