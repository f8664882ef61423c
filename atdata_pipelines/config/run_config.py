"""What a person can ask of the promotion of one dataset, as the configuration of a run."""

from typing import Any

import dagster as dg
from pydantic import Field

from atdata_core.promotion.options import PromotionOptions
from atdata_core.promotion.values import Values

from .dagster_internals import AUTOMATION_CONDITION_TAG
from .settings import RECORD, Settings


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

    keep_urls: bool | None = Field(
        default=None,
        description="True: publish the index's own URLs, also where a destination is configured or copies are "
        "published. False: end that. Null: as it was last said.",
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
    allow_private: bool = Field(
        default=False,
        description="Publish shards that strangers cannot read in the place of those that they can; else refused.",
    )

    def asked(self, settings: Settings, run: dg.DagsterRun) -> PromotionOptions:
        """All of it, for a stage of a run, with what the pipeline is configured with."""
        return PromotionOptions(
            self.name,
            Values.of(self.description, self.tags, self.license, self.keep_urls),
            self.version,
            self.take_over,
            self.restore and AUTOMATION_CONDITION_TAG not in run.tags,
            self.require_public or settings.require_public,
            run.run_id,
            settings.defaults,
            self.require_license or settings.require_license,
            self.require_compatible or settings.require_compatible,
            self.allow_private,
        )


def asked_of(run: dg.DagsterRun, settings: Settings) -> PromotionOptions:
    """What a run says to its last stage, so that an early one can refuse it before anything is written."""
    ops: Any = run.run_config.get("ops", {})
    said = ops.get(settings.named(RECORD), {}).get("config", {})
    return PromotionConfig(**said).asked(settings, run)
