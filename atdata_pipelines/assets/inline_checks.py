"""Checks that a promotion answers in passing: what it has looked at itself is not looked at again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from atdata_core.common.licenses import license_problem

from ..config.settings import RECORD, Settings
from ..display.markdown import shown
from ..display.materialisation_metadata import safe

if TYPE_CHECKING:
    from atdata_core.promotion.stages.publish import PublishedRecord
    from atdata_core.promotion.stages.schema_stage import PublishedSchema
    from atdata_core.promotion.stages.visibility import Visibility


PUBLISHED_TRUE = "published_true"
"""The op of the checks, where a run has it."""

READABLE, COMPATIBLE, LICENSE = "readable_by_strangers", "schema_compatible", "license_known"


def severity_of(check: str, settings: Settings) -> dg.AssetCheckSeverity:
    """What it means where a check does not pass: what a pipeline does not require is a warning."""
    required = {
        READABLE: settings.options.require_public,
        COMPATIBLE: settings.options.require_compatible,
        LICENSE: settings.options.require_license,
    }
    return dg.AssetCheckSeverity.ERROR if required.get(check, True) else dg.AssetCheckSeverity.WARN


def warnings_of(record: "PublishedRecord", schema: "PublishedSchema", seen: "Visibility") -> dict[str, str]:
    """What is wrong with a dataset that was published all the same, by the check that it does not pass."""
    license = None if record.summary is None else license_problem(record.summary.license)
    compatible = schema.compatible
    broken = None if compatible is None or compatible.kept else str(compatible)
    warnings = {READABLE: seen.warning, COMPATIBLE: broken, LICENSE: license}
    return {check: warning for check, warning in warnings.items() if warning is not None}


def evaluations(
    settings: Settings, dataset: str, record: "PublishedRecord", schema: "PublishedSchema", seen: "Visibility"
) -> Iterator[dg.AssetCheckEvaluation]:
    """The checks that the promotion of a dataset has an answer to; none where another run writes the record.

    Args:
        settings: Of the pipeline; they tell what is required.
        dataset: The partition.
        record: As it was published.
        schema: As it was found or written.
        seen: How the shards were seen where the record says.
    """

    def of(check: str, passed: bool, said: str) -> dg.AssetCheckEvaluation:
        return dg.AssetCheckEvaluation(
            asset_key=settings.key(RECORD),
            check_name=check,
            passed=passed,
            severity=severity_of(check, settings),
            description=shown(said, "markdown"),
            metadata=safe({"at_uri": record.uri, "shards": seen.shards}),
            partition=dataset,
        )

    if record.summary is None or record.change == "superseded":
        return
    if record.label_uri is not None:
        said = "The promotion has read or written entry, schema and label on the account's PDS."
        yield of("record_resolves", True, said)
    if not seen.unseen:
        said = f"The promotion has seen {seen.shards} shards where the record says, with the bytes that it states."
        yield of("shards_as_published", True, said)
    readable = seen.shards - len(seen.unreadable)
    said = f"{readable} of {seen.shards} shards can be read without a key."
    yield of(READABLE, not seen.unreadable, said)
    if schema.compatible is not None:
        yield of(COMPATIBLE, schema.compatible.kept, str(schema.compatible))
    problem = license_problem(record.summary.license)
    yield of(LICENSE, problem is None, problem or f"{record.summary.license} is a license that SPDX knows.")
