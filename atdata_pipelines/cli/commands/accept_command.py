"""``atdata-pipelines accept``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from atdata_core.common.urls import displayed

from . import context

if TYPE_CHECKING:
    from atdata_core.promotion.operations.accept import Changes, ShardChange

SHOWN = 50


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def accept(name: str, yes: bool) -> None:
    """Make the present bytes of the dataset NAME the ones that are promoted.

    The digest of each shard is recorded once, and bytes that differ later are refused: somebody may have
    damaged them. Reads all shards, shows what changed, and asks. Nothing is published by this: promote NAME
    afterwards. Refused where a shard is missing, damaged, or not of the dataset's schema.
    """
    from atdata_core.promotion.operations.accept import accept as run_effects
    from atdata_core.promotion.operations.accept import changes_of

    with context.said():
        index, ledger = context.index(), context.ledger()
        changes = changes_of(context.entry(name, index), index)
        for line in _told(changes):
            click.echo(line)
        if changes.problems:
            raise click.ClickException("Nothing was accepted: restore these shards, or insert the dataset again.")
        if not changes.changed:
            return
        context.confirm(f"Make these bytes the ones that are promoted as {name}?", yes=yes)
        names = run_effects(changes, index, ledger)
    click.echo(f"{name}: accepted. Publish it: atdata-pipelines promote {shlex.join(names)}")


def _told(changes: Changes) -> Iterable[str]:
    count, changed = len(changes.shards), changes.changed
    if not changed and not changes.problems:
        yield f"{changes.name}: all {count} shards hold what was recorded of them."
        return
    yield f"{changes.name}: {len(changed)} of {count} shards changed"
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
