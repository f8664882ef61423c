"""What one instance of the pipeline is configured with, and what its definitions are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg

from atdata_core.errors import MetadataError, RefusedError
from atdata_core.local.entry import ENTRY_KEY, EVENTS
from atdata_core.promotion.options import REQUIREMENTS, PromotionOptions
from atdata_core.state.stage_names import STAGES

from .executors import default_executor, executor_named
from .hooks import Hooks
from .resources import AtprotoResource, DestinationResource, RedisResource, ShardS3Resource

if TYPE_CHECKING:
    from atdata_core.stores.data_store import DataStore

T = TypeVar("T")

_NAMELESS = (ENTRY_KEY, f"{EVENTS} ")
"""How the keys begin of what has no readable name."""

COPIES, RECORD = STAGES[2:]
VERIFICATION = "verification"
INDEX_ENTRY = "index_entry"
CATALOGUE = "catalogue"


class Tag:
    """What Dagster writes on runs and on materialisations, as it stands in its database and its UI."""

    PARTITION = "dagster/partition"
    AUTOMATION_CONDITION = "dagster/from_automation_condition"
    CODE_SERVER = ".dagster/grpc_info"
    CODE_VERSION = "dagster/code_version"
    DATA_VERSION = "dagster/data_version"
    DATA_VERSION_IS_GIVEN = "dagster/data_version_is_user_provided"
    INPUT_DATA_VERSION = "dagster/input_data_version"
    INPUT_EVENT = "dagster/input_event_pointer"


@dataclass(frozen=True)
class Services:
    """The resources of an instance."""

    redis: RedisResource
    s3: ShardS3Resource
    destination: DestinationResource
    atproto: AtprotoResource

    def store(self) -> DataStore | None:
        """Where shards are copied to, or None; raises as ``DestinationResource.store``."""
        return self.destination.store(self.s3.endpoint(), self.atproto)


_SERVICES = ("redis", "s3", "destination", "atproto")


@dataclass(frozen=True)
class Settings:
    """One instance of the pipeline. Everything that it defines has its prefix, so that instances do not collide.

    What a person sets is described where that is done, by the fields of ``DatasetPromotion``; the others:

    Attributes:
        options: What holds for all that it promotes: the values of a dataset of which neither a person nor its
            metadata says any (``defaults``), and what is always required.
        upstream: An asset that ``local_dataset`` depends on.
        upstream_partitions: Of that asset, where they are known (``upstream.py``).
        hooks: What a team's component does differently.
    """

    key_prefix: tuple[str, ...] = ()
    group: str = "promotion"
    pattern: str = "*"
    options: PromotionOptions = PromotionOptions()  # noqa: RUF009 - frozen
    cron: str | None = "0 3 * * *"
    verification_cron: str | None = "0 4 * * 0"
    sensor: bool = False
    automation: bool = False
    bulk_from: int = 20
    batch_size: int = 1_000
    copying_pool: str | None = None
    publishing_pool: str | None = "pds"
    upstream: dg.AssetKey | None = None
    upstream_partitions: dg.PartitionsDefinition | None = None
    s3: ShardS3Resource = field(default_factory=ShardS3Resource)
    destination: DestinationResource = field(default_factory=DestinationResource)
    catalogue_bucket: DestinationResource | None = None
    executor: str | None = None
    hooks: Hooks = field(default_factory=Hooks, compare=False)

    @property
    def verification(self) -> dg.AssetKey:
        """Of the asset that stands for the last look at everything that is published."""
        return self._keys[VERIFICATION]

    @property
    def entry(self) -> dg.AssetKey:
        """Of the asset that stands for the entries of the index, where automation conditions start runs."""
        return self._keys[INDEX_ENTRY]

    @property
    def catalogue(self) -> dg.AssetKey:
        """Of the asset that publishes a catalogue, where a bucket is configured for it."""
        return self._keys[CATALOGUE]

    def named(self, name: str) -> str:
        """The name of a job, op, sensor, schedule, resource or partitions definition."""
        return "__".join((*self.key_prefix, name))

    def key(self, stage: str) -> dg.AssetKey:
        """Of a stage's asset."""
        return self._keys[stage]

    @cached_property
    def _keys(self) -> dict[str, dg.AssetKey]:
        """Of all its assets, by the names that they have without a team's wishes."""
        plain = [
            dg.AssetSpec(dg.AssetKey([*self.key_prefix, name]))
            for name in (*STAGES, VERIFICATION, INDEX_ENTRY, CATALOGUE)
        ]
        return {spec.key.path[-1]: self.hooks.get_asset_spec(spec).key for spec in plain}

    def asset_name(self, key: dg.AssetKey) -> str:
        """The name that an asset has without a team's wishes: its stage, or another of this module's names."""
        return next(name for name, own in self._keys.items() if own == key)

    def node(self, stage: str) -> str:
        """The name of the op, or graph, of a stage's asset."""
        return self.key(stage).to_python_identifier()

    def described(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        """The spec of an asset as the team wants it; raises ``RefusedError`` for what Dagster cannot give it."""
        stage = self.asset_name(spec.key)
        wanted = self.hooks.get_asset_spec(spec.replace_attributes(key=dg.AssetKey([*self.key_prefix, stage])))
        if stage == COPIES and list(wanted.deps) != list(spec.deps):
            raise RefusedError(
                f"get_asset_spec gives {stage} other deps, which Dagster does not do to an asset of several steps. "
                "Give them to another stage."
            )
        return wanted

    @property
    def keys(self) -> list[dg.AssetKey]:
        """Of the assets of all stages, in their order."""
        return [self.key(stage) for stage in STAGES]

    @property
    def partitions(self) -> dg.DynamicPartitionsDefinition:
        """One partition per dataset."""
        return dg.DynamicPartitionsDefinition(name=self.partitions_name)

    @property
    def partitions_name(self) -> str:
        """What Dagster keeps the partition keys under."""
        return self.named("dataset")

    def taken(self, datasets: Mapping[str, T]) -> dict[str, T]:
        """Those whose name is like the pattern; of an entry or event without a name, every instance tells."""
        return {
            name: each
            for name, each in datasets.items()
            if self.takes(name) or (isinstance(each, MetadataError) and name.startswith(_NAMELESS))
        }

    def takes(self, name: str) -> bool:
        """Whether a dataset is one of those that this instance promotes."""
        return is_like(name, self.pattern)

    def refusal(self, name: str) -> str | None:
        """Why a dataset is not one of those that this instance takes; None where it is."""
        if self.takes(name):
            return None
        return f"{name!r} is not one of the datasets that are promoted here: their names are like {self.pattern}"

    def keywords(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Those of a promotion: what is asked of it, and what holds for all of this instance."""
        required = {name: True for name in REQUIREMENTS if getattr(self.options, name)}
        return {**(given or {}), **required, "defaults": self.options.defaults}

    def executor_def(self) -> dg.ExecutorDefinition:
        """What does the steps of its jobs; raises ``RefusedError`` as ``executor_named``."""
        return default_executor() if self.executor is None else executor_named(self.executor)

    @property
    def resource_keys(self) -> set[str]:
        """What an asset, op, sensor or schedule of the instance requires."""
        return {self.named(service) for service in _SERVICES}

    def resources(self) -> dict[str, Any]:
        """The resources by their keys."""
        services = Services(RedisResource(), self.s3, self.destination, AtprotoResource())
        resources = {self.named(service): getattr(services, service) for service in _SERVICES}
        if self.catalogue_bucket is not None:
            resources[self.catalogue_resource] = self.catalogue_bucket
        return resources

    @property
    def catalogue_resource(self) -> str:
        """The key of the bucket of the catalogue."""
        return self.named("catalogue_bucket")

    def services(self, context: Any) -> Services:
        """The resources that a run or a tick was given."""
        return Services(*(getattr(context.resources, self.named(service)) for service in _SERVICES))


DEFAULT = Settings()
"""Plain names, every dataset: the pipeline of this repository, and of the command line."""


def is_like(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern, in which ``*`` and ``?`` stand for anything, and nothing else does."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def key_parts(prefix: str | list[str]) -> tuple[str, ...]:
    """Of a key prefix as people write it: ``lab/images``, or a list."""
    return tuple(prefix.split("/") if prefix and isinstance(prefix, str) else prefix)
