"""``atdata-pipelines prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atdata_core.common.names import near

from . import context
from .context import prefix_option

if TYPE_CHECKING:
    import dagster as dg

    from ...config.settings import Settings

SHOWN = 50
"""Names that are shown; with --all every one is."""
EVERY = 500
"""Partitions after which a line tells how far it is: some five seconds."""


@click.command()
@click.option("--all", "show_all", is_flag=True, help=f"Show every name, not only the first {SHOWN}.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@prefix_option
def prune(show_all: bool, yes: bool, key_prefix: str | None) -> None:
    """Remove the partitions from Dagster whose dataset is gone from the index.

    Shows which they are, and asks. Nothing is taken back that is published (`retract` does that), and the
    runs that Dagster has of them stay. A dataset that is inserted again becomes a partition again.
    """
    from ...config.dagster_instance import open_instance
    from ...config.partitions import MOST, count_keys, gone_keys, remove_keys
    from ...config.settings import Settings, key_parts
    from ..project import only_settings

    with context.said(), open_instance() as instance:
        # What is given may be of a component that is not there any more.
        settings = only_settings() if key_prefix is None else Settings(key_prefix=key_parts(key_prefix))
        if key_prefix:
            _refuse_unknown(instance, settings)
        index = context.index()
        gone = gone_keys(instance, index, settings)
        count = count_keys(instance, settings)
        click.echo(f"{count:,} of at most {MOST:,} partitions; the dataset of {len(gone):,} is gone")
        if not gone:
            return
        if len(gone) == count and next(index.names(), None) is None:
            # Emptied, or another one: far more likely than that every dataset is gone.
            raise click.ClickException(
                f"The index ({index!r}) has no dataset at all, so every partition would go. Nothing was done. "
                "Check ATDATA_REDIS_URL, or restore the data of Redis."
            )
        shown = gone if show_all else gone[:SHOWN]
        for name in shown:
            click.echo(f"  {name}")
        if len(gone) > len(shown):
            click.echo(f"  and {len(gone) - len(shown):,} more (--all shows them)")
        context.confirm(f"Remove these {len(gone):,} partitions?", yes=yes)
        # The answer may have taken its time, and a dataset may be back.
        still = set(gone_keys(instance, index, settings))
        going = [name for name in gone if name in still]
        remove_keys(instance, going, lambda number: _progress(number, len(going)), settings)
    click.echo(f"removed {len(going):,} partitions, {count - len(going):,} are left")


def _refuse_unknown(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Say that nothing has partitions under a key prefix: it is misspelt, or all of them were removed."""
    from ...components.dataset_promotion import prefix_of
    from ...config.partitions import count_keys
    from ..project import settings_here

    if not count_keys(instance, settings):
        given, others = prefix_of(settings), [prefix_of(each) for each in settings_here() if each.key_prefix]
        known = f" The instances of this project have: {', '.join(others)}." if others else ""
        raise click.ClickException(
            f"Dagster has no partitions under the key prefix {given}.{near(given, others) or known}"
        )


def _progress(number: int, total: int) -> None:
    if number % EVERY == 0:
        click.echo(f"  {number:,} of {total:,}", err=True)
