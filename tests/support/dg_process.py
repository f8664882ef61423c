"""``dg``, many commands of it in one process: its imports take longer than all that it does for a small project.

Run as a program it answers commands, one in each line, without the variables of the tests.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


class DgProcess:
    """A process in which ``dg`` and Python work in the folder of a project whose module is ``team``."""

    def __init__(self, home: Path) -> None:
        # No services: definitions load where no variable is set.
        environ = {
            "PYTHONPATH": str(ROOT),
            "PATH": f"{BIN}:/usr/bin:/bin",
            "VIRTUAL_ENV": str(BIN.parent),
            "HOME": str(home),
            "COLUMNS": "200",
        }
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environ, cwd=home, stdin=pipe, stdout=pipe, text=True
        )

    def dg(self, folder: Path, *arguments: str) -> tuple[int, str]:
        """What a command of dg ends with, and says."""
        code, said = self._ask(folder=str(folder), arguments=arguments)
        return code, said

    def python(self, folder: Path, code: str, **environ: str) -> str:
        """What code prints with these variables."""
        return self._ask(folder=str(folder), code=code, environ=environ)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, **command: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


def _answer(folder: str, arguments: Any = (), code: str | None = None, environ: Any = ()) -> Any:
    from click.testing import CliRunner
    from dagster_dg_cli.cli import create_dg_cli

    os.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "team"]:
        del sys.modules[name]
    if code is not None:
        with patch.dict(os.environ, environ), redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, "given", "exec"), {})
        return printed.getvalue()
    done = CliRunner().invoke(create_dg_cli(), arguments)
    return done.exit_code, done.output


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    sys.path[0] = ""  # as with `python -c`: the folder that is worked in
    for line in sys.stdin:
        print(json.dumps(_answer(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
