"""What a folder of pulled files knows of them, and so whose a file is: JSON lines, each written once and at once.

One rule holds for shards, tables and pictures: a file is ours once we gave it its name, which we give only where
there is nothing, until we see it gone. Only what is ours is written over or removed; a link never is.

A process may be killed at any point: a line that it has not finished is none, and what no line tells is found by
reading the files again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..common.state_file import take_lock
from ..errors import PullError

FILE = ".atdata-pull.jsonl"


def part_of(file: str) -> str:
    """What a file is called while it is under way."""
    return f"{file}.part"


@dataclass(frozen=True, slots=True)
class Begun:
    """A file that is under way: where it comes from, and what the server told of it (``PartRead``), if anything.

    It stands in the journal before the file is made: a part that no line names is somebody's own. There is no URL
    once it was taken away.
    """

    file: str
    url: str | None
    version: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """A file as it was when its digest was found, or, of what is made of a shard, the digest of that.

    ``dataset`` is the one that it was pulled for; there is none where the file was there before: it is somebody's.
    """

    file: str
    dataset: str
    sha256: str
    size: int
    mtime_ns: int


def another(path: Path) -> PullError:
    """Somebody else's file is where one of ours has to be."""
    return PullError(
        f"{path} is there, and is another file. Move it away, or name another folder.", folder=str(path.parent)
    )


def no_link(path: str, flags: int) -> int:
    """An opener that follows no link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


class PullJournal:
    """The lines of a folder; the last one of a file and kind counts.

    Args:
        folder: It need not be there yet.
        dataset: What is pulled into it now.
    """

    def __init__(self, folder: Path, dataset: str) -> None:
        self._folder = folder
        self.dataset = dataset
        self.begun: dict[str, Begun] = {}
        self.complete: dict[str, Complete] = {}

    @contextmanager
    def opened(self) -> Generator[None]:
        """Hold the folder against other processes, and read and write its lines.

        Raises:
            PullError: Another process holds it, or it is no folder, or the journal is a link.
            OSError: The folder cannot be made, or nothing can be written in it.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise PullError(
                f"{self._folder} is a file, or is below one, and a folder is needed. Move it away, or name "
                "another one.",
                folder=str(self._folder),
            ) from None
        self._real = self._folder.resolve()
        path = self._folder / FILE
        if os.path.lexists(path) and not self._is_file(path):
            raise another(path)
        with open(path, "a+b", buffering=0, opener=no_link) as self._file:
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

    def ours(self, path: Path) -> bool:
        """Whether what is there was pulled, for this dataset; what is gone is nobody's from then on."""
        self.settle(path)
        if not self._is_ours(path):
            return False
        if not os.path.lexists(path):
            self._claim(self._name(path), "")
        return self._is_file(path)

    def settle(self, path: Path) -> None:
        """End what a kill in the middle of ``publish`` has left."""
        part = self._part(path)
        if not (self._is_ours(path) or self._name(part) in self.begun):
            return
        if self._is_file(path) and self._is_file(part) and path.samefile(part):
            self._claim(self._name(path), self.dataset)
            part.unlink()

    def part(self, path: Path) -> Path:
        """Where a file is while it is under way; raises ``PullError`` where one of both is somebody else's."""
        if not self.ours(path) and os.path.lexists(path):
            raise another(path)
        part = self._part(path)
        if os.path.lexists(part) and not (self._name(part) in self.begun and self._is_file(part)):
            raise another(part)
        return part

    def drop(self, path: Path) -> None:
        """Take away the part of a file."""
        part = self._part(path)
        part.unlink(missing_ok=True)
        self.note(Begun(self._name(part), None))

    def publish(self, path: Path, sha256: str) -> Complete:
        """Give a file whose part is whole its name; raises ``PullError`` where somebody else's has it by now."""
        part = self._part(path)
        if self.ours(path):
            os.replace(part, path)
            return self.found(path, self.dataset, sha256)
        try:
            os.link(part, path)
        except FileExistsError:
            raise another(path) from None
        except OSError:
            # There are file systems without hard links.
            if os.path.lexists(path):
                raise another(path) from None
            os.rename(part, path)
        line = self.found(path, self.dataset, sha256)
        part.unlink(missing_ok=True)
        return line

    @contextmanager
    def made(self, path: Path, sha256: str) -> Generator[BinaryIO]:
        """A file that is written at one go, and has its name once all of it is there.

        Raises:
            PullError: Somebody else's is there.
        """
        part = self.part(path)
        part.unlink(missing_ok=True)
        self.note(Begun(self._name(part), ""))
        file = part.open("xb")
        try:
            with file:
                yield file
            self.publish(path, sha256)
        except BaseException:
            self.drop(path)
            raise

    def found(self, path: Path, dataset: str, sha256: str) -> Complete:
        """Keep how a file is."""
        stat = path.stat()
        line = Complete(self._name(path), dataset, sha256, stat.st_size, stat.st_mtime_ns)
        self.note(line)
        return line

    def note(self, line: Begun | Complete) -> None:
        """Keep a line, also where the process is killed next; several threads may."""
        self._keep(line)
        # One write: lines of two threads do not mix.
        self._file.write(f"{json.dumps(asdict(line))}\n".encode())

    def _claim(self, name: str, dataset: str) -> None:
        """Say whose a file is; how it is has to be found."""
        self.note(Complete(name, dataset, "", 0, 0))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _is_ours(self, path: Path) -> bool:
        known = self.complete.get(self._name(path))
        return known is not None and known.dataset == self.dataset

    def _is_file(self, path: Path) -> bool:
        """Whether a file is there; through a link, also to the folder that it is in, it is somebody's own."""
        return path.is_file() and path.resolve() == self._real / self._name(path)

    @staticmethod
    def _part(path: Path) -> Path:
        return path.with_name(part_of(path.name))

    def _keep(self, line: Begun | Complete) -> None:
        if isinstance(line, Begun):
            self.begun[line.file] = line
            if line.url is None:
                del self.begun[line.file]
        else:
            self.complete[line.file] = line
            if line.dataset:
                self.begun.pop(part_of(line.file), None)

    def _take(self, line: bytes) -> None:
        try:
            found: Any = json.loads(line)
            self._keep(Begun(**found) if "version" in found else Complete(**found))
        except (ValueError, TypeError):
            return
