"""What checks find: of a promotion that has just been done, and of a verification that reads what is published."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg

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
from .check_config import (
    AS_PUBLISHED,
    COMPATIBLE,
    LICENSE,
    PARTITIONED,
    READABLE,
    RESOLVES,
    SAMPLES,
    SEEN,
    VerifyConfig,
    severity_of,
)
from .step_retries import dagster_failures

FINDINGS_SHOWN = 100

_COLUMNS = dg.TableSchema(
    columns=[dg.TableColumn(name, "string") for name in ("kind", "where", "problem", "expected", "found")]
)


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


def evaluation_of(result: dg.AssetCheckResult, dataset: str) -> dg.AssetCheckEvaluation:
    """A result as what an op reports of a dataset."""
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=str(result.check_name),
        passed=result.passed,
        metadata={"dataset": shown(dataset), **result.metadata},
        severity=result.severity,
        description=shown(result.description or "", "markdown"),
        **({"partition": dataset} if PARTITIONED else {}),
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
