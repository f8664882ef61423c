"""What all commands share: help with examples, words for people or JSON for programs, exit codes, Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from atdata_core.secrets import masked

from .interrupts import INTERRUPTED, ending_soon, leave
from .screen import aside, echo, showing

PROGRAM = "atdata-pipelines"
FAILED = 1
DIFFERS = 3
"""Something was looked at and is not as it should be; that a command could not be used has 2, as click has it."""
EXIT_CODES = {
    0: "all is well",
    FAILED: "something failed, was refused or not found",
    2: "the command was not typed right",
    DIFFERS: "what was looked at is not as it should be (verify, reconcile, accept)",
    INTERRUPTED: "Ctrl-C, SIGTERM or a closed terminal",
}
AGAIN = "Run it again: it goes on where it stopped."

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_DONE = "atdata_pipelines.done"


class Command(click.Command):
    """A command with examples below its help, that Ctrl-C ends soon.

    Args:
        examples: Command lines, without the program's name.
        going_on: What to do after Ctrl-C.
        watched: Whether Ctrl-C is seen to here; else the command does that by itself.
    """

    def __init__(
        self, *args: Any, examples: Sequence[str], going_on: str = AGAIN, watched: bool = True, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self.examples = examples
        self._going_on = going_on
        self._watched = watched

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence, whole."""
        text = " ".join((self.help or "").partition("\n\n")[0].split())
        return re.split(r"(?<!\.)\. ", text)[0].rstrip(".")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as they are typed."""
        with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{PROGRAM} {example}\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; after Ctrl-C say what was done and how to go on."""
        try:
            return self._invoke(ctx)
        except OSError as error:
            # Of a file or a service it would name that; to a reader that is gone click sees.
            if error.errno not in _FULL or error.filename is not None:
                raise
            # Else the interpreter would try once more, and complain, when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.ClickException(f"The output cannot be written: {error.strerror}.") from None

    def _invoke(self, ctx: click.Context) -> Any:
        if not self._watched:
            return super().invoke(ctx)

        def tell() -> None:
            done: str = ctx.meta.get(_DONE, str)()
            # It may be the last thing that this process does.
            echo(f"\nInterrupted{f': {done}' if done else ''}. {self._going_on}", err=True)
            echo(f"  {masked(shlex.join([PROGRAM, *sys.argv[1:]]))}", err=True)

        with showing(str(ctx.info_name)) as screen:
            try:
                with ending_soon(screen, tell):
                    return super().invoke(ctx)
            except KeyboardInterrupt:
                pass
        if screen.interrupted:
            leave()
        ctx.exit(INTERRUPTED)


def command(
    *examples: str, name: str | None = None, going_on: str = AGAIN, watched: bool = True
) -> Callable[[Callable[..., Any]], Command]:
    """Makes a ``Command`` of a function, and of its name where no other is given."""
    return click.command(name, cls=Command, examples=examples, going_on=going_on, watched=watched)


def when_interrupted(done: Callable[[], str]) -> None:
    """Have the command say after Ctrl-C what it has done by then."""
    if (context := click.get_current_context(silent=True)) is not None:
        context.meta[_DONE] = done


class Output:
    """Where a command's words go: with ``--json`` stdout has one JSON object a line and nothing else."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def result(self, data: Mapping[str, Any], *lines: str) -> None:
        """A result, for programs or for people."""
        self.data(data)
        if not self.as_json:
            self.line(*lines)

    def data(self, data: Mapping[str, Any]) -> None:
        """What people were told already, for programs."""
        if self.as_json:
            echo(json.dumps(data, default=str))

    def problem(self, name: str, text: str, reason: str) -> None:
        """Why a dataset failed, where others go on."""
        echo(f"Error: {text}", err=True)
        if self.as_json:
            self.result({"name": name, "error": reason})

    def line(self, *texts: str) -> None:
        """Lines that people are told besides."""
        # What is shown gives way once, not for each line.
        with aside():
            for text in texts:
                echo(text, err=self.as_json)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command ``--json``; it takes an ``output``."""
    return click.option(
        "--json",
        "output",
        is_flag=True,
        callback=lambda context, parameter, value: Output(value),
        help="One JSON object a line on stdout, and nothing else.",
    )(command)


def note(text: str) -> None:
    """A word on stderr, beside a result."""
    echo(text, err=True)
