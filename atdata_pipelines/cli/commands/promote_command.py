"""``atdata-pipelines promote``."""

import sys
from typing import Any

import click

from . import context
from .context import prefix_option, value_options


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@value_options
@prefix_option
@click.option("--verbose", "-v", is_flag=True, help="Show everything that Dagster logs.")
def promote(names: tuple[str, ...], key_prefix: str | None, verbose: bool, **options: Any) -> None:
    """Promote the datasets NAME... through Dagster.

    Several are promoted in one run; in one run each where a description, tags or another value is given.
    Prints the at-uri of each. One that fails does not stop the others; the command then ends with 1 and
    names it. What is published already and has not changed stays as it is. A value that is not given
    stays as it was last given, else it is taken from the dataset's metadata. What was deleted on the
    network, or retracted, is published again.

    Started in a Dagster project, or below it, it promotes as the defs.yaml there says: where several
    components stand in it, each dataset goes through the one whose pattern its name fits.

    Runs are kept in DAGSTER_HOME, where the UI shows them; without it they are forgotten.
    """
    if options["name"] is not None and len(names) > 1:
        raise click.UsageError("--name is for a single dataset; promote them one by one.")
    from ..project import settings_here
    from ..runner import promote_all

    with context.said():
        failed = promote_all(names, options, instances=settings_here(key_prefix), verbose=verbose)
    if failed:
        count = len(set(names))
        if count > 1:
            click.echo(f"\n{len(failed)} of {count} datasets were not promoted: {', '.join(failed)}", err=True)
        sys.exit(1)
