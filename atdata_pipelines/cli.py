"""The ``atdata-pipelines`` command."""

import sys
from pathlib import Path

import click

from atdata_core.errors import AtdataError

STATE = ".sandbox"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="atdata-pipelines")
def main() -> None:
    """Promote typed WebDataset datasets from local storage to the AT Protocol network.

    Services and account come from the environment, or from a file .env in the working directory; what is
    set in the environment counts more. The file .env.example lists all variables.
    """
    from dotenv import load_dotenv

    load_dotenv(Path.cwd() / ".env")


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--name", "published_name", help="Publish under another name; for a single dataset.")
@click.option("--description", help='What it is; "" clears what was said before.')
@click.option("--tag", "tags", multiple=True, help='A tag; may be repeated. A single "" clears all.')
@click.option("--license", help='An SPDX identifier such as CC-BY-4.0; "" clears it.')
@click.option("--verbose", "-v", is_flag=True, help="Show everything that Dagster logs.")
def promote(
    names: tuple[str, ...],
    published_name: str | None,
    description: str | None,
    tags: tuple[str, ...],
    license: str | None,
    verbose: bool,
) -> None:
    """Promote the datasets NAME... through Dagster, one run each.

    Prints the at-uri of each. One that fails does not stop the others; the command then ends with 1 and
    names it. What is published already and has not changed stays as it is. A value that is not given
    stays as it was last given, else it is taken from the dataset's metadata.

    Runs are kept in DAGSTER_HOME, where the UI shows them; without it they are forgotten.
    """
    if published_name is not None and len(names) > 1:
        raise click.UsageError("--name is for a single dataset; promote them one by one.")
    from .promoting import promote_all

    said = {
        "name": published_name,
        "description": description,
        "tags": [tag for tag in tags if tag] if tags else None,
        "license": license,
    }
    try:
        failed = promote_all(names, said, verbose=verbose)
    except AtdataError as error:
        raise click.ClickException(error.message) from None
    if failed:
        click.echo(err=True)
        for name, reason in failed.items():
            click.echo(f"Error: {name} was not promoted: {reason}", err=True)
        sys.exit(1)


@main.command()
@click.option(
    "--path",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE,
    show_default=True,
    help="Folder that keeps data and ports, so that the next start finds the same addresses.",
)
@click.option("--redis-port", type=int, help="Port for Redis; a free one by default.")
@click.option("--s3-port", type=int, help="Port for S3; a free one by default.")
@click.option("--pds-port", type=int, help="Port for the PDS; a free one by default.")
@click.option("--s3-access-key", help="Access key of the S3 server.")
@click.option("--s3-secret-key", help="Secret key of the S3 server.")
@click.option("--handle", help="Handle of the account on the PDS.")
@click.option("--password", help="App password of that account.")
@click.option("--bucket", "buckets", multiple=True, help="A bucket to make; may be repeated.")
def sandbox(path: Path, **options: object) -> None:
    """Run Redis, S3 and a small PDS on this machine, and print their variables.

    Copy the printed lines into another shell, or into .env. It runs until Ctrl-C; nothing leaves this
    machine.
    """
    try:
        from .sandbox import SandboxError, serve
    except ImportError as error:
        raise click.ClickException(
            f"The sandbox needs a package that is not there ({error.name}): pip install 'atdata-pipelines[sandbox]'"
        ) from None
    try:
        serve(path, **options)  # type: ignore[arg-type]
    except SandboxError as error:
        raise click.ClickException(str(error)) from None
