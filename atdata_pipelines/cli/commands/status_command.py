"""``atdata-pipelines status``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from atdata_core.common.urls import displayed
from atdata_core.errors import AtdataError

from ...display.markdown import shown
from . import context

if TYPE_CHECKING:
    from atdata_core.local import S3DataStore
    from atdata_core.promotion.operations.status import Status

WIDTH = 100
NAME = 32
WAYS_OUT = {
    "promote": "{promote}",
    "blocked": "{promote} publishes it again",
    "failed": "mend that, then: {promote}",
    "retries exhausted": "mend that, then: {promote}",
    "skipped": "{promote} publishes it all the same",
    "waiting": "publish the schema: index.publish_schema(SampleType, version=...)",
}


READERS = {
    None: "not looked at since the ledger was rebuilt; verify tells",
    "all": "anybody, when it was last published",
}


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(name: str | None, as_json: bool) -> None:
    """Say how far the dataset NAME is, or all of them: what is published, what waits, and why.

    Asks Redis alone, so it says what was last known of the network; verify and reconcile look there.
    """
    from atdata_core.promotion.operations.status import STAGES, all_statuses, status_of

    with context.said():
        index, ledger, did = context.index(), context.ledger(), _account()
        store_of = _stores()
        if name is not None:
            found = status_of(name, index, ledger, did, store_of(name))
            click.echo(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(map(shown, _details(found))))
            return
        every = list(all_statuses(index, ledger, did, store_of))
    if as_json:
        click.echo(json.dumps([found.to_json() for found in every], indent=2))
    elif every:
        click.echo("\n".join(_table(every, list(STAGES))))
    else:
        click.echo("The index has no datasets.")


def _stores() -> Callable[[str], S3DataStore | None]:
    """Tells where the instance that takes a dataset copies shards to, as far as that is configured here."""
    from ...components.dataset_promotion import InstanceError
    from ..project import settings_here, settings_of

    instances = settings_here()
    stores: dict[tuple[str, ...], S3DataStore | None] = {}

    def store_of(dataset: str) -> S3DataStore | None:
        try:
            settings = settings_of(dataset, instances)
            if settings.key_prefix not in stores:
                stores[settings.key_prefix] = None
                stores[settings.key_prefix] = context.store(settings)
        except AtdataError as error:
            if not isinstance(error, InstanceError):
                click.echo(f"Where copies go is not known: {error.message}", err=True)
            return None
        return stores[settings.key_prefix]

    return store_of


def _account() -> str | None:
    """DID of the account, as far as it can be found; what the ledger has is told without it."""
    try:
        return context.account()
    except AtdataError as error:
        click.echo(f"What is to be promoted is not known: {error.message}", err=True)
        return None


def _table(every: Iterable[Status], stages: list[str]) -> Iterable[str]:
    every = list(every)
    name = min(NAME, max(4, *(len(found.name) for found in every)))
    state = max(5, *(len(found.state) for found in every))
    yield f"{'NAME':{name}}  {'STATE':{state}}  STAGE  {'WHEN (UTC)':16}  RECORD, OR WHY NOT"
    for found in every:
        stage = f"{stages.index(found.stage) + 1}/{len(stages)}" if found.stage else "-"
        what = found.reason
        if found.state == "published" and found.uri:
            private = found.readers not in (None, "all")
            what = found.uri.rpartition("/")[2] + (" (private)" if private else "")
        row = f"{shown(found.name, length=name):{name}}  {found.state:{state}}  {stage:5}  {_time(found.at):16}  "
        yield row + shown(" ".join(what[: 2 * WIDTH].split()), length=WIDTH - len(row))


def _details(found: Status) -> Iterable[str]:
    yield f"{found.name}: {found.state}"
    if found.state != "published":
        yield f"  {found.reason}"
    if found.state in WAYS_OUT:
        promote = context.promotion_of(found.name, found.block["name"] if found.block else None)
        yield f"  {WAYS_OUT[found.state].format(promote=promote)}"
    rows = [("record", found.uri or "none")]
    if found.shards is not None:
        samples = "" if found.samples is None else f", {found.samples:,} samples"
        rows.append(("shards", f"{found.shards:,}, {found.size or 0:,} bytes{samples}"))
    if found.place is not None:
        rows.append(("lie at", displayed(found.place).rpartition("/")[0]))
        rows.append(("readers", READERS.get(found.readers, found.readers)))
    for step in found.steps:
        behind = f"  ({step.behind})" if step.behind else ""
        rows.append((step.stage, f"{_time(step.at)}  {step.result}{behind}"))
    if found.missing:
        rows.append(("missing", ", ".join(found.missing)))
    rows += [
        (f"said {field}", json.dumps(value, ensure_ascii=False)) for field, value in (found.values or {}).items()
    ]
    rows += [("label", f"{uri}  {name or 'of a version'}") for name, uri in found.labels]
    rows += [("also", f"{uri}  {name}") for name, _, uri in found.records if uri != found.uri]
    if found.failure is not None:
        again = ", may pass" if found.failure.get("transient") else ""
        when = f"{_time(found.failure.get('at'))}, {found.attempts} in a row{again}"
        why = f"{found.failure['stage']}: {found.failure['reason']}"
        # A dataset that failed begins with it.
        rows.append(("failed", when if why in found.reason else f"{when}: {' '.join(why.split())}"))
    if found.again is not None:
        rows.append(("tried again", f"{_time(found.again)}, by sensor or schedule"))
    if found.block is not None:
        rows.append(("blocked since", f"{_time(found.block.get('at'))}  {found.block['reason']}"))
    width = max(len(title) for title, _ in rows)
    for title, text in rows:
        yield f"  {title:{width}}  {text}"


def _time(at: str | None) -> str:
    return at[:16].replace("T", " ") if at else "-"
