"""``atdata-pipelines promote``."""

import sys

import click

from . import surroundings


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--name", "published_name", help="Publish under another name; for a single dataset.")
@click.option("--description", help='What it is; "" clears what was said before.')
@click.option("--tag", "tags", multiple=True, help='A tag; may be repeated. A single "" clears all.')
@click.option("--license", help='An SPDX identifier such as CC-BY-4.0; "" clears it.')
@click.option("--version", help="Make a second label of this version that stays with this entry.")
@click.option("--take-over", is_flag=True, help="Write over a record or label that was edited elsewhere.")
@click.option("--require-public", is_flag=True, help="Refuse shards that a stranger cannot read.")
@click.option("--verbose", "-v", is_flag=True, help="Show everything that Dagster logs.")
def promote(
    names: tuple[str, ...],
    published_name: str | None,
    description: str | None,
    tags: tuple[str, ...],
    license: str | None,
    version: str | None,
    take_over: bool,
    require_public: bool,
    verbose: bool,
) -> None:
    """Promote the datasets NAME... through Dagster, one run each.

    Prints the at-uri of each. One that fails does not stop the others; the command then ends with 1 and
    names it. What is published already and has not changed stays as it is. A value that is not given
    stays as it was last given, else it is taken from the dataset's metadata. What was deleted on the
    network, or retracted, is published again.

    Runs are kept in DAGSTER_HOME, where the UI shows them; without it they are forgotten.
    """
    if published_name is not None and len(names) > 1:
        raise click.UsageError("--name is for a single dataset; promote them one by one.")
    from ..promoting import promote_all

    said = {
        "name": published_name,
        "description": description,
        "tags": [tag for tag in tags if tag] if tags else None,
        "license": license,
        "version": version,
        "take_over": take_over,
        "require_public": require_public,
    }
    with surroundings.said():
        failed = promote_all(names, said, verbose=verbose)
    if failed:
        click.echo(err=True)
        for name, reason in failed.items():
            click.echo(f"Error: {name} was not promoted: {reason}", err=True)
        sys.exit(1)
