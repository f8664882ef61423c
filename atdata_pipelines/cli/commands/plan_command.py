"""``atdata-pipelines plan``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from atdata_core.common.urls import displayed
from atdata_core.promotion.verify.findings import plain

from ...display.markdown import short
from . import context
from .context import prefix_option, value_options

if TYPE_CHECKING:
    from atdata_core.promotion.overrides import ResolvedValue
    from atdata_core.promotion.plan import Plan

SHOWN = 10
WIDTH = 40
"""Characters of a value that the table shows."""


@click.command()
@click.argument("dataset", metavar="NAME")
@value_options
@prefix_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def plan(dataset: str, key_prefix: str | None, as_json: bool, **options: Any) -> None:
    """Say what a promotion of the dataset NAME would write and copy; nothing is written.

    Takes the options of promote, looks at every shard as that does, and refuses what that would refuse.
    """
    from atdata_core.promotion.plan import plan_promotion

    from ..project import settings_here, settings_of

    with context.said():
        settings = settings_of(dataset, settings_here(key_prefix))
        refusal = settings.refusal(dataset)
        if refusal is not None:
            raise click.ClickException(refusal)
        index = context.index()
        client, store = context.client(), context.store(settings)
        entry = context.entry(dataset, index)
        found = plan_promotion(entry, index, client, data_store=store, **settings.keywords(options))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        return
    click.echo(f"{dataset}, as {client.handle} would publish it")
    for title, text in _rows(found):
        click.echo(f"  {title:8}  {text}")
    click.echo()
    for line in _table(found.values):
        click.echo(f"  {line}")
    click.echo("Nothing was written.")


def _table(values: Iterable[ResolvedValue]) -> Iterable[str]:
    """What is asked, what was said before, what stands, and where that comes from; a line for each value."""
    head = ("VALUE", "ASKED NOW", "SAID BEFORE", "STANDS", "FROM")
    rows = [
        head,
        *((each.name, *map(_cell, (each.asked, each.before, each.value)), each.source) for each in values),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) and value else json.dumps(value)
    return short(plain(text), WIDTH)


def _rows(plan: Plan) -> Iterable[tuple[str, str]]:
    yield "schema", plan.schema
    yield "entry", f"{plan.entry:6}  {plan.uri}"
    yield "label", plan.label
    if plan.version_label != "keep":
        yield "version", plan.version_label
    shards = f"{plan.shards:,} shards, {plan.size:,} bytes"
    if plan.destination is None:
        yield "shards", f"{shards}, stay where they are"
    else:
        yield "shards", f"{shards} at {plan.destination}"
        yield "copy", f"{len(plan.copies):,} shards, {plan.bytes_to_copy:,} bytes"
    yield "cost", f"{plan.records} records, {plan.write_points} write points"
    for warning in plan.warnings:
        yield "warning", warning
    if plan.unreadable:
        yield "warning", f"{len(plan.unreadable)} of {plan.shards} shards cannot be read anonymously:"
        for url, reason in plan.unreadable[:SHOWN]:
            yield "", f"{displayed(url)}  {reason}"
        if plan.unreadable[SHOWN:]:
            yield "", f"and {len(plan.unreadable) - SHOWN} more"
