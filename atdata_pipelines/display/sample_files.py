"""The samples of shards in a folder as files that other programs open: Parquet tables, and pictures beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from atdata_core.common.byte_progress import Progress, tell_bytes
from atdata_core.common.names import distinct, file_name
from atdata_core.errors import AtdataError, PullError, SampleError
from atdata_core.reading import PulledShard
from atdata_core.shards.conversions import fields_of, library, to_arrow
from atdata_core.shards.packed_samples import shard_records, typed_sample
from atdata_core.shards.tar_samples import PACKED

from .pictures import file_of, is_file

KEY = "__key__"
"""The column of the samples' keys, as webdataset calls it."""
_FACTS = b"atdata"
"""What a table says of itself, in its file."""


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """The files of one shard.

    Attributes:
        table: The Parquet file: a row for each sample.
        sha256: Digest of the shard that they were made of.
        samples: How many there are.
        pictures: Files that the table names, in a folder called as it is.
        left_out: Fields that no table can hold.
    """

    table: Path
    sha256: str
    samples: int
    pictures: int
    left_out: Sequence[str]


def arrow() -> Any:
    """What writes tables; raises ``ImportError``, which names the extra, where it is not installed."""
    return library("pyarrow", "arrow", "--samples")


def _parquet() -> Any:
    return import_module("pyarrow.parquet")


def sample_files(
    shards: Sequence[PulledShard], sample_type: type[Any], folder: Path, progress: Progress
) -> list[SampleFiles]:
    """Write the samples of each shard as files; what was made of a shard as it is now stays.

    A table has its name once it and all of its pictures are whole. What Parquet can hold is a column; of a field
    whose values are all pictures it has the paths of their files, from the table's folder.

    Args:
        shards: In this folder's parent or elsewhere; they are read one after the other.
        sample_type: Of their samples.
        folder: It need not be there yet.
        progress: Told of shards, and of the bytes of their samples.

    Raises:
        ImportError: pyarrow is not installed.
        SampleError: A sample is of another type.
        PullError: The folder takes no file, or has another one of that name.
    """
    found: list[SampleFiles] = []
    taken: set[str] = set()
    progress(0, len(shards))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, shard in enumerate(shards):
            name = distinct(shard.path.name.removesuffix(".tar"), number, taken)
            table = folder / f"{name}.parquet"
            known = _known(table)
            if known is None or known.sha256 != shard.sha256:
                known = _Shard(shard, sample_type, folder / name, progress).written(table)
            found.append(known)
            progress(len(found), len(shards))
    except OSError as error:
        if isinstance(error, AtdataError):
            raise
        raise PullError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}. Make room, or change its "
            "permissions, and run this again: it goes on where it stopped.",
            folder=str(folder),
        ) from error
    return found


def _known(table: Path) -> SampleFiles | None:
    """What a table that is there was made of."""
    if not table.exists():
        return None
    try:
        facts = json.loads((_parquet().read_schema(table).metadata or {})[_FACTS])
        return SampleFiles(table, **facts)
    except (arrow().ArrowException, KeyError, TypeError, ValueError):
        raise PullError(
            f"{table} is there, and is another file. Move it away, or name another folder.",
            folder=str(table.parent),
        ) from None


class _Shard:
    """One shard on its way to files."""

    def __init__(self, shard: PulledShard, sample_type: type[Any], folder: Path, progress: Progress) -> None:
        self._shard = shard
        self._type = sample_type
        self._folder = folder
        self._progress = progress
        self._pictures = 0

    def written(self, table: Path) -> SampleFiles:
        """Write the pictures, then the table that names them."""
        columns, left_out = self._columns(), list[str]()
        keys = columns.pop(KEY)
        rows = _column(KEY, keys)
        for name, values in columns.items():
            try:
                rows = rows.append_column(name, _column(name, values)[name])
            except SampleError:
                left_out.append(name)
        found = SampleFiles(table, self._shard.sha256, len(keys), self._pictures, left_out)
        facts = {name: value for name, value in asdict(found).items() if name != "table"}
        with _whole(table) as file:
            _parquet().write_table(rows.replace_schema_metadata({_FACTS: json.dumps(facts)}), file)
        return found

    def _columns(self) -> dict[str, list[Any]]:
        """The keys, and the values of each field; of pictures, which are written meanwhile, their paths."""
        images = self._images()
        columns: dict[str, list[Any]] = {KEY: [], **{name: [] for name in images}}
        folders, taken = set[str](), {name: set[str]() for name in images}
        folder_of = {name: distinct(file_name(name), number, folders) for number, name in enumerate(images)}
        for number, (key, sample) in enumerate(self._samples(self._progress)):
            # Whoever wrote the tar may have named its files in bytes that are no text.
            columns[KEY].append(key.encode(errors="backslashreplace").decode())
            for name, is_image in images.items():
                value = sample.get(name)
                if is_image and value is not None:
                    ending, data = file_of(value)
                    own = distinct(f"{file_name(key)}.{ending}", number, taken[name])
                    value = self._picture(self._folder / folder_of[name] / own, data)
                columns[name].append(value)
        return columns

    def _images(self) -> dict[str, bool]:
        """The fields, and of which all values are pictures."""
        found: dict[str, bool | None] = {}
        for _, sample in self._samples(None):
            for name, value in sample.items():
                if value is None:
                    found.setdefault(name, None)
                elif found.get(name) is not False:
                    found[name] = is_file(value)
        return {name: bool(all_are) for name, all_are in found.items() if name != KEY}

    def _samples(self, progress: Progress | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
        path = str(self._shard.path)
        for record in shard_records(path):
            sample = typed_sample(record, path, self._type)
            yield str(record["__key__"]), fields_of(sample)
            tell_bytes(progress, path, len(record[PACKED]), None)

    def _picture(self, path: Path, data: bytes) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _whole(path) as file:
            file.write(data)
        self._pictures += 1
        return path.relative_to(self._folder.parent).as_posix()


def _column(name: str, values: list[Any]) -> Any:
    """A table of one column; raises ``SampleError`` where Parquet cannot hold it."""
    pyarrow = arrow()
    table = to_arrow({name: value} for value in values) if values else pyarrow.table({name: pyarrow.array([])})
    try:
        _parquet().ParquetWriter(pyarrow.BufferOutputStream(), table.schema).close()
    except pyarrow.ArrowException as why:
        raise SampleError(f"Parquet cannot hold the values of {name!r}: {why}", field=name) from None
    return table


@contextmanager
def _whole(path: Path) -> Generator[BinaryIO]:
    """A file that has its name once all of it is there."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
