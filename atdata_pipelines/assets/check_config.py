"""The names of the checks, what it means where one does not pass, and how much of a dataset they read."""

import inspect

import dagster as dg
from pydantic import Field

from ..config.settings import Settings

RESOLVES, AS_PUBLISHED, SAMPLES = "record_resolves", "shards_as_published", "samples_of_published_schema"
READABLE, COMPATIBLE, LICENSE = "readable_anonymously", "schema_compatible", "license_known"
SEEN = "seen_by_the_network"


def severity_of(check: str, settings: Settings) -> dg.AssetCheckSeverity:
    """What it means where a check does not pass: what a pipeline does not require is a warning."""
    required = {
        READABLE: settings.options.require_public,
        COMPATIBLE: settings.options.require_compatible,
        LICENSE: settings.options.require_license,
        SEEN: False,
    }
    return dg.AssetCheckSeverity.ERROR if required.get(check, True) else dg.AssetCheckSeverity.WARN


SAMPLE = 1
"""Shards that are read of each dataset where only a part is: others each time."""

CHECKS = {
    RESOLVES: "Entry, schema and label are on the account's PDS, fit the lexicon and name each other.",
    AS_PUBLISHED: "Every shard is where the record says and has the SHA-256 that the record states.",
    SAMPLES: "Every sample is of the type that the published schema describes.",
    READABLE: "Every shard can be read without a key.",
    COMPATIBLE: "The schema breaks nothing of the version before it, unless its own version says so.",
    LICENSE: "A license is given, as SPDX knows it: people and programs can tell what they may do.",
    SEEN: "The AppView or relay that is configured has the record: others find it.",
}


class VerifyConfig(dg.Config):
    """How much of a dataset is read."""

    sample: int | None = Field(
        default=None,
        ge=1,
        description="Read only so many shards, drawn at random. Null: all of them, in a run that promotes one.",
    )


class VerifyManyConfig(VerifyConfig):
    """Which datasets are looked at, and how much of each is read."""

    datasets: list[str] = Field(default=[], description="Names of datasets. Empty: all that are published.")


PARTITIONED = "partitions_def" in inspect.signature(dg.AssetCheckSpec).parameters
"""Whether Dagster knows checks of partitions; one before 1.12.13 shows of each check the dataset that was last."""
