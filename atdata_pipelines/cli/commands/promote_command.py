"""``atdata-pipelines promote``, and ``plan``, which is ``promote --dry-run``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from atdata_core.common.plurals import number_of
from atdata_core.common.urls import displayed
from atdata_core.errors import AtdataError
from atdata_core.promotion.verify.findings import plain

from ...display.markdown import short
from .. import context
from ..command import FAILED, Output, command, json_option, note
from ..context import directed, prefix_option, to_option, value_options
from ..screen import progress_of

if TYPE_CHECKING:
    from atdata_core.promotion.overrides import ResolvedValue
    from atdata_core.promotion.plan import Plan

    from ...config.settings import Settings

SHOWN = 10
WIDTH = 40
"""Characters of a value that the table shows."""

all_option = click.option(
    "--all", "every", is_flag=True, help="All datasets that are missing on the network or have changed."
)


@command(
    "promote cells --license CC-BY-4.0 --tag images",
    "promote cells --to pds",
    "promote --all --dry-run",
    going_on="Nothing is half published. Run it again: it goes on where it stopped.",
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=context.complete_names)
@all_option
@click.option("--dry-run", is_flag=True, help="Say what would be written and copied, as plan does; write nothing.")
@value_options
@to_option
@prefix_option
@click.option("--verbose", "-v", is_flag=True, help="Show everything that Dagster logs.")
@json_option
def promote(
    names: tuple[str, ...],
    every: bool,
    dry_run: bool,
    to: str | None,
    key_prefix: str | None,
    verbose: bool,
    output: Output,
    **options: Any,
) -> None:
    """Promote the datasets NAME... through Dagster.

    Several are promoted in one run; in one run each where a description, tags or another value is given.
    Prints the at-uri of each. One that fails does not stop the others; the command then ends with 1 and
    names it. What is published already and has not changed stays as it is. A value that is not given
    stays as it was last given, else it is taken from the dataset's metadata. What was deleted on the
    network, or retracted, is published again where it is named.

    Started in a Dagster project, or below it, it promotes as the defs.yaml there says: where several
    components stand in it, each dataset goes through the one whose pattern its name fits.

    Runs are kept in DAGSTER_HOME, where the UI shows them; without it they are forgotten.
    """
    _check(names, every, options)
    if dry_run:
        _plan(names, every, key_prefix, to, options, output)
        return
    from ..project import settings_here
    from ..runner import promote_all

    with context.said():
        done = promote_all(
            None if every else names,
            options,
            instances=directed(settings_here(key_prefix), to),
            verbose=verbose,
            output=output,
        )
    if not done.succeeded:
        if done.total > 1 and done.failed:
            were = "was" if len(done.failed) == 1 else "were"
            note(f"\n{len(done.failed)} of {done.total:,} datasets {were} not promoted: {', '.join(done.failed)}")
        sys.exit(FAILED)


@command("plan cells --license CC-BY-4.0", "plan --all --json", going_on="Nothing was written. Run it again:")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=context.complete_names)
@all_option
@value_options
@to_option
@prefix_option
@json_option
def plan(
    names: tuple[str, ...], every: bool, to: str | None, key_prefix: str | None, output: Output, **options: Any
) -> None:
    """Say what a promotion of the datasets NAME... would write and copy; nothing is written.

    The same as promote --dry-run: takes the options of promote, looks at every shard as that does, and refuses
    what that would refuse.
    """
    _check(names, every, options)
    _plan(names, every, key_prefix, to, options, output)


def _check(names: Sequence[str], every: bool, options: dict[str, Any]) -> None:
    if bool(names) == every:
        raise click.UsageError("Give the names of datasets, or --all.")
    if options["name"] is not None and len(names) != 1:
        raise click.UsageError("--name is for a single dataset; promote them one by one.")
    from atdata_core.promotion.options import REQUIREMENTS

    if every and any(value not in (None, False) for name, value in options.items() if name not in REQUIREMENTS):
        raise click.UsageError("With --all only --require-... can be asked; give the names of what is meant.")


def _plan(
    names: Sequence[str],
    every: bool,
    key_prefix: str | None,
    to: str | None,
    options: dict[str, Any],
    output: Output,
) -> None:
    from ..project import settings_here

    failed: list[str] = []
    with context.said():
        instances = directed(settings_here(key_prefix), to)
        names = _due(instances) if every else list(dict.fromkeys(names))
        if not names:
            output.line("Nothing is due: everything that can be promoted is published and unchanged.")
        for name in names:
            try:
                _plan_one(name, instances, options, output)
            except AtdataError as error:
                if len(names) == 1:
                    raise
                failed.append(name)
                output.problem(name, f"{name} cannot be promoted: {error.message}", error.message)
    if names:
        output.line("Nothing was written.")
    if failed:
        sys.exit(FAILED)


def _due(instances: Sequence[Settings]) -> list[str]:
    """The names of what sensor and schedules would promote."""
    from atdata_core.promotion.scheduling.due import Due, due_of_all

    index, ledger, did = context.index(), context.ledger(), context.account()
    due: list[str] = []
    entries = {entry.name: entry for entry in index.list_datasets()}
    for settings in instances:
        taken = [*settings.taken(entries).values()]
        for entry, found in zip(taken, due_of_all(taken, index, ledger, did, context.store(settings)), strict=True):
            # What the sensor tries again later, promote --all and the nightly schedule try now.
            if isinstance(found, Due) and (found.state == "due" or found.retry_at):
                due.append(entry.name)
    return due


def _plan_one(dataset: str, instances: Sequence[Settings], options: dict[str, Any], output: Output) -> None:
    from atdata_core.errors import RefusedError
    from atdata_core.promotion.plan import plan_promotion

    from ..project import settings_of

    settings = settings_of(dataset, instances)
    refusal = settings.refusal(dataset)
    if refusal is not None:
        raise RefusedError(refusal)
    index = context.index()
    client, store = context.client(), context.store(settings)
    found = plan_promotion(
        context.entry(dataset, index),
        index,
        client,
        data_store=store,
        progress=progress_of(f"shards of {dataset} looked at"),
        **settings.keywords(options),
    )
    lines = [f"{dataset}, as {client.handle} would publish it"]
    lines += [f"  {title:8}  {text}" for title, text in _rows(found)]
    lines += ["", *(f"  {line}" for line in _table(found.values))]
    output.result({"name": dataset, **found.to_json()}, *lines)


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
    text = plain(text)
    return short(text, WIDTH) if sys.stdout.isatty() else text


def _rows(plan: Plan) -> Iterable[tuple[str, str]]:
    yield "schema", plan.schema
    yield "entry", f"{plan.entry:6}  {plan.uri}"
    yield "label", plan.label
    if plan.version_label != "keep":
        yield "version", plan.version_label
    shards = f"{number_of(plan.shards, 'shard')}, {number_of(plan.size, 'byte')}"
    if plan.destination is None:
        yield "shards", f"{shards}, {'stays where it is' if plan.shards == 1 else 'stay where they are'}"
    else:
        yield "shards", f"{shards} at {plan.destination}"
        yield "copy", f"{number_of(len(plan.copies), 'shard')}, {number_of(plan.bytes_to_copy, 'byte')}"
    yield "cost", f"{number_of(plan.records, 'record')}, {number_of(plan.write_points, 'write point')}"
    for warning in plan.warnings:
        yield "warning", warning
    if plan.unreadable:
        yield "warning", f"{len(plan.unreadable)} of {number_of(plan.shards, 'shard')} cannot be read anonymously:"
        for url, reason in plan.unreadable[:SHOWN]:
            yield "", f"{displayed(url)}  {reason}"
        if plan.unreadable[SHOWN:]:
            yield "", f"and {len(plan.unreadable) - SHOWN} more"
