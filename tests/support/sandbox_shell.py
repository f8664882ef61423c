"""Two shells of somebody who tries it: the sandbox runs in one, all other commands in the other."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from atdata_pipelines.cli import main
from atdata_pipelines.cli.command import PROGRAM

ROOT = Path(__file__).resolve().parents[2]


class SandboxShell:
    """The second one, in a folder of its own; ``variables`` are those that the sandbox printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}

    def environ(self, variables: Mapping[str, str]) -> dict[str, str]:
        """What a process knows."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **variables}

    def run(self, line: str, *, variables: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
        """What a command prints; it has to end with 0."""
        done = subprocess.run(
            command(line),
            cwd=folder or self.folder,
            env=self.environ(self.variables if variables is None else variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def command(line: str) -> list[str]:
    """A line of a page, as this environment runs it; who is asked says yes."""
    program, *arguments = shlex.split(line)
    if program == PROGRAM and "--yes" in (
        flag for each in main.commands[arguments[0]].params for flag in each.opts
    ):
        # There is no terminal to ask at.
        arguments.append("--yes")
    return [sys.executable, *(["-m", "atdata_pipelines"] if program != "python" else []), *arguments]


@contextmanager
def sandbox_shell(folder: Path, line: str = "atdata-pipelines sandbox") -> Iterator[SandboxShell]:
    """The second shell, while the first one runs the sandbox."""
    shell = SandboxShell(folder)
    serving = subprocess.Popen(command(line), cwd=folder, env=shell.environ({}), stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    try:
        for printed in serving.stdout:
            if "Running" in printed:
                break
            if printed.startswith("export "):
                name, _, value = shlex.split(printed)[1].partition("=")
                shell.variables[name] = value
        yield shell
    finally:
        serving.terminate()
        serving.wait(30)
        serving.stdout.close()
