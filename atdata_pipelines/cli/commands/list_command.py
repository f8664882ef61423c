"""``atdata-pipelines list`` and ``search``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from atdata_core.common.plurals import number_of
from atdata_core.common.urls import expand

from ...display.markdown import whole
from .. import context
from ..command import Output, command, json_option, note

if TYPE_CHECKING:
    from atdata_core.atmosphere.app_view import SearchHit
    from atdata_core.local import LocalDatasetEntry, LocalIndex

PAGE = 500
"""Datasets that one question to the ledger is about."""

MOST = 100
"""Datasets that are told of one search."""


@command("list", "list --json", going_on="Run it again:", name="list")
@json_option
def list_datasets(output: Output) -> None:
    """List the datasets of the index, and where each is published.

    Asks Redis alone; status says more of each: what waits, and why.
    """
    with context.said():
        rows = list(_rows(context.index()))
    if output.as_json:
        for row in rows:
            output.data(row)
    elif rows:
        output.line(*_table(rows))
    else:
        output.line("The index has no datasets. atdata-pipelines add NAME PATHS... --type MODULE:CLASS adds one.")


def _rows(index: LocalIndex) -> Iterator[dict[str, Any]]:
    from atdata_core.state.facts import LAST_RESULT

    ledger, entries = context.ledger(), index.list_datasets()
    for start in range(0, len(entries), PAGE):
        page = entries[start : start + PAGE]
        found = ledger.get_many([LAST_RESULT(entry.name) for entry in page])
        for entry in page:
            last = found[LAST_RESULT(entry.name)]
            yield {
                **_facts(entry),
                "uri": None if last is None else last.uri,
                "current": last is not None and last.publication.cid == entry.cid,
            }


def _facts(entry: LocalDatasetEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "cid": entry.cid,
        "schema": entry.schema_ref,
        "shards": len(expand(entry.data_urls)) if entry.data_urls else 0,
        "registered_at": context.time_of(entry.registered_at),
    }


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    cells = [("NAME", "SHARDS", "SCHEMA", "PUBLISHED AS")]
    for row in rows:
        published = row["uri"] or "-"
        published += "  (an earlier entry)" if row["uri"] and not row["current"] else ""
        schema = row["schema"].removeprefix("local://schemas/")
        cells.append((row["name"], f"{row['shards']:,}", schema, published))
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    for name, shards, schema, published in cells:
        yield f"{name:{widths[0]}}  {shards:>{widths[1]}}  {schema:{widths[2]}}  {published}"


@command("search cells --tag microscopy", "search cells --account lab.example.org", going_on="Run it again:")
@click.argument("words", nargs=-1)
@click.option("--tag", "tags", multiple=True, metavar="T", help="Only datasets with this tag; once for each.")
@click.option(
    "--account", "accounts", multiple=True, metavar="H", help="Only datasets of this handle or DID; once for each."
)
@json_option
def search(words: tuple[str, ...], tags: tuple[str, ...], accounts: tuple[str, ...], output: Output) -> None:
    """Search for published datasets whose name, description or tags have all of WORDS.

    Asks the AppView ATDATA_APPVIEW_URL, which knows the datasets of the whole network, where one is set; else the
    accounts that are named. What was asked is told in a note. No login and no keys are needed.
    """
    if not (words or tags or accounts):
        raise click.UsageError("Give words, --tag or --account.")
    count = 0
    with context.said():
        asked, hits = _asked(words, tags, accounts)
        for hit in islice(hits, MOST):
            count += 1
            output.result(asdict(hit), *_lines(hit))
        more = next(hits, None) is not None
    limit = f", the first {MOST:,}; more words tell fewer" if more else ""
    note(f"{number_of(count, 'dataset')} found{limit}. Asked: {asked}.")


def _asked(
    words: tuple[str, ...], tags: tuple[str, ...], accounts: tuple[str, ...]
) -> tuple[str, Iterator[SearchHit]]:
    """Who is asked, as a person is told it, and what is found there."""
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.atmosphere.app_view import VARIABLE, AppView, search_accounts

    client = AtmosphereClient()
    if os.environ.get(VARIABLE, "").strip():
        view = AppView()
        repos = [client.did_of(account) for account in accounts] or [None]
        found = (view.search(words, tags=tags, repo=repo) for repo in repos)
        return f"the AppView {view.url}", chain.from_iterable(found)
    if not accounts:
        raise click.UsageError(
            f"Nobody is there to ask: {VARIABLE} names no AppView, which knows the datasets of the whole network. "
            "Set it, or name accounts with --account."
        )
    return ", ".join(accounts), search_accounts(client, accounts, words, tags=tags)


def _lines(hit: SearchHit) -> Iterator[str]:
    earlier = "  (an earlier entry)" if hit.current is False else ""
    yield f"{whole(hit.name)}{earlier}"
    yield f"  {whole(hit.uri)}"
    if hit.description:
        yield f"  {whole(hit.description.partition(chr(10))[0])}"
    facts = [
        *([f"license {hit.license}"] if hit.license else []),
        *([f"tags {', '.join(hit.tags)}"] if hit.tags else []),
    ]
    if facts:
        yield f"  {whole('; '.join(facts))}"
