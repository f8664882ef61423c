"""``atdata-pipelines list``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from atdata_core.common.urls import expand

from .. import context
from ..command import Output, command, json_option

if TYPE_CHECKING:
    from atdata_core.local import LocalDatasetEntry, LocalIndex

PAGE = 500
"""Datasets that one question to the ledger is about."""


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
