"""The samples of shards in a folder as files that other programs open: Parquet tables, and pictures beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from atdata_core.common.byte_progress import Progress, tell_bytes
from atdata_core.common.names import distinct, file_name
from atdata_core.errors import AtdataError, PullError, SampleError
from atdata_core.reading import PulledShard
from atdata_core.reading.pull_journal import PullJournal, another, part_of
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
        dataset: What they were made for (``Pulled.dataset``).
        sha256: Digest of the shard that they were made of.
        samples: How many there are.
        pictures: Files that the table names, in a folder called as it is.
        left_out: Fields that no table can hold.
    """

    table: Path
    dataset: str
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
    shards: Sequence[PulledShard], dataset: str, sample_type: type[Any], folder: Path, progress: Progress
) -> list[SampleFiles]:
    """Write the samples of each shard as files; what was made of a shard as it is now stays.

    A table has its name once it and all of its pictures are whole. What Parquet can hold is a column; of a field
    whose values are all pictures it has the paths of their files, from the table's folder.

    Args:
        shards: In this folder's parent or elsewhere; they are read one after the other.
        dataset: Whose they are (``Pulled.dataset``).
        sample_type: Of their samples.
        folder: It need not be there yet.
        progress: Told of shards, and of the bytes of their samples.

    Raises:
        ImportError: pyarrow is not installed.
        SampleError: A sample is of another type.
        PullError: The folder takes no file, or has somebody else's of that name.
    """
    taken: set[str] = set()
    tables: dict[Path, PulledShard] = {}
    for number, shard in enumerate(shards):
        tables[folder / f"{distinct(shard.path.name.removesuffix('.tar'), number, taken)}.parquet"] = shard
    known = {table: _known(table) for table in tables}
    found = {table: facts for table, facts in known.items() if facts and facts.sha256 == tables[table].sha256}
    progress(len(found), len(tables))
    journal = PullJournal(folder, dataset)
    try:
        # It has a line for each picture: it is read where some are to be made, or a table was begun.
        begun = [table for table in tables if table not in found or os.path.lexists(part_of(str(table)))]
        with journal.opened() if begun else nullcontext():
            for table in begun:
                journal.settle(table)
                if table not in found:
                    found[table] = _Shard(tables[table], sample_type, table, journal, progress).written()
                progress(len(found), len(tables))
    except OSError as error:
        if isinstance(error, AtdataError):
            raise
        raise PullError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}. Make room, or change its "
            "permissions, and run this again: it goes on where it stopped.",
            folder=str(folder),
        ) from error
    return [found[table] for table in tables]


def tables_left(folder: Path, dataset: str, files: Sequence[SampleFiles]) -> list[Path]:
    """Tables of a dataset's that are of none of its shards now."""
    now = {each.table for each in files}
    tables = {table: _known(table) for table in sorted(folder.glob("*.parquet")) if table not in now}
    return [table for table, known in tables.items() if known and known.dataset == dataset]


def _known(table: Path) -> SampleFiles | None:
    """What a table was made of; None where it is none of ours."""
    if not table.is_file():
        return None
    try:
        return SampleFiles(table, **json.loads((_parquet().read_schema(table).metadata or {})[_FACTS]))
    except (arrow().ArrowException, OSError, KeyError, TypeError, ValueError):
        return None


class _Shard:
    """One shard on its way to files."""

    def __init__(
        self, shard: PulledShard, sample_type: type[Any], table: Path, journal: PullJournal, progress: Progress
    ) -> None:
        self._shard = shard
        self._table = table
        self._journal = journal
        self._type = sample_type
        self._folder = table.with_suffix("")
        self._progress = progress
        self._pictures = 0

    def written(self) -> SampleFiles:
        """Write the pictures, then the table that names them."""
        self._journal.part(self._table)
        columns, left_out = self._columns(), list[str]()
        keys = columns.pop(KEY)
        rows = _column(KEY, keys)
        for name, values in columns.items():
            try:
                rows = rows.append_column(name, _column(name, values)[name])
            except SampleError:
                left_out.append(name)
        found = SampleFiles(
            self._table, self._journal.dataset, self._shard.sha256, len(keys), self._pictures, left_out
        )
        facts = {name: value for name, value in asdict(found).items() if name != "table"}
        with self._journal.made(self._table, self._shard.sha256) as file:
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
        for folder in (self._folder, path.parent):
            try:
                folder.mkdir(exist_ok=True)
            except FileExistsError:
                raise another(folder) from None
        with self._journal.made(path, self._shard.sha256) as file:
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
