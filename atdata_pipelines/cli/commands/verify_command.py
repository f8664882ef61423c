"""``atdata-pipelines verify``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from atdata_core.errors import AtdataError

from ...display.progress import reporting
from . import context

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.promotion.verify.findings import Verification


@click.command()
@click.argument("datasets", nargs=-1, metavar="[AT_URI | NAME | HANDLE/NAME]...")
@click.option("--all", "every", is_flag=True, help="Verify every dataset of the account ATDATA_HANDLE.")
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Read only N shards of each, drawn at random."
)
@click.option("--public", is_flag=True, help="End with 1 where a shard cannot be read anonymously.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per dataset and line, for programs.")
def verify(datasets: tuple[str, ...], every: bool, sample: int | None, public: bool, as_json: bool) -> None:
    """Check that what is published is what its records say.

    Anybody can: an at-uri needs no Redis, no login and no keys. NAME is a dataset of the account ATDATA_HANDLE,
    HANDLE/NAME one of another account. Record, schema and label are read from the account's own PDS, which must
    prove that each is in the repository that the account signed, with the key of its DID document; a PDS that
    cannot is named in a note. Every shard is read to its end: its SHA-256, each sample as the published schema
    describes it, and whether there are files in it that are no samples.

    Prints a line for each dataset: ok; private where all is as published, but this machine's keys were needed for
    some shards; FAILED, with a line for each thing that differs. Ends with 1 where one failed.
    """
    if bool(datasets) == every:
        raise click.UsageError("Give at-uris or names, or --all.")
    from atdata_core.atmosphere import AtmosphereClient

    failed = private = count = 0
    with context.said():
        client = AtmosphereClient()
        for named in _every(client) if every else datasets:
            result = _verified(named, client, sample)
            count += 1
            failed += result.state == "failed"
            private += result.state == "private"
            click.echo(json.dumps(result.to_json()) if as_json else "\n".join(_lines(named, result)))
    if not count:
        click.echo("This account has published no datasets.", err=True)
    if failed:
        click.echo(f"{failed} of {count} datasets are not as published, or could not be checked.", err=True)
    if private and public:
        click.echo(f"{private} of {count} datasets have shards that cannot be read anonymously.", err=True)
    if failed or (private and public):
        sys.exit(1)


def _every(client: AtmosphereClient) -> Iterator[str]:
    from atdata_core.atmosphere.record_format.lexicon import OLD_ENTRY
    from atdata_core.atmosphere.record_format.record_keys import ENTRY

    account = context.account()
    for collection in (ENTRY, OLD_ENTRY):
        for record in client.iter_records(collection, repo=account):
            yield record.uri


def _verified(named: str, client: AtmosphereClient, sample: int | None) -> Verification:
    """The verification of one dataset; one that is not found fails like one that differs."""
    from atdata_core.promotion.verify.findings import Verification, of_error
    from atdata_core.promotion.verify.verification import verify_dataset

    progress = reporting(partial(click.echo, err=True), f"shards of {named}")
    try:
        return verify_dataset(_uri(named, client), client=client, sample=sample, progress=progress)
    except AtdataError as error:
        return Verification(named, findings=(of_error("record", named, error),))


def _uri(named: str, client: AtmosphereClient) -> str:
    from atdata_core.atmosphere.atmosphere_index import find_published
    from atdata_core.atmosphere.record_format.lexicon import is_did, is_handle
    from atdata_core.atmosphere.xrpc.identifiers import identifier_in

    if named.startswith("at://"):
        return named
    account, slash, name = named.partition("/")
    meant = identifier_in(account)
    if slash and name and (is_did(meant) or is_handle(meant)):
        return find_published(client, account, name)
    return find_published(client, context.account(), named)


def _lines(named: str, result: Verification) -> Iterator[str]:
    """One line where all is well; else one for each finding."""
    name = f"{result.name} {result.uri}" if result.name else named
    if result.ok:
        signed = f", signed by {result.signed_by}" if result.signed_by else ""
        yield (
            f"{result.state} {name}: {result.shards_checked} of {result.shards} shards, "
            f"{result.bytes_read:,} bytes, {result.samples:,} samples, {result.readers}{signed}"
        )
    else:
        read = f", {result.shards_checked} of {result.shards} shards read" if result.shards else ""
        count = len(result.findings)
        yield f"FAILED {name}: {count} {'finding' if count == 1 else 'findings'}{read}"
    yield from (f"  {finding}" for finding in result.findings)
    yield from (f"  note: {note}" for note in result.notes)
