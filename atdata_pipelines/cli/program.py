"""The ``atdata-pipelines`` command."""

import sys
import traceback
from pathlib import Path
from types import TracebackType

import click

from atdata_core.common.env_file import open_env_file
from atdata_core.errors import RefusedError
from atdata_core.secrets import masked

from .commands.accept_command import accept
from .commands.doctor_command import doctor
from .commands.plan_command import plan
from .commands.promote_command import promote
from .commands.prune_command import prune
from .commands.reconcile_command import reconcile
from .commands.remove_command import remove
from .commands.retract_command import retract
from .commands.sandbox_command import sandbox
from .commands.status_command import status
from .commands.verify_command import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="atdata-pipelines")
def main() -> None:
    """Promote typed WebDataset datasets from local storage to the AT Protocol network.

    Services and account come from the environment, or from a file .env in the working directory; what is
    set in the environment counts more. The file .env.example lists all variables.
    """
    from dotenv import load_dotenv

    file = Path.cwd() / ".env"
    if file.is_file():
        try:
            load_dotenv(stream=open_env_file(file))
        except RefusedError as error:
            raise click.ClickException(error.message) from None
    sys.excepthook = _say_masked


def _say_masked(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody expected is told as Python does it, without anything secret."""
    click.echo(masked("".join(traceback.format_exception(kind, error, trace))), nl=False, err=True)


for command in (accept, doctor, plan, promote, prune, reconcile, remove, retract, sandbox, status, verify):
    main.add_command(command)
