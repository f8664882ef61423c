"""``atdata-pipelines verify``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from atdata_core.common.plurals import number_of
from atdata_core.errors import AtdataError

from .. import context
from ..command import DIFFERS, FAILED, Output, command, json_option, note, when_interrupted
from ..screen import progress_of

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.promotion.verify.findings import Verification


@command(
    "verify cells",
    "verify @lab.example.org/cells --sample 10",
    going_on="What was checked stands above. Run it again:",
)
@click.argument("datasets", nargs=-1, metavar="[AT_URI | NAME | @HANDLE/NAME]...")
@click.option("--all", "every", is_flag=True, help="Verify every dataset of the account ATDATA_HANDLE.")
@click.option(
    "--sample", type=click.IntRange(min=1), metavar="N", help="Read only N shards of each, drawn at random."
)
@click.option("--public", is_flag=True, help="End with 3 where a shard cannot be read anonymously.")
@json_option
def verify(datasets: tuple[str, ...], every: bool, sample: int | None, public: bool, output: Output) -> None:
    """Check that what is published is what its records say.

    Anybody can: an at-uri needs no Redis, no login and no keys. NAME is a dataset of the account ATDATA_HANDLE,
    @HANDLE/NAME one of another account. Record, schema and label are read from the account's own PDS, which must
    prove that each is in the repository that the account signed, with the key of its DID document; a PDS that
    cannot is named in a note. Every shard is read to its end: its SHA-256, each sample as the published schema
    describes it, and whether there are files in it that are no samples.

    Prints a line for each dataset: ok; private where all is as published, but this machine's keys were needed for
    some shards; FAILED, with a line for each thing that differs; UNREACHABLE where it could not be looked at. Ends
    with 3 where something differs; with 1 where something could not be looked at, whatever else differs.
    """
    if bool(datasets) == every:
        raise click.UsageError("Give at-uris or names, or --all.")
    from atdata_core.atmosphere import AtmosphereClient

    failed = unseen = private = count = 0
    when_interrupted(lambda: f"{number_of(count, 'dataset')} checked")
    with context.said():
        client = AtmosphereClient()
        for named in _every(client) if every else datasets:
            result = _verified(named, client, sample)
            count += 1
            failed += result.state == "failed"
            unseen += any(finding.kind == "unreachable" for finding in result.findings)
            private += result.state == "private"
            output.result(_facts(named, result), *_lines(named, result))
    if not count:
        note("This account has published no datasets.")
    of = number_of(count, "dataset")
    if failed:
        note(f"{failed:,} of {of} {'is' if failed == 1 else 'are'} not as published, or could not be checked.")
    if private and public:
        note(f"{private:,} of {of} {'has' if private == 1 else 'have'} shards that cannot be read anonymously.")
    if unseen:
        sys.exit(FAILED)
    if failed or (private and public):
        sys.exit(DIFFERS)


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

    progress = progress_of(f"shards of {named}")
    try:
        uri = context.uri_of(named, client)
    except AtdataError as error:
        # Nothing was compared: it fails, and does not differ.
        return Verification(named, findings=(replace(of_error("record", named, error), kind="unreachable"),))
    try:
        return verify_dataset(uri, client=client, sample=sample, progress=progress)
    except AtdataError as error:
        return Verification(named, findings=(of_error("record", named, error),))


def _facts(named: str, result: Verification) -> dict[str, Any]:
    """Of what was not found the name is known, and no at-uri."""
    if result.uri.startswith("at://"):
        return result.to_json()
    return {**result.to_json(), "name": named, "uri": None}


def _lines(named: str, result: Verification) -> Iterator[str]:
    """One line where all is well; else one for each finding."""
    name = f"{result.name} {result.uri}" if result.name else named
    if result.ok:
        signed = f", signed by {result.signed_by}" if result.signed_by else ""
        yield (
            f"{result.state} {name}: {result.shards_checked:,} of {number_of(result.shards, 'shard')}, "
            f"{number_of(result.bytes_read, 'byte')}, {number_of(result.samples, 'sample')}, "
            f"{result.readers}{signed}"
        )
    else:
        shards = number_of(result.shards, "shard")
        read = f", {result.shards_checked:,} of {shards} read" if result.shards else ""
        word = "FAILED" if any(finding.kind == "differs" for finding in result.findings) else "UNREACHABLE"
        yield f"{word} {name}: {number_of(len(result.findings), 'finding')}{read}"
    yield from (f"  {finding}" for finding in result.findings)
    yield from (f"  note: {note}" for note in result.notes)
