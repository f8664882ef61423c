"""What a folder of pulled shards knows of them: a file of JSON lines, each written once and at once.

A process may be killed at any point: a line that it has not finished is none, and what no line tells is found by
reading the files again.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..common.state_file import take_lock
from ..errors import PullError

FILE = ".atdata-pull.jsonl"


def part_of(file: str) -> str:
    """What a file is called while it is under way."""
    return f"{file}.part"


@dataclass(frozen=True, slots=True)
class Begun:
    """A file that is under way: where it comes from, and what the server told of it (``PartRead``), if anything.

    It stands in the journal before the file is made: a part that no line names is somebody's own.
    """

    file: str
    url: str
    version: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """A file as it was when its digest was found; ``dataset`` says whose shard it is."""

    file: str
    dataset: str
    sha256: str
    size: int
    mtime_ns: int


class PullJournal:
    """The lines of a folder; the last one of a file and kind counts.

    Args:
        folder: It need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.begun: dict[str, Begun] = {}
        self.complete: dict[str, Complete] = {}

    @contextmanager
    def opened(self) -> Generator[None]:
        """Hold the folder against other processes, and read and write its lines.

        Raises:
            PullError: Another process holds it, or it is no folder.
            OSError: The folder cannot be made, or nothing can be written in it.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise PullError(
                f"{self._folder} is a file, or is below one, and a folder is needed. Name another one.",
                folder=str(self._folder),
            ) from None
        with open(self._folder / FILE, "a+b", buffering=0) as self._file:
            if not take_lock(self._file.fileno()):
                raise PullError(
                    f"Another process pulls into {self._folder}. Wait until it is done, or name another folder.",
                    folder=str(self._folder),
                )
            self._file.seek(0)
            lines = self._file.readall().splitlines(keepends=True)
            for line in lines:
                self._take(line)
            if lines and not lines[-1].endswith(b"\n"):
                self._file.write(b"\n")
            yield

    def note(self, line: Begun | Complete) -> None:
        """Keep a line, also where the process is killed next; several threads may."""
        self._keep(line)
        # One write: lines of two threads do not mix.
        self._file.write(f"{json.dumps(asdict(line))}\n".encode())

    def _keep(self, line: Begun | Complete) -> None:
        if isinstance(line, Begun):
            self.begun[line.file] = line
        else:
            self.complete[line.file] = line
            self.begun.pop(part_of(line.file), None)

    def _take(self, line: bytes) -> None:
        try:
            found: Any = json.loads(line)
            self._keep(Begun(**found) if "version" in found else Complete(**found))
        except (ValueError, TypeError):
            return
