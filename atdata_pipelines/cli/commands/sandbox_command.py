"""``atdata-pipelines sandbox``."""

from contextlib import ExitStack
from pathlib import Path

import click

from ...config.sandbox_lab import FOLDER, LAB, PUBLIC, lab_environ
from ..command import Output, command, json_option
from ..interrupts import leave
from ..screen import naming, showing


@command("sandbox", "sandbox --path lab --bucket public", watched=False)
@click.option(
    "--path",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
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
@click.option(
    "--bucket",
    "buckets",
    multiple=True,
    help=f"A bucket besides {LAB} and {PUBLIC}; may be repeated. Anybody reads public and public-... by HTTP.",
)
@json_option
def sandbox(path: Path, buckets: tuple[str, ...], output: Output, **options: object) -> None:
    """Run Redis, S3 and a small PDS on this machine, and print their variables.

    Copy the printed lines into another shell, or into .env: commands there do what `make ui` does. It runs until
    Ctrl-C; nothing leaves this machine.
    """
    try:
        from ...sandbox import Sandbox, SandboxError, serve
    except ImportError as error:
        raise click.ClickException(
            f"The sandbox needs a package that is not there ({error.name}): pip install 'atdata-pipelines[sandbox]'"
        ) from None
    with ExitStack() as starting:

        def environ(box: Sandbox) -> dict[str, str]:
            naming("making the folder in which Dagster keeps runs")
            variables = lab_environ(box)
            starting.close()
            return variables

        starting.enter_context(showing("starting Redis, S3 and the PDS"))
        try:
            ran = serve(path, environ=environ, as_json=output.as_json, buckets=(LAB, PUBLIC, *buckets), **options)
        except SandboxError as error:
            raise click.ClickException(str(error)) from None
    if ran:
        leave(0)
