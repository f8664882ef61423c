"""The ``atdata-pipelines`` command."""

import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import TextIO

import click

from atdata_core.common.env_file import open_env_file
from atdata_core.errors import RefusedError
from atdata_core.secrets import masked

from .command import EXIT_CODES, PROGRAM
from .commands.accept_command import accept
from .commands.add_command import add
from .commands.doctor_command import doctor
from .commands.list_command import list_datasets, search
from .commands.preview_command import preview
from .commands.promote_command import plan, promote
from .commands.prune_command import prune
from .commands.published.catalogue_command import catalogue
from .commands.published.export_command import export
from .commands.published.pull_command import pull
from .commands.reconcile_command import reconcile
from .commands.remove_command import remove
from .commands.retract_command import retract
from .commands.sandbox_command import sandbox
from .commands.show_command import show
from .commands.status_command import status
from .commands.verify_command import verify
from .screen import echo

_CODES = "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())


class _Program(click.Group):
    """The group, with what its exit codes mean below its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\nExit codes:\n{_CODES}\n\n{PROGRAM} COMMAND --help tells more of each command.\n")


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="atdata-pipelines")
def main() -> None:
    """Promote typed WebDataset datasets from local storage to the AT Protocol network.

    Services and account come from the environment, or from a file .env in the working directory; what is
    set in the environment counts more. The command doctor tells what is missing or wrong.
    """
    from dotenv import load_dotenv

    file = Path.cwd() / ".env"
    if file.is_file():
        try:
            load_dotenv(stream=open_env_file(file))
        except RefusedError as error:
            raise click.ClickException(error.message) from None
    sys.excepthook = _say_masked
    warnings.showwarning = _say_warning


def _say_masked(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody expected is told as Python does it, without anything secret."""
    click.echo(masked("".join(traceback.format_exception(kind, error, trace))), nl=False, err=True)


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of this project is told in a line; those of others are for whoever writes programs."""
    of_others = "site-packages" in filename and "atdata_" not in filename
    if category.__module__.startswith("atdata") or (category is UserWarning and not of_others):
        echo(f"Warning: {masked(str(message))}", err=True)


for each in (
    accept,
    add,
    catalogue,
    doctor,
    export,
    list_datasets,
    plan,
    preview,
    promote,
    prune,
    pull,
    reconcile,
    remove,
    retract,
    sandbox,
    search,
    show,
    status,
    verify,
):
    main.add_command(each)
