"""Checks of what is published, one partition per dataset.

A person launches them by the job `verify`. The job `promote` leaves them out, and answers what it has seen itself.
Where Dagster takes them along, as "Materialize" in its UI does, they look at a part of what was published.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from atdata_core.atmosphere.label_lookup import find_published
from atdata_core.common.licenses import license_problem
from atdata_core.promotion.stages.publish import PublishedRecord
from atdata_core.promotion.stages.schema_stage import PublishedSchema
from atdata_core.promotion.stages.visibility import Visibility
from atdata_core.promotion.verify.findings import Finding, Verification
from atdata_core.promotion.verify.verification import verify_dataset
from atdata_core.state.facts import LAST_RESULT
from atdata_core.state.index_state import state_of

from ..config.settings import RECORD, Services, Settings
from ..display.markdown import shown
from ..display.materialisation_metadata import safe, table
from ..display.progress import reporting
from .step_retries import POLICY, dagster_failures

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


def warnings_of(record: PublishedRecord, schema: PublishedSchema, seen: Visibility) -> dict[str, str]:
    """What is wrong with a dataset that was published all the same, by the check that it does not pass."""
    license = None if record.summary is None else license_problem(record.summary.license)
    compatible = schema.compatible
    broken = None if compatible is None or compatible.kept else str(compatible)
    warnings = {READABLE: seen.warning, COMPATIBLE: broken, LICENSE: license}
    return {check: warning for check, warning in warnings.items() if warning is not None}


def evaluations(
    settings: Settings, dataset: str, record: PublishedRecord, schema: PublishedSchema, seen: Visibility
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


FINDINGS_SHOWN = 100

SAMPLE = 1
"""Shards that are read of each dataset where only a part is: others each time."""

CHECKS = {
    "record_resolves": "Entry, schema and label are on the account's PDS, fit the lexicon and name each other.",
    "shards_as_published": "Every shard is where the record says and has the SHA-256 that the record states.",
    "samples_of_published_schema": "Every sample is of the type that the published schema describes.",
    READABLE: "Every shard can be read without a key.",
    COMPATIBLE: "The schema breaks nothing of the version before it, unless its own version says so.",
    LICENSE: "A license is given, as SPDX knows it: people and programs can tell what they may do.",
}

_COLUMNS = dg.TableSchema(
    columns=[dg.TableColumn(name, "string") for name in ("kind", "where", "problem", "expected", "found")]
)


class VerifyConfig(dg.Config):
    """How much of a dataset is read."""

    sample: int | None = Field(
        default=None,
        ge=1,
        description="Read only so many shards, drawn at random. Null: all of them, in a run that promotes one.",
    )


# A check that comes through a component is built again by Dagster, with a parameter that it calls beta.
warnings.filterwarnings("ignore", "Parameter `execution_type` of function `AssetsDefinition", dg.BetaWarning)


def _specs(settings: Settings) -> list[dg.AssetCheckSpec]:
    with warnings.catch_warnings():
        # Without partitions all datasets would share one light.
        warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                name, asset=settings.key(RECORD), description=said, partitions_def=settings.partitions
            )
            for name, said in CHECKS.items()
        ]


def published_true(settings: Settings) -> dg.AssetChecksDefinition:
    """What Dagster knows the checks by; people launch the job `verify`, which reports their results."""
    job = settings.named("verify")

    @dg.multi_asset_check(
        name=settings.named(PUBLISHED_TRUE),
        specs=_specs(settings),
        required_resource_keys=settings.resource_keys,
        retry_policy=POLICY,
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, config: VerifyConfig) -> Iterator[dg.AssetCheckResult]:
        if not context.has_partition_key:
            # The button "Execute all" of the asset's page knows no partitions.
            raise dg.Failure(
                f"The checks are of one dataset. Launch the job `{job}`, with the dataset as its partition.",
                allow_retries=False,
            )
        if context.run.asset_selection and config.sample is None:
            # Comes after the stages, which have just seen every shard.
            config = VerifyConfig(sample=SAMPLE)
        wanted = {key.name for key in context.selected_asset_check_keys}
        found = results_of(_verified(context, config, settings), settings)
        yield from (_shown_result(each) for each in found if each.check_name in wanted)

    return checks


def verify_published(settings: Settings) -> dg.OpDefinition:
    """All checks of one dataset; the op succeeds, what they found stands on the checks."""

    @dg.op(
        name=settings.named("verify_published"),
        required_resource_keys=settings.resource_keys,
        retry_policy=POLICY,
    )
    def verify(context: dg.OpExecutionContext, config: VerifyConfig) -> None:
        """All checks of one dataset; the op succeeds, what they found stands on the checks."""
        name = context.partition_key
        for each in results_of(_verified(context, config, settings), settings):
            context.log_event(evaluation_of(each, name))

    return verify


def evaluation_of(result: dg.AssetCheckResult, dataset: str) -> dg.AssetCheckEvaluation:
    """A result as what an op reports of a dataset."""
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=str(result.check_name),
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=shown(result.description or "", "markdown"),
        partition=dataset,
    )


def _shown_result(result: dg.AssetCheckResult) -> dg.AssetCheckResult:
    """A result with its description as the UI takes it."""
    return result._replace(description=shown(result.description or "", "markdown"))


def _verified(
    context: dg.AssetCheckExecutionContext | dg.OpExecutionContext,
    config: VerifyConfig,
    settings: Settings,
) -> Verification:
    """The verification of the run's dataset, with a line in the log for each finding."""
    name = context.partition_key
    context.instance.add_run_tags(context.run.run_id, {"dataset": name})
    services = settings.services(context)
    with dagster_failures():
        result = verify_dataset(
            published_uri(name, services),
            client=services.atproto.stranger(),
            sample=config.sample,
            progress=reporting(context.log.info, "shards read"),
        )
    for finding in result.findings[:FINDINGS_SHOWN]:
        context.log.warning(shown(str(finding), "log"))
    for note in result.notes:
        context.log.info(shown(note, "log"))
    return result


def results_of(result: Verification, settings: Settings) -> list[dg.AssetCheckResult]:
    """A verification as the results of the checks."""
    key = settings.key(RECORD)
    counts = {
        "at_uri": result.uri,
        "shards": result.shards,
        "shards_checked": result.shards_checked,
        "bytes_read": result.bytes_read,
        "samples": result.samples,
    }
    was_read = result.shards_checked > 0
    unread = "" if was_read else "No shard could be read."

    def of(name: str, findings: tuple[Finding, ...], passed: bool, said: str) -> dg.AssetCheckResult:
        told = _table(findings) if findings else {}
        return dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=passed and not findings,
            description=str(findings[0]) if findings else said,
            metadata=safe({**counts, **told, **({"notes": list(result.notes)} if result.notes else {})}),
            severity=severity_of(name, settings),
        )

    records = result.of("record", "schema", "label")
    shards, samples = result.of("shards"), result.of("schema", "samples")
    strangers = result.strangers == len(result.looked_at)
    compared = result.compatibility
    license = license_problem(result.license) if result.name else "The record could not be read."
    return [
        of("record_resolves", records, True, "Entry, schema and label are as published."),
        of("shards_as_published", shards, was_read, unread or f"{result.shards_checked} shards are as published."),
        of(
            "samples_of_published_schema",
            samples,
            was_read,
            unread or f"{result.samples:,} samples are of the schema.",
        ),
        of(
            READABLE,
            (),
            was_read and strangers,
            unread or f"{result.strangers} of {len(result.looked_at)} shards can be read without a key.",
        ),
        of(
            COMPATIBLE,
            (),
            compared is not None and compared.kept,
            "It could not be compared with an earlier version." if compared is None else str(compared),
        ),
        of(
            LICENSE,
            (),
            license is None,
            license or f"{result.license} is a license that SPDX knows.",
        ),
    ]


def published_uri(name: str, services: Services) -> str:
    """The at-uri of a dataset's last promotion by the account in use; else what its label says.

    Raises ``EntryNotFoundError`` where nothing is published of it.
    """
    did = services.atproto.did()
    last = state_of(services.redis.index()).ledger.get(LAST_RESULT(name))
    if last is not None and last.publication.did == did:
        return last.uri
    return find_published(services.atproto.stranger(), did, name)


def _table(findings: tuple[Finding, ...]) -> dict[str, Any]:
    rows = [
        {
            "kind": finding.kind,
            "where": finding.where,
            "problem": finding.problem,
            "expected": finding.expected or "",
            "found": finding.found or "",
        }
        for finding in findings[:FINDINGS_SHOWN]
    ]
    return {"findings": len(findings), "finding_table": table(_COLUMNS, rows)}
