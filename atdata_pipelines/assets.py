"""The four stages of a promotion as assets, one partition per dataset.

Nothing passes through an IO manager: a stage reads what it needs from the ledger, and works it out again
where the ledger has nothing for this entry. So each of them can be rerun alone.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from atdata_core.access.s3 import S3Endpoint
from atdata_core.promotion import copy, inventory, publish, reach, schema
from atdata_core.promotion.again import noting_trouble
from atdata_core.promotion.asked import Asked
from atdata_core.promotion.attempts import attempt
from atdata_core.promotion.draft import check_all
from atdata_core.promotion.ledger import Ledger, ledger_of
from atdata_core.promotion.values import Values

from . import materialisations
from .previews import preview_of
from .progress import reporting
from .retries import POLICY, dagster_failures
from .settings import RECORD, STAGES, Services, Settings

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.local import LocalDatasetEntry, LocalIndex


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
        description="Write again what was deleted on the network or retracted. Sensor and schedule say false: such "
        "a dataset is left to a person.",
    )
    require_public: bool = Field(
        default=False,
        description="Refuse shards that a stranger cannot read; else that is a warning, unless the pipeline is "
        "configured to refuse them always.",
    )

    def asked(self, settings: Settings, run_id: str) -> Asked:
        """All of it, for a stage of a run, with what the pipeline is configured with."""
        return Asked(
            self.name,
            Values.of(self.description, self.tags, self.license),
            self.version,
            self.take_over,
            self.restore,
            self.require_public or settings.require_public,
            run_id,
            settings.defaults,
        )


@dataclass(frozen=True)
class Subject:
    """The dataset of a partition, and where its shards are copied to."""

    entry: "LocalDatasetEntry"
    index: "LocalIndex"
    ledger: Ledger
    store: Any
    run: str
    services: Services

    def logged_in(self) -> "AtmosphereClient":
        """The client; where the account cannot be used, the ledger knows that for all datasets."""
        with noting_trouble(self.ledger, self.services.atproto.did):
            return self.services.atproto.client()

    def take_inventory(self, progress: inventory.Progress) -> inventory.Inventory:
        """Look at every shard."""
        return inventory.take_inventory(
            self.entry, self.index, self.ledger, destination=self.store, progress=progress
        )

    def known_inventory(self, progress: inventory.Progress) -> inventory.Inventory:
        """The inventory of the stage before, from the ledger; a new one where it has none."""
        return inventory.recall_inventory(self.entry, self.ledger) or self.take_inventory(progress)

    def known_copies(self, progress: inventory.Progress) -> copy.CopiedShards:
        """The copies of the stage before, from the ledger; made anew where it has none."""
        known = copy.recall_copies(self.entry, self.ledger, self.store)
        return known or self.copy_shards(progress)

    def copy_shards(self, progress: inventory.Progress) -> copy.CopiedShards:
        """Bring every shard to its destination, or see that it stays."""
        return copy.copy_shards(
            self.entry,
            self.known_inventory(progress),
            self.index,
            self.ledger,
            data_store=self.store,
            progress=progress,
            run=self.run,
        )


def stages(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of the four stages."""

    @_stage(settings, kinds={"redis", "s3"}, code_version=inventory.CODE_VERSION, pool=settings.copying_pool)
    def local_dataset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The shards of a dataset, with their digests; what changed without a word is refused here."""
        with _subject(context, settings) as subject:
            found = subject.take_inventory(_progress(context, "looked at"))
            for warning in found.warnings:
                context.log.warning(warning)
            shown = preview_of(subject.entry, subject.index, found, subject.store)
            context.log.info(f"{len(found.shards)} shards, {found.size:,} bytes, {_count(found.samples)} samples")
        return _result(found.cid, materialisations.of_inventory(found, shown))

    @_stage(settings, kinds={"atproto"}, code_version=schema.CODE_VERSION, pool=settings.publishing_pool)
    def published_schema(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The schema record of the dataset's samples, found or written once all records are known to be good."""
        with _subject(context, settings) as subject:
            found = subject.known_inventory(_progress(context, "looked at"))
            client = subject.logged_in()
            check_all(
                subject.entry,
                found,
                client.did,
                subject.ledger,
                data_store=subject.store,
                asked=_asked(context, settings),
                service=client.base_url,
            )
            published = schema.publish_schema_of(found, client, subject.ledger, run=context.run.run_id)
            context.log.info(f"{'created' if published.created else 'reused'} {published.uri}")
        return _result(found.cid, materialisations.of_schema(found, published, client.base_url))

    @_stage(settings, kinds={"s3"}, code_version=copy.CODE_VERSION, pool=settings.copying_pool)
    def copied_shards(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The shards where strangers will read them, each seen there with its digest."""
        with _subject(context, settings) as subject:
            copies = subject.copy_shards(_progress(context, "at their destination"))
            if copies.destination is None:
                context.log.info("shards stay where they are")
            else:
                context.log.info(f"{copies.copied} of {len(copies.shards)} shards copied to {copies.destination}")
        return _result(copies.cid, materialisations.of_copies(copies))

    @_stage(settings, kinds={"atproto"}, code_version=publish.CODE_VERSION, pool=settings.publishing_pool)
    def atmosphere_record(context: dg.AssetExecutionContext, config: PromotionConfig) -> dg.MaterializeResult:
        """The entry record that names the shards, and the label that points at it."""
        with _subject(context, settings) as subject:
            progress = _progress(context, "at their destination")
            client = subject.logged_in()
            copies = subject.known_copies(progress)
            asked = config.asked(settings, context.run.run_id)
            found = subject.known_inventory(progress)
            kept_schema = schema.schema_of_run(found, client, subject.ledger, run=asked.run)
            seen = reach.see_published(
                subject.entry, copies, subject.index, client.base_url, data_store=subject.store, asked=asked
            )
            if seen.warning:
                context.log.warning(seen.warning)
            record = publish.publish_record(
                subject.entry,
                copies,
                kept_schema.uri,
                subject.index,
                client,
                subject.ledger,
                asked=asked,
            )
            context.instance.add_run_tags(context.run.run_id, {"at_uri": record.uri})
            context.log.info(f"{record.change} {record.uri}")
        shown = materialisations.of_record(record, kept_schema.uri, copies, seen, client.base_url)
        return _result(copies.cid, shown)

    return [local_dataset, published_schema, copied_shards, atmosphere_record]


def _stage(
    settings: Settings, *, kinds: set[str], code_version: str, pool: str | None
) -> Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]:
    """Makes the asset of a stage from a function of its name: one partition per dataset, after the stage before."""

    def decorate(compute: Callable[..., dg.MaterializeResult]) -> dg.AssetsDefinition:
        place = STAGES.index(compute.__name__)
        before = settings.upstream if place == 0 else settings.key(STAGES[place - 1])
        return dg.asset(
            key=settings.key(compute.__name__),
            deps=[] if before is None else [before],
            partitions_def=settings.partitions,
            group_name=settings.group,
            kinds=kinds,
            code_version=code_version,
            pool=pool,
            automation_condition=dg.AutomationCondition.eager() if settings.automation else None,
            required_resource_keys=settings.resource_keys,
            retry_policy=POLICY,
        )(compute)

    return decorate


@contextmanager
def _subject(context: dg.AssetExecutionContext, settings: Settings) -> Iterator[Subject]:
    """The dataset of this run, which is tagged with it; the ledger is told of an error on its way out.

    Raises:
        Failure: The index has no such dataset, or it is not one that this pipeline takes; or what a stage raises,
            as Dagster should take it.
    """
    name = context.partition_key
    context.instance.add_run_tags(context.run.run_id, {"dataset": name})
    services = settings.services(context)
    with dagster_failures():
        refusal = settings.refusal(name)
        if refusal is not None:
            raise dg.Failure(refusal, allow_retries=False)
        index = services.redis.index()
        entry = index.get_entry_by_name(name)
        reading = services.s3.endpoint()
        entry = read_by(entry, reading)
        ledger = ledger_of(index)
        with attempt(ledger, name, context.asset_key.path[-1], entry=entry, run=context.run.run_id):
            store = services.destination.store(reading)
            yield Subject(entry, index, ledger, store, context.run.run_id, services)


def read_by(entry: "LocalDatasetEntry", reading: S3Endpoint | None) -> "LocalDatasetEntry":
    """An entry whose shards are read from the service that is configured."""
    if reading == S3Endpoint.from_environment():
        # The core knows the environment itself, and looks without keys where those of it are of no use.
        return entry
    return replace(entry, data_store=reading)


def _asked(context: dg.AssetExecutionContext, settings: Settings) -> Asked:
    """What this run will say to the last stage, so that an early one can refuse it before anything is written."""
    ops: Any = context.run.run_config.get("ops", {})
    said = ops.get(settings.named(RECORD), {}).get("config", {})
    return PromotionConfig(**said).asked(settings, context.run.run_id)


def _result(cid: str, shown: Mapping[str, Any]) -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata=shown, data_version=dg.DataVersion(cid))


def _progress(context: dg.AssetExecutionContext, what: str) -> inventory.Progress:
    """Says in the log how far a stage with many shards is."""
    return reporting(context.log.info, f"shards {what}")


def _count(samples: int | None) -> str:
    return "an unknown number of" if samples is None else f"{samples:,}"
