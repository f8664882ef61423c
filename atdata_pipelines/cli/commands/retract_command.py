"""``atdata-pipelines retract``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import context
from .context import prefix_option

if TYPE_CHECKING:
    from atdata_core.promotion.operations.retract import Retraction


@click.command()
@click.argument("name")
@click.option("--all-versions", is_flag=True, help="The entries that the name had before, too.")
@click.option("--shards", is_flag=True, help="The copies of shards, too, that no other record names.")
@prefix_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def retract(name: str, all_versions: bool, shards: bool, key_prefix: str | None, yes: bool) -> None:
    """Take back what is published as NAME: its label, then its entry.

    Shows what would go and what stays, and asks. Afterwards sensor and schedules leave that dataset alone
    until it is promoted by hand, which publishes it at the same at-uri again. Others may have kept what was
    public. The schema stays, and the shards in the lab always do.

    An interrupted retraction goes on when it is run again.
    """
    from atdata_core.promotion.operations.retract import plan_retraction
    from atdata_core.promotion.operations.retract import retract as run_effects

    from ..project import settings_here, settings_of

    with context.said():
        client, index, ledger = context.client(), context.index(), context.ledger()
        store = context.store(settings_of(name, settings_here(key_prefix))) if shards else None
        plan = plan_retraction(
            name, client, ledger=ledger, store=store, index=index, all_versions=all_versions, shards=shards
        )
        click.echo(f"{name}, published by {client.handle}")
        _show(plan)
        context.confirm("Remove all that?", yes=yes)
        done = run_effects(
            plan, client, ledger, store, index=index, say=lambda step: click.echo(f"  {step}", err=True)
        )
    for note in done.kept:
        click.echo(f"  kept {note}", err=True)
    copies = f", {len(done.copies):,} copies ({done.bytes_removed:,} bytes)" if done.copies else ""
    click.echo(f"{name}: retracted {len(done.records)} records{copies}")
    if plan.blocks:
        again = context.promotion_of(plan.dataset, plan.name)
        click.echo(f"Sensor and schedules leave it until: {again}", err=True)


def _show(plan: Retraction) -> None:
    for label in plan.labels:
        click.echo(f"  label  {label.uri}  {label.about}")
    for entry in plan.entries:
        click.echo(f"  entry  {entry.uri}  {entry.about}")
    for copy in plan.copies:
        click.echo(f"  copy   {copy.url}  {copy.size or 0:,} bytes")
    for note in plan.stays:
        click.echo(f"  stays  {note}")
    click.echo(f"  {plan.bytes_to_remove:,} bytes, {plan.write_points} write points")
