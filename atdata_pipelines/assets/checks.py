"""Checks of what is published, one partition per dataset.

A person launches them by the job `verify`. The job `promote` leaves them out, and answers what it has seen itself.
Where Dagster takes them along, as "Materialize" in its UI does, they look at a part of what was published.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.labels import find_published
from atdata_core.atmosphere.receipt import Receipt, receipt_of
from atdata_core.common.licenses import license_problem
from atdata_core.promotion.stages.publish import PublishedRecord
from atdata_core.promotion.stages.schema_stage import PublishedSchema
from atdata_core.promotion.stages.visibility import Visibility
from atdata_core.promotion.verify.findings import Finding, Subject, Verification
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


def warnings_of(record: PublishedRecord, schema: PublishedSchema, seen: Visibility) -> dict[str, str]:
    """What is wrong with a dataset that was published all the same, by the check that it does not pass."""
    license = None if record.summary is None else license_problem(record.summary.license)
    compatible = schema.compatible
    broken = None if compatible is None or compatible.kept else str(compatible)
    warnings = {READABLE: seen.warning, COMPATIBLE: broken, LICENSE: license}
    return {check: warning for check, warning in warnings.items() if warning is not None}


def seen_in_passing(
    settings: Settings,
    record: PublishedRecord,
    schema: PublishedSchema,
    seen: Visibility,
    receipt: Receipt | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """The checks that the promotion of a dataset has an answer to; none where another run writes the record.

    Args:
        settings: Of the pipeline; they tell what is required.
        record: As it was published.
        schema: As it was found or written.
        seen: How the shards were seen where the record says.
        receipt: What the network says of the record, where it was asked.
    """
    # Of a number Dagster draws a plot.
    of = partial(_result, settings, {"at_uri": record.uri})
    if record.summary is None or record.change == "superseded":
        return
    if record.label_uri is not None:
        yield of(RESOLVES, True, "The promotion has read or written entry, schema and label on the account's PDS.")
    if not seen.unseen:
        said = f"The promotion has seen {seen.shards} shards where the record says, with the bytes that it states."
        yield of(AS_PUBLISHED, True, said)
    readable = seen.shards - len(seen.unreadable)
    yield of(READABLE, not seen.unreadable, f"{readable} of {seen.shards} shards can be read without a key.")
    if schema.compatible is not None:
        yield of(COMPATIBLE, schema.compatible.kept, str(schema.compatible))
    yield of(LICENSE, *_license_told(record.summary.license))
    if receipt is not None and receipt.seen is not None:
        yield of(SEEN, receipt.seen, receipt.said)


def _license_told(license: str | None) -> tuple[bool, str]:
    problem = license_problem(license)
    return problem is None, problem or f"{license} is a license that SPDX knows."


def _result(
    settings: Settings, metadata: Mapping[str, Any], check: str, passed: bool, said: str
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=settings.key(RECORD),
        check_name=check,
        passed=passed,
        description=said,
        metadata=safe(metadata),
        severity=severity_of(check, settings),
    )


def gone(settings: Settings, dataset: str, reason: str) -> dg.AssetCheckEvaluation:
    """That the record of a dataset does not resolve any more, as it was retracted or deleted elsewhere."""
    said = f"{reason}. It stays so until somebody promotes the dataset by name."
    return evaluation_of(_result(settings, {}, RESOLVES, False, said), dataset)


FINDINGS_SHOWN = 100

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


_PARTITIONED = "partitions_def" in inspect.signature(dg.AssetCheckSpec).parameters
"""Whether Dagster knows checks of partitions; one before 1.12.13 shows of each check the dataset that was last."""


# A check that comes through a component is built again by Dagster, with a parameter that it calls beta.
warnings.filterwarnings("ignore", "Parameter `execution_type` of function `AssetsDefinition", dg.BetaWarning)


def published_true(settings: Settings) -> dg.AssetChecksDefinition:
    """What Dagster knows the checks by; people launch the job `verify`, which reports their results."""
    job = settings.named("verify")
    with warnings.catch_warnings():
        # Without partitions all datasets would share one light.
        warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(
                name,
                asset=settings.key(RECORD),
                description=said,
                **({"partitions_def": settings.partitions} if _PARTITIONED else {}),
            )
            for name, said in CHECKS.items()
        ]

    @dg.multi_asset_check(
        name=settings.named(PUBLISHED_TRUE),
        specs=specs,
        required_resource_keys=settings.resource_keys,
        retry_policy=POLICY,
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, config: VerifyConfig) -> Iterator[dg.AssetCheckResult]:
        # Before Dagster 1.12.13 the context of checks knows no partitions, but that of their op does.
        op = context.op_execution_context
        if not op.has_partition_key:
            # The button "Execute all" of the asset's page knows no partitions.
            raise dg.Failure(
                f"The checks are of one dataset. Launch the job `{job}`, with the dataset as its partition.",
                allow_retries=False,
            )
        if context.run.asset_selection and config.sample is None:
            # Comes after the stages, which have just seen every shard.
            config = VerifyConfig(sample=SAMPLE)
        wanted = {key.name for key in context.selected_asset_check_keys}
        client = settings.services(op).atproto.anonymous()
        for each in results_of(verified(op, config, settings), client, settings):
            if each.check_name in wanted:
                yield each._replace(description=shown(each.description or "", "markdown"))

    return checks


def evaluation_of(result: dg.AssetCheckResult, dataset: str) -> dg.AssetCheckEvaluation:
    """A result as what an op reports of a dataset."""
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=str(result.check_name),
        passed=result.passed,
        metadata={"dataset": shown(dataset), **result.metadata},
        severity=result.severity,
        description=shown(result.description or "", "markdown"),
        **({"partition": dataset} if _PARTITIONED else {}),
    )


def verified(
    context: dg.AssetCheckExecutionContext | dg.OpExecutionContext, config: VerifyConfig, settings: Settings
) -> Verification:
    """The verification of the dataset of a run, told in its log."""
    name = context.partition_key
    context.instance.add_run_tags(context.run.run_id, {"dataset": name})
    services = settings.services(context)
    with dagster_failures():
        result = verify_dataset(
            published_uri(name, services),
            client=services.atproto.anonymous(),
            sample=config.sample,
            progress=reporting(context.log.info, "shards read"),
        )
    for finding in result.findings[:FINDINGS_SHOWN]:
        context.log.warning(shown(str(finding), "log"))
    for note in result.notes:
        context.log.info(shown(note, "log"))
    return result


def results_of(result: Verification, client: AtmosphereClient, settings: Settings) -> list[dg.AssetCheckResult]:
    """A verification, and what the network says of the record now, as the results of the checks."""
    receipt = receipt_of(result.uri, client, wait=0)
    counts = {
        "at_uri": result.uri,
        "shards": result.shards,
        "shards_checked": result.shards_checked,
        "bytes_read": result.bytes_read,
        "samples": result.samples,
    }
    notes = {"notes": list(result.notes)} if result.notes else {}
    was_read = result.shards_checked > 0
    anonymous, looked_at = result.anonymous, len(result.looked_at)
    compared = result.compatibility

    def of(check: str, passed: bool, said: str, *subjects: Subject) -> dg.AssetCheckResult:
        """``said`` of them where nothing was found."""
        found = result.of(*subjects)
        told = _table(found) if found else {}
        return _result(
            settings, {**counts, **told, **notes}, check, passed and not found, str(found[0]) if found else said
        )

    def of_shards(check: str, passed: bool, said: str, *subjects: Subject) -> dg.AssetCheckResult:
        return of(check, was_read and passed, said if was_read else "No shard could be read.", *subjects)

    return [
        of(RESOLVES, True, "Entry, schema and label are as published.", "record", "schema", "label"),
        of_shards(AS_PUBLISHED, True, f"{result.shards_checked} shards are as published.", "shards"),
        of_shards(SAMPLES, True, f"{result.samples:,} samples are of the schema.", "schema", "samples"),
        of_shards(
            READABLE, anonymous == looked_at, f"{anonymous} of {looked_at} shards can be read without a key."
        ),
        of(COMPATIBLE, compared.kept, str(compared))
        if compared is not None
        else of(COMPATIBLE, False, "It could not be compared with an earlier version."),
        of(LICENSE, *(_license_told(result.license) if result.name else (False, "The record could not be read."))),
        of(SEEN, receipt.seen is not False, receipt.said),
    ]


def published_uri(name: str, services: Services) -> str:
    """The at-uri of a dataset's last promotion by the account in use; else what its label says.

    Raises ``EntryNotFoundError`` where nothing is published of it.
    """
    did = services.atproto.did()
    last = state_of(services.redis.index()).ledger.get(LAST_RESULT(name))
    if last is not None and last.publication.did == did:
        return last.uri
    return find_published(services.atproto.anonymous(), did, name)


def _table(findings: tuple[Finding, ...]) -> dict[str, Any]:
    names = [column.name for column in _COLUMNS.columns]
    rows = [{name: getattr(each, name) or "" for name in names} for each in findings[:FINDINGS_SHOWN]]
    return {"findings": len(findings), "finding_table": table(_COLUMNS, rows)}
