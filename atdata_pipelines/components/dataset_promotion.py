"""The pipeline as a component, configured in ``defs.yaml``."""

import re
from collections.abc import Iterator
from dataclasses import replace
from inspect import Signature
from typing import TYPE_CHECKING, Annotated, Any, Literal

import dagster as dg
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import Field, field_validator

from atdata_core.common.licenses import license_problem
from atdata_core.errors import RefusedError
from atdata_core.promotion.options import OF_INSTANCE, PromotionOptions

from ..assets.catalogue_asset import catalogue
from ..assets.checks import published_true
from ..assets.stage_assets import stages
from ..assets.upstream import declarations, partitions_found, place_of
from ..automation.automation_conditions import entries, with_conditions
from ..automation.sensor import new_datasets, nightly_promotion
from ..config.hooks import Hooks
from ..config.resources import DestinationResource, ShardS3Resource
from ..config.run_config import with_options
from ..config.settings import DEFAULT, Settings, key_parts
from ..config.times import is_cron
from ..jobs.promotion_jobs import promote, promote_many
from ..jobs.verification_jobs import verification, verify, verify_many, weekly_verification

if TYPE_CHECKING:
    from ..components import DatasetPromotion

_NAME = re.compile(r"[A-Za-z0-9_]+")


class Destination(dg.Model, dg.Resolvable):
    """A bucket that anybody reads."""

    bucket: str
    public_url: str = Field(description="URL by which anybody reads the bucket.")
    endpoint_url: str | None = Field(default=None, description="Where it is not that of the shards' own service.")
    access_key_id_env: str | None = Field(
        default=None, description="Variable that holds the key; not given: the same key as for reading."
    )
    secret_access_key_env: str | None = Field(
        default=None, description="Variable that holds the secret key; not given: the same as for reading."
    )

    def resource(self) -> DestinationResource:
        """As a resource; a key is read from its variable when a run needs it, and is shown nowhere."""
        key, secret = self.access_key_id_env, self.secret_access_key_env
        return DestinationResource(
            bucket=self.bucket,
            public_url=self.public_url,
            endpoint_url=self.endpoint_url,
            access_key_id=dg.EnvVar(key) if key else None,
            secret_access_key=dg.EnvVar(secret) if secret else None,
        )


class _Scaffolder(dg.Scaffolder[dg.ScaffoldRequest]):
    """Writes the ten lines that a first instance needs, under the name that it is given."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        given = request.target_path.name
        name = re.sub(r"[^A-Za-z0-9_]", "_", given)
        dg.scaffold_component(request, {"key_prefix": name, "group": name, "pattern": f"{given}*", "license": None})


@dg.scaffold_with(_Scaffolder)
@with_options(OF_INSTANCE, "instance")
class DatasetPromotion(Hooks, dg.Component, dg.Model, dg.Resolvable):
    """Promotes local WebDataset datasets to the AT Protocol network.

    Redis, S3 and the account come from the environment, which ``atdata-pipelines doctor`` examines. A team's own
    component is a subclass that overrides methods of ``Hooks``; ``docs/how-to/dagster-project.md`` shows one.
    """

    key_prefix: str | list[str] = Field(
        default="",
        description="Of the assets, such as lab/images; jobs, sensors and partitions are named by it, too.",
    )
    group: str = Field(default=DEFAULT.group, description="Of the assets.")
    pattern: str = Field(
        default=DEFAULT.pattern,
        description="Names of the datasets that are promoted here; * and ? stand for anything.",
        json_schema_extra={"minLength": 1},
    )
    upstream: str | None = Field(
        default=None, description="Key of an asset that makes the datasets: local_dataset depends on it."
    )
    s3: Annotated[Any, dg.Resolver(lambda _, given: given, model_field_type=str)] | None = Field(
        default=None,
        description="S3Resource of dagster_aws that shards are read with, as a template variable; null: as the "
        "environment says.",
    )
    destination: Destination | Literal["pds"] | None = Field(
        default=None,
        description="Where shards are copied to; pds: they become blobs of the account. Not given: "
        "ATDATA_PUBLISH_BUCKET, or ATDATA_PUBLISH_TO; neither: they stay.",
    )
    catalogue: Destination | None = Field(
        default=None,
        description="Bucket of a static site of all that the account has published; not given: none is made.",
    )
    sensor: bool = Field(
        default=False, description="Whether the sensor is on from the beginning; else a person turns it on."
    )
    cron: str | None = Field(
        default=DEFAULT.cron, description="When the nightly promotion begins; null: no such schedule."
    )
    verification_cron: str | None = Field(
        default=DEFAULT.verification_cron,
        description="When the weekly verification begins; null: no such schedule.",
    )
    automation: bool = Field(
        default=False,
        description="Let automation conditions start the runs of single datasets, which the sensor marks.",
    )
    bulk_from: int = Field(
        default=DEFAULT.bulk_from,
        ge=1,
        description="More datasets than this in one tick of the sensor are promoted in one run.",
    )
    batch_size: int = Field(
        default=DEFAULT.batch_size, ge=1, description="Datasets that the sensor gives to one run at most."
    )
    copying_pool: str | None = Field(
        default=DEFAULT.copying_pool, description="Pool of the stages that read and copy shards."
    )
    publishing_pool: str | None = Field(
        default=DEFAULT.publishing_pool, description="Pool of the stages that write to the PDS."
    )
    executor: Literal["in-process", "multiprocess", "celery", "k8s"] | None = Field(
        default=None,
        description="Where the steps of its jobs are done; null: as ATDATA_EXECUTOR says, else in-process.",
    )
    translation: (
        Annotated[
            TranslationFn[dg.AssetSpec],
            TranslationFnResolver(lambda spec: {"spec": spec, "stage": spec.key.path[-1]}),
        ]
        | None
    ) = Field(
        default=None,
        description="Of the specs of its assets, as of other components: {{ stage }} and {{ spec }} are known.",
    )

    @field_validator("key_prefix")
    @classmethod
    def _names(cls, prefix: str | list[str]) -> str | list[str]:
        for part in key_parts(prefix):
            if not _NAME.fullmatch(part):
                raise ValueError(
                    f"{part!r} cannot be a part of a key prefix: jobs are named by it. Use letters, digits and _."
                )
        return prefix

    @field_validator("pattern")
    @classmethod
    def _fits(cls, pattern: str) -> str:
        if not pattern:
            raise ValueError("'' fits no dataset. Leave it out, or write *, for all of them.")
        return pattern

    @field_validator("s3", mode="before")
    @classmethod
    def _readable(cls, given: object) -> ShardS3Resource | None:
        try:
            return None if given is None else ShardS3Resource.of(given)
        except RefusedError as error:
            raise ValueError(error.message) from None

    @field_validator("license", check_fields=False)
    @classmethod
    def _known(cls, given: str | None) -> str | None:
        problem = None if given is None else license_problem(given)
        if problem is not None:
            raise ValueError(problem)
        return given

    @field_validator("cron", "verification_cron")
    @classmethod
    def _times(cls, cron: str | None) -> str | None:
        if cron is not None and not is_cron(cron):
            raise ValueError(
                f"{cron!r} is no cron expression of five fields: minute, hour, day, month, day of the week. "
                'Write one such as "0 3 * * *" (each night at three), or null for no such schedule.'
            )
        return cron

    def get_asset_spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        """As the YAML's ``translation`` says; see ``Hooks``."""
        return spec if self.translation is None else self.translation(spec, spec)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """All definitions of this instance; raises ``InstanceError`` where another has the same names."""
        # A component that is built by itself has a tree that knows of no project.
        settings = self.settings()
        if context.component_tree.is_fully_loaded():
            instances_in(context.component_tree)
            if settings.upstream is not None:
                found = partitions_found(settings.upstream, context)
                settings = replace(settings, upstream_partitions=found)
        return promotion_definitions(settings)

    def settings(self) -> Settings:
        """What the instance is configured with."""
        return Settings(
            key_prefix=key_parts(self.key_prefix),
            group=self.group,
            pattern=self.pattern,
            options=PromotionOptions.of_instance(**{name: getattr(self, name) for name in OF_INSTANCE}),
            cron=self.cron,
            verification_cron=self.verification_cron,
            sensor=self.sensor,
            automation=self.automation,
            bulk_from=self.bulk_from,
            batch_size=self.batch_size,
            copying_pool=self.copying_pool,
            publishing_pool=self.publishing_pool,
            upstream=dg.AssetKey.from_user_string(self.upstream) if self.upstream else None,
            executor=self.executor,
            hooks=self,
            s3=self.s3 or ShardS3Resource(),
            destination=self._destination(),
            catalogue_bucket=self.catalogue.resource() if self.catalogue else None,
        )

    def _destination(self) -> DestinationResource:
        if self.destination is None or isinstance(self.destination, str):
            return DestinationResource(to=self.destination)
        return self.destination.resource()


class InstanceError(RefusedError):
    """The instances of a project cannot be told apart or loaded, or none of them is meant."""


def instances_in(tree: dg.ComponentTree) -> dict[str, Settings]:
    """The instances of a project: where each stands, and what it is configured with.

    Raises:
        InstanceError: The definitions of two instances would have the same names.
    """
    found = {path: component.settings() for path, component in _components(tree)}
    first: dict[str, str] = {}
    for path, settings in found.items():
        other = first.setdefault(settings.named(""), path)
        if other != path:
            raise InstanceError(
                f"{other} (key_prefix: {prefix_of(found[other])}) and {path} (key_prefix: {prefix_of(settings)}) "
                f"would both have a job that is called {settings.named('promote')}, and the same partitions. Give "
                "one of them another key_prefix."
            )
    return found


def _components(tree: dg.ComponentTree) -> Iterator[tuple[str, DatasetPromotion]]:
    # Dagster 1.13 calls it load_component.
    load = tree.load_component if hasattr(tree, "load_component") else tree.load_component_at_path
    for declared in declarations(tree.find_root_decl()):
        place, kind = place_of(declared), declared.component_type
        # A function that makes a component need not say of which type it is.
        untold = kind in (dg.Component, Signature.empty) or not isinstance(kind, type)
        if untold or issubclass(kind, DatasetPromotion):
            component = load(place)
            if isinstance(component, DatasetPromotion):
                yield f"{tree.defs_module_path.name}/{place.get_relative_key(tree.defs_module_path)}", component


def prefix_of(settings: Settings) -> str:
    """The key prefix of an instance, as it is given to an option."""
    return "/".join(settings.key_prefix) or '""'


def promotion_definitions(settings: Settings = DEFAULT) -> dg.Definitions:
    """Assets, checks, jobs, sensor and schedules, with resources that read the environment."""
    assets = with_conditions(stages(settings), settings)
    one, many, look = promote(settings), promote_many(settings, assets), verify_many(settings)
    schedules = []
    if settings.cron is not None:
        schedules.append(nightly_promotion(settings, many, settings.cron))
    if settings.verification_cron is not None:
        schedules.append(weekly_verification(settings, look, settings.verification_cron))
    return dg.Definitions(
        assets=[
            *assets,
            verification(settings),
            *([entries(settings)] if settings.automation else []),
            *([catalogue(settings)] if settings.catalogue_bucket else []),
        ],
        asset_checks=[published_true(settings)],
        jobs=[one, many, verify(settings), look],
        sensors=[new_datasets(settings, [one, many])],
        schedules=schedules,
        resources=settings.resources(),
    )
