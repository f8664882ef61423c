"""``atdata-pipelines reconcile``."""

from __future__ import annotations

import sys
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from atdata_core.atmosphere.record_format.record_keys import LABEL
from atdata_core.common.plurals import number_of
from atdata_core.errors import AtdataError

from .. import context
from ..command import DIFFERS, FAILED, Output, command, json_option, note
from ..screen import progress_of

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.local import LocalIndex
    from atdata_core.promotion.operations.reconcile import Discrepancy, Reconciliation
    from atdata_core.promotion.operations.recover import Recovered
    from atdata_core.promotion.records.published_names import Versions

Promotion = tuple[str, str | None, str | None]
"""Published name, entry CID, and the version whose label it sets."""


@command(
    "reconcile",
    "reconcile cells --restore",
    going_on="What was restored or recovered stays. Run it again for the rest:",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--restore", is_flag=True, help="Promote again what is gone, or older than what was written.")
@click.option(
    "--recover",
    is_flag=True,
    help=("Take back into the index what it lost and was published from here: schema, shards, name and values."),
)
@json_option
def reconcile(names: tuple[str, ...], restore: bool, recover: bool, output: Output) -> None:
    """Compare what the ledger knows with the account's records: of the datasets NAME..., or of all.

    What the ledger lost it learns from the records, so that nothing is promoted needlessly. A lab whose Redis
    was lost has its datasets again with --recover. Nothing is written to the network without --restore, and
    records of other programs are left alone.

    Ends with 3 where a record is gone, older or edited elsewhere, and not restored; with 1 where one could not be
    restored or recovered.
    """
    from atdata_core.promotion.operations.reconcile import reconcile as compare

    with context.said():
        client, index, ledger = context.client(), context.index(), context.ledger()
        lost = _recover(names, index, client) if recover else []
        found = compare(index, client, ledger, names)
    for finding in found.discrepancies:
        output.line(f"{finding.kind:10}  {finding.name}  {finding.uri}\n{'':12}{finding.note}")
    with context.said():
        restored, failed = _restore(found, index, client) if restore else ({}, {})
    vanished = [finding for finding in found.of("gone", "older") if _promotion(finding) not in restored]
    counts = ", ".join(f"{number} {kind}" for kind, number in found.counts.items()) or "all as the ledger has them"
    for finding in found.discrepancies:
        again = {"restored": restored.get(_promotion(finding)), "error": failed.get(finding.uri)}
        output.data({**asdict(finding), "note": finding.note, **again})
    output.result(
        {
            "did": found.did,
            "records": found.records,
            "counts": found.counts,
            "restored": [*restored.values()],
            "failed": failed,
        },
        f"{number_of(found.records, 'record')} looked at: {counts}",
    )
    if vanished and not restore:
        note("--restore promotes again what is gone or older.")
    if found.of("orphaned") and not recover:
        note("--recover takes back into the index what was published from here and it has lost.")
    if found.of("edited"):
        note("promote NAME --take-over writes over what was edited elsewhere.")
    if failed or lost:
        sys.exit(FAILED)
    if vanished or found.of("edited"):
        sys.exit(DIFFERS)


def _recover(names: tuple[str, ...], index: LocalIndex, client: AtmosphereClient) -> list[Recovered]:
    """Take datasets back into the index; those that could not be."""
    from atdata_core.promotion.operations.recover import recover

    found = recover(index, client, names)
    for each in found:
        said = (
            f"Error: {each.uri} was not recovered: {each.problem}" if each.problem else f"  recovered {each.name}"
        )
        note(said)
    return [each for each in found if each.problem]


def _promotion(finding: Discrepancy) -> Promotion:
    return finding.name, finding.cid, finding.version


def _restore(
    found: Reconciliation, index: LocalIndex, client: AtmosphereClient
) -> tuple[dict[Promotion, str], dict[str, str]]:
    """Promote the entries that findings belong to; at-uris of what was promoted, and failures."""
    from atdata_core.promote import promote_to_atmosphere
    from atdata_core.promotion.records.published_names import Versions, versions_of

    from ..project import settings_here, settings_of

    versions, instances = Versions(versions_of(index), client.did), settings_here()
    restored: dict[Promotion, str] = {}
    failed: dict[str, str] = {}
    for finding in found.of("gone", "older"):
        entry = versions.find(finding.dataset or "", finding.cid or "")
        if entry is None:
            failed[finding.uri] = _why_not(finding, versions)
        elif _promotion(finding) not in restored:
            try:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    settings = settings_of(entry.name, instances)
                    uri = promote_to_atmosphere(
                        entry,
                        index,
                        client,
                        data_store=context.store(settings),
                        name=finding.name,
                        version=finding.version,
                        progress=progress_of(f"shards of {entry.name}"),
                        **settings.keywords(),
                    )
            except AtdataError as error:
                failed[finding.uri] = error.message
            else:
                restored[_promotion(finding)] = uri
                for warning in said:
                    note(f"  {warning.message}")
                note(f"  restored {uri}")
    for uri, reason in failed.items():
        note(f"Error: {uri} was not restored: {reason}")
    return restored, failed


def _why_not(finding: Discrepancy, versions: Versions) -> str:
    """Why no promotion of what was published before brings a record back."""
    if finding.dataset in versions.names and f"/{LABEL}/" in finding.uri and finding.version is None:
        promote = context.promotion_of(finding.dataset, finding.name)
        return f"the index has a newer entry, which was never published. {promote} publishes it and sets the label"
    return "its entry is not in the index any more"
