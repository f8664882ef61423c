"""The ``atdata-pipelines`` command."""

from pathlib import Path

import click

from .commands.promote import promote
from .commands.retract import retract
from .commands.sandbox import sandbox


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="atdata-pipelines")
def main() -> None:
    """Promote typed WebDataset datasets from local storage to the AT Protocol network.

    Services and account come from the environment, or from a file .env in the working directory; what is
    set in the environment counts more. The file .env.example lists all variables.
    """
    from dotenv import load_dotenv

    load_dotenv(Path.cwd() / ".env")


for command in (promote, retract, sandbox):
    main.add_command(command)
