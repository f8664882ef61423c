"""``atdata-pipelines remove``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from . import context

if TYPE_CHECKING:
    from atdata_core.local import Removal


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Remove the dataset NAME from the index: all its entries and its labels there.

    Shows what goes and what stays, and asks. Its shards stay where they are, and nothing is taken back that is
    published (`retract` does that). A dataset that is inserted again is there again.
    """
    from atdata_core.state.facts import published_names

    with context.said():
        index = context.index()
        found = index.removal_of(name)
        click.echo(f"{name}, {index!r}")
        for line in _told(found, published_names(context.ledger(), name)):
            click.echo(f"  {line}")
        context.confirm(f"Remove {name} from the index?", yes=yes)
        count = len(index.remove(name).entries)
    click.echo(f"{name}: removed {count} {'entry' if count == 1 else 'entries'}")


def _told(found: Removal, names: Iterable[str]) -> Iterable[str]:
    for cid in found.entries:
        yield f"entry  {cid}"
    yield "stays  the shards, where they are"
    for uri in found.published:
        yield f"stays  {uri}"
    for published in names:
        retract = f"atdata-pipelines retract {shlex.quote(published)} --all-versions"
        yield f"stays published as {published}; to take it back: {retract}"
