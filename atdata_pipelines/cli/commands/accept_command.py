"""``atdata-pipelines accept``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from atdata_core.common.plurals import number_of
from atdata_core.common.urls import displayed

from .. import context
from ..command import DIFFERS, PROGRAM, Output, command, json_option, note
from ..screen import progress_of

if TYPE_CHECKING:
    from atdata_core.promotion.operations.accept import Changes, ShardChange

SHOWN = 50


@command("accept cells", "accept cells --yes", going_on="Nothing was accepted. Run it again:")
@click.argument("name", shell_complete=context.complete_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def accept(name: str, yes: bool, output: Output) -> None:
    """Make the present bytes of the dataset NAME the ones that are promoted.

    The digest of each shard is recorded once, and bytes that differ later are refused: somebody may have
    damaged them. Reads all shards, shows what changed, and asks. Nothing is published by this: promote NAME
    afterwards. Refused, with exit code 3, where a shard is missing, damaged, or not of the dataset's schema.
    """
    from atdata_core.promotion.operations.accept import accept as run_effects
    from atdata_core.promotion.operations.accept import changes_of

    with context.said():
        index, ledger = context.index(), context.ledger()
        changes = changes_of(context.entry(name, index), index, progress=progress_of("shards read"))
        for line in _told(changes):
            output.line(line)
        if changes.problems:
            note("Error: Nothing was accepted: restore these shards, or insert the dataset again.")
            output.data(_facts(changes, accepted=False))
            sys.exit(DIFFERS)
        if not changes.changed:
            output.data(_facts(changes, accepted=False))
            return
        context.confirm(f"Make these bytes the ones that are promoted as {name}?", yes=yes)
        names = run_effects(changes, index, ledger)
    output.result(
        _facts(changes, accepted=True), f"{name}: accepted. Publish it: {PROGRAM} promote {shlex.join(names)}"
    )


def _facts(changes: Changes, *, accepted: bool) -> dict[str, Any]:
    return {
        "name": changes.name,
        "cid": changes.cid,
        "shards": len(changes.shards),
        "changed": [displayed(shard.url) for shard in changes.changed],
        "problems": [displayed(shard.url) for shard in changes.problems],
        "accepted": accepted,
    }


def _told(changes: Changes) -> Iterable[str]:
    count, changed = len(changes.shards), changes.changed
    if not changed and not changes.problems:
        what = "its shard holds" if count == 1 else f"all {count:,} shards hold"
        yield f"{changes.name}: {what} what was recorded of {'it' if count == 1 else 'them'}."
        return
    yield f"{changes.name}: {len(changed):,} of {number_of(count, 'shard')} changed"
    told = [*changes.problems, *changed]
    for shard in told[:SHOWN]:
        yield from _of_shard(shard)
    if told[SHOWN:]:
        yield f"  and {len(told) - SHOWN} more"


def _of_shard(shard: ShardChange) -> Iterable[str]:
    yield f"  {displayed(shard.url)}"
    if shard.problem is not None:
        yield f"    {shard.problem.message}"
    elif shard.claimed is not None and shard.found is not None:
        was, now = shard.claimed, shard.found
        samples = ["unknown" if each.samples is None else f"{each.samples:,}" for each in (was, now)]
        yield f"    sha256   {was.sha256[:12]} -> {now.sha256[:12]}"
        yield f"    bytes    {was.size:,} -> {now.size:,}"
        yield f"    samples  {' -> '.join(samples)}"
