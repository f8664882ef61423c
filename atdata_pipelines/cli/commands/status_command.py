"""``atdata-pipelines status``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from atdata_core.common.plurals import number_of
from atdata_core.common.urls import displayed
from atdata_core.errors import AtdataError

from ...display.markdown import short, shown, whole
from .. import context
from ..command import Output, command, json_option, note

if TYPE_CHECKING:
    from atdata_core.promotion.operations.status import Status
    from atdata_core.stores.data_store import DataStore

NAME = 32
"""Characters of a name that a terminal shows."""
WAYS_OUT = {
    "due": "{promote}",
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


@command("status", "status cells", "status --json", going_on="Run it again:")
@click.argument("name", required=False, shell_complete=context.complete_names)
@json_option
def status(name: str | None, output: Output) -> None:
    """Say how far the dataset NAME is, or all of them: what is published, what waits, and why.

    The state of a dataset is one of: published; due (it is to be promoted); waiting (its schema is missing);
    failed, paused (it is tried again later); retries exhausted, blocked, skipped (left to a person); refused (it
    cannot be promoted as it is); removed (from the index); unknown (no account is known).

    Asks Redis alone, so it says what was last known of the network; verify and reconcile look there.
    """
    from atdata_core.promotion.operations.status import STAGES, all_statuses, status_of

    with context.said():
        index, ledger, did = context.index(), context.ledger(), _account()
        store_of = _stores()
        if name is not None:
            found = status_of(name, index, ledger, did, store_of(name))
            output.result(found.to_json(), *map(whole, _details(found)))
            return
        every = list(all_statuses(index, ledger, did, store_of))
    for found in every:
        output.data(found.to_json())
    if not output.as_json:
        output.line(*(_table(every, list(STAGES)) if every else ["The index has no datasets."]))


def _stores() -> Callable[[str], DataStore | None]:
    """Tells where the instance that takes a dataset copies shards to, as far as that is configured here."""
    from ...components.dataset_promotion import InstanceError
    from ..project import settings_here, settings_of

    instances = settings_here()
    stores: dict[tuple[str, ...], DataStore | None] = {}

    def store_of(dataset: str) -> DataStore | None:
        try:
            settings = settings_of(dataset, instances)
            if settings.key_prefix not in stores:
                stores[settings.key_prefix] = None
                stores[settings.key_prefix] = context.store(settings)
        except AtdataError as error:
            if not isinstance(error, InstanceError):
                note(f"Where copies go is not known: {error.message}")
            return None
        return stores[settings.key_prefix]

    return store_of


def _account() -> str | None:
    """DID of the account, as far as it can be found; what the ledger has is told without it."""
    try:
        return context.account()
    except AtdataError as error:
        note(f"What is due is not known: {error.message}")
        return None


def _table(every: Iterable[Status], stages: list[str]) -> Iterable[str]:
    every, terminal = list(every), sys.stdout.isatty()
    names = [whole(found.name) for found in every]
    name = max(4, *map(len, names))
    name = min(NAME, name) if terminal else name
    state = max(5, *(len(found.state) for found in every))
    yield f"{'NAME':{name}}  {'STATE':{state}}  STAGE  {'WHEN (UTC)':16}  RECORD, OR WHY NOT"
    for called, found in zip(names, every, strict=True):
        stage = f"{stages.index(found.stage) + 1}/{len(stages)}" if found.stage else "-"
        what = found.reason
        if found.state == "published" and found.uri:
            private = found.readers not in (None, "all")
            what = found.uri + (" (private)" if private else "")
        row = f"{short(called, name):{name}}  {found.state:{state}}  {stage:5}  {_time(found.at):16}  "
        # An at-uri is of use only if it is whole.
        if terminal and found.state != "published":
            width = max(20, shutil.get_terminal_size().columns - len(row))
            yield row + shown(" ".join(what[: 2 * width].split()), length=width)
        else:
            yield row + whole(" ".join(what.split()))


def _details(found: Status) -> Iterable[str]:
    yield f"{found.name}: {found.state}"
    if found.state != "published":
        yield f"  {found.reason}"
    if found.state in WAYS_OUT:
        promote = context.promotion_of(found.name, found.block["name"] if found.block else None)
        yield f"  {WAYS_OUT[found.state].format(promote=promote)}"
    rows = [("record", found.uri or "none")]
    if found.shards is not None:
        samples = "" if found.samples is None else f", {number_of(found.samples, 'sample')}"
        rows.append(("data", f"{number_of(found.shards, 'shard')}, {number_of(found.size or 0, 'byte')}{samples}"))
    if found.place is not None:
        rows.append(("lie at", displayed(found.place).rpartition("/")[0]))
        rows.append(("readers", READERS.get(found.readers, found.readers)))
    for step in found.steps:
        behind = f"  ({step.behind})" if step.behind else ""
        # An at-uri is told once.
        result = step.result if found.uri is None else step.result.replace(found.uri, "").rstrip()
        rows.append((step.stage, f"{_time(step.at)}  {result}{behind}"))
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
