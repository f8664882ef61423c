"""``atdata-pipelines prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atdata_core.common.names import near
from atdata_core.common.plurals import number_of

from .. import context
from ..command import Output, command, json_option
from ..context import prefix_option
from ..screen import progress_of

if TYPE_CHECKING:
    import dagster as dg

    from ...config.settings import Settings

SHOWN = 50
"""Names that are shown; with --all every one is."""


@command("prune", "prune --all --yes", going_on="What was removed is removed. Run it again for the rest:")
@click.option("--all", "show_all", is_flag=True, help=f"Show every name, not only the first {SHOWN}.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@prefix_option
@json_option
def prune(show_all: bool, yes: bool, key_prefix: str | None, output: Output) -> None:
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
        output.line(f"{count:,} of at most {MOST:,} partitions; the dataset of {len(gone):,} is gone")
        if not gone:
            output.data({"partitions": count, "gone": [], "removed": 0})
            return
        if len(gone) == count and next(index.names(), None) is None:
            # Emptied, or another one: far more likely than that every dataset is gone.
            raise click.ClickException(
                f"The index ({index!r}) has no dataset at all, so every partition would go. Nothing was done. "
                "Check ATDATA_REDIS_URL, or restore the data of Redis."
            )
        shown = gone if show_all else gone[:SHOWN]
        for name in shown:
            output.line(f"  {name}")
        if len(gone) > len(shown):
            output.line(f"  and {len(gone) - len(shown):,} more (--all shows them)")
        these = "this partition" if len(gone) == 1 else f"these {len(gone):,} partitions"
        context.confirm(f"Remove {these}?", yes=yes)
        # The answer may have taken its time, and a dataset may be back.
        still = set(gone_keys(instance, index, settings))
        going = [name for name in gone if name in still]
        progress = progress_of("partitions removed")
        remove_keys(instance, going, lambda number: progress(number, len(going)), settings)
    left = count - len(going)
    output.result(
        {"partitions": left, "gone": gone, "removed": len(going)},
        f"removed {number_of(len(going), 'partition')}, {left:,} {'is' if left == 1 else 'are'} left",
    )


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
