"""``load_dataset``: from whatever names a dataset to its samples."""

from __future__ import annotations

import glob
import io
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast, overload

from ..common.names import LOCAL, is_published, near, quoted
from ..common.urls import displayed, expand, literal, local_path, scheme
from ..errors import EntryNotFoundError, RefusedError, SchemaNotFoundError, ShardMissingError, StorageError
from ..samples import DictSample
from ..shards.data_sources import ListedShards
from ..shards.dataset import Dataset
from ..shards.packed_samples import packed_samples
from ..shards.splits import split_name, splits_of
from ..stores.prefetch import prefetched
from .dataset_dict import DatasetDict, chosen

if TYPE_CHECKING:
    from ..atmosphere import AtmosphereIndex
    from ..local import LocalIndex

T = TypeVar("T")

DataFiles = Mapping[str, str | Sequence[str]]
_WILD = ("*", "?", "[")
_CHUNK = 1 << 20
_log = logging.getLogger("atdata_core")


@overload
def load_dataset(
    where: str | PathLike[str],
    sample_type: type[T],
    *,
    split: str,
    data_files: DataFiles | None = None,
    streaming: bool = True,
    verify: bool = True,
    index: Any = None,
) -> Dataset[T]: ...
@overload
def load_dataset(
    where: str | PathLike[str],
    sample_type: None = None,
    *,
    split: str,
    data_files: DataFiles | None = None,
    streaming: bool = True,
    verify: bool = True,
    index: Any = None,
) -> Dataset[Any]: ...
@overload
def load_dataset(
    where: str | PathLike[str],
    sample_type: type[Any] | None = None,
    *,
    split: None = None,
    data_files: DataFiles | None = None,
    streaming: bool = True,
    verify: bool = True,
    index: Any = None,
) -> Any: ...
def load_dataset(
    where: str | PathLike[str],
    sample_type: type[Any] | None = None,
    *,
    split: str | None = None,
    data_files: DataFiles | None = None,
    streaming: bool = True,
    verify: bool = True,
    index: LocalIndex | AtmosphereIndex | Any = None,
) -> Any:
    """A dataset, ready to read: its samples, or those of each split.

    A dataset without splits is a ``Dataset``; one with splits a ``DatasetDict``, of which ``split`` takes one. They
    are told by the metadata of an entry or the names of shards: see ``splits_of``. ``split="train"`` is also all of
    a dataset without splits.

    Args:
        where: A published dataset, which needs no login: ``@handle/name``, ``@handle/name@version``, an at-uri. One
            of the lab's index (``ATDATA_REDIS_URL``): ``@local/name``. Or shards: a path, a folder of tars, a
            pattern with ``*``, ``**`` or braces (``data-{000..009}.tar``), ``s3://``, ``http(s)://``. A
            ``pathlib.Path`` is a file or folder of exactly this name.
        sample_type: A class of one's own with the same fields. Without one, samples are of the class that the
            published schema describes, and ``DictSample`` where there is none.
        split: ``train``, ``test``, ``validation``, or another name that the metadata tell.
        data_files: The shards of each split, in the folder ``where``, where their names do not tell; patterns, too.
        streaming: Read samples when they are asked for. Else all shards are read into memory at once: what is not
            as published is told before the first sample, ``len`` is known, and no epoch fetches them again.
        verify: Compare each published shard with the digest in its record, as ``AtmosphereIndex.open_dataset``.
        index: Asked in the place of the environment's: an ``AtmosphereIndex``, or a ``LocalIndex``.

    Raises:
        EntryNotFoundError, RecordNotFoundError: (``KeyError``) no such dataset or account; near names are told.
        ShardMissingError: (a ``FileNotFoundError``) no such file, or no tar in the folder.
        RefusedError: (a ``ValueError``) there is no such split, or ``where`` cannot be understood.
        TypeError: ``where`` is neither text nor a path, or ``data_files`` no mapping.
    """
    literally = isinstance(where, PathLike)
    where = _text(where)
    metadata: Mapping[Any, Any] | None = None
    splits: dict[str, list[str]] | None = None
    counts: Mapping[str, int] = {}
    if data_files is not None:
        splits = _below(where, data_files, literally)
        dataset = _of_urls([shard for shards in splits.values() for shard in shards], sample_type)
    elif literally:
        dataset = _of_urls(_shards_of(Path(where)), sample_type)
    elif is_published(where):
        dataset, metadata = _published(where, sample_type, verify, index)
    elif where.startswith(LOCAL):
        dataset, metadata, counts = _of_index(where.removeprefix(LOCAL), sample_type, index)
    else:
        dataset = _of_urls(_shards_at(where), sample_type)
    splits = splits_of(dataset.shard_list, metadata) if splits is None else splits
    if split is not None:
        # The whole of a dataset without splits, by whatever name its files say.
        whole = dict.fromkeys(filter(None, ("train", *map(_only_split, dataset.shard_list))), dataset.shard_list)
        dataset, splits = _part(dataset, chosen(splits or whole, split, where), counts), {}
    if not splits:
        return dataset if streaming else _read(dataset)
    parts = {name: _part(dataset, shards, counts) for name, shards in splits.items()}
    if not streaming:
        parts = {name: _read(part) for name, part in parts.items()}
    return DatasetDict(parts, dataset.sample_type, streaming)


def _text(where: object) -> str:
    if isinstance(where, PathLike):
        where = os.fspath(cast("PathLike[str]", where))
    if not isinstance(where, str):
        raise TypeError(
            f"load_dataset() takes what names a dataset, a URL or a path, as text or a pathlib.Path, not {where!r}."
        )
    if not where.strip():
        raise RefusedError("load_dataset() was given an empty name. Use '.' for the tars of the folder you are in.")
    return where


def _only_split(shard: str) -> str | None:
    return split_name(shard, of_folder=False) or split_name(shard, of_folder=True)


def _published(where: str, sample_type: type | None, verify: bool, index: Any) -> tuple[Dataset[Any], Any]:
    from ..atmosphere import AtmosphereClient, AtmosphereIndex

    index = AtmosphereIndex(AtmosphereClient()) if index is None else index
    entry = index.get_dataset(where)
    kind = sample_type or _published_type(index, entry.schema_ref)
    return index.open_dataset(entry, sample_type=kind, verify=verify), entry.metadata


def _of_index(name: str, sample_type: type | None, index: Any) -> tuple[Dataset[Any], Any, dict[str, int]]:
    """The dataset, its metadata, and how many samples the shards hold of which that is known."""
    from ..local import LocalIndex

    index = LocalIndex() if index is None else index
    try:
        entry = index.get_dataset(name)
    except EntryNotFoundError as error:
        raise EntryNotFoundError(f"{error.message}{near(name, index.names())}", ref=name) from None
    kind: Any = sample_type or _published_type(index, entry.schema_ref)
    urls = entry.data_urls[0] if len(entry.data_urls) == 1 else entry.data_urls
    store = entry.data_store or index.data_store
    dataset = Dataset[kind](urls, data_store=store)
    claims = index.shard_claims(entry.cid) if isinstance(index, LocalIndex) else {}
    counts = {url: claim.samples for url, claim in claims.items() if claim.samples is not None}
    dataset = Dataset[kind](urls, data_store=store, count=_count(dataset.shard_list, counts))
    return dataset, entry.metadata, counts


def _count(shards: Sequence[str], counts: Mapping[str, int]) -> int | None:
    return sum(counts[shard] for shard in shards) if counts.keys() >= set(shards) else None


def _published_type(index: Any, schema_ref: str) -> type:
    try:
        return index.decode_schema(schema_ref)
    except SchemaNotFoundError as error:
        _log.warning("Samples are read as DictSample: %s", error)
        return DictSample


def _of_urls(urls: Sequence[str], sample_type: type | None) -> Dataset[Any]:
    kind: Any = sample_type or DictSample
    return Dataset[kind]([literal(url) for url in urls])


def _below(folder: str, data_files: object, literally: bool) -> dict[str, list[str]]:
    """The shards of each split; ``literally``: the folder's name is no part of a pattern."""
    if not isinstance(data_files, Mapping):
        raise TypeError(
            f"data_files names the shards of each split, such as {{'train': 'a-*.tar'}}, and is {data_files!r}."
        )
    splits = cast("DataFiles", data_files)
    listed = {name: [files] if isinstance(files, str) else files for name, files in splits.items()}

    def shards_at(file: str) -> list[str]:
        return _shards_at(file, folder) if literally else _shards_at(f"{folder.rstrip('/')}/{file}")

    return {name: [shard for file in files for shard in shards_at(file)] for name, files in listed.items()}


def _shards_of(path: Path) -> list[str]:
    """The shards that a file or folder of this machine is, or has."""
    if path.is_dir():
        tars = sorted(path.glob("*.tar")) or sorted(path.glob("*/*.tar"))
        if not tars:
            raise ShardMissingError(
                f"There is no tar (*.tar) in the folder {path}, nor in a folder in it. Name the folder that has "
                "them, or the files themselves by a pattern.",
                url=str(path),
            )
        return [str(tar) for tar in tars]
    if not path.exists():
        raise _missing(str(path))
    return [str(path)]


def _shards_at(where: str, root: str | None = None) -> list[str]:
    """The shards that a path, a folder, a pattern or a URL stands for; a path below ``root``, if that is given."""
    if root is None and scheme(where) != "file":
        urls = expand(where)
        if wild := next((url for url in urls if "*" in url), None):
            raise StorageError(
                f"{displayed(wild)}: a * is understood in paths of this machine only. Name the shards with braces, "
                "such as {000..009}.",
                urls=[displayed(wild)],
            )
        return urls

    def local(path: str) -> Path:
        return local_path(path) if root is None else Path(root, path)

    if local(where).is_dir():
        return _shards_of(local(where))
    found: list[str] = []
    for path in expand(where):
        pattern = str(local(path)) if root is None else os.path.join(glob.escape(root), path)
        if local(path).exists():
            found.append(path if root is None else str(local(path)))
        elif any(each in path for each in _WILD) and (matches := sorted(glob.glob(pattern, recursive=True))):
            found += [match for match in matches if Path(match).is_file()]
        else:
            raise _missing(path if root is None else str(local(path)))
    return found


def _missing(path: str) -> ShardMissingError:
    folder, first = local_path(path).parent, path.partition("/")[0]
    beside = [each.name for each in folder.iterdir()] if folder.is_dir() else []
    hint = near(local_path(path).name, beside)
    if "." in first.strip("."):
        hint += f" A published dataset is written with an @: @{path}."
    return ShardMissingError(f"There is no file {quoted(path)}.{hint or ' Check the path.'}", url=path)


def _part(dataset: Dataset[Any], shards: Sequence[str], counts: Mapping[str, int]) -> Dataset[Any]:
    if list(shards) == dataset.shard_list:
        return dataset
    urls = [literal(shard) for shard in shards]
    return Dataset[dataset.sample_type](urls, data_store=dataset.data_store, count=_count(shards, counts))


class _ReadShards(ListedShards):
    """Shards that were read into memory."""

    def __init__(self, shards: Mapping[str, bytes]) -> None:
        self._shards = shards

    def list_shards(self) -> list[str]:
        return list(self._shards)

    def open_shard(self, url: str) -> BinaryIO:
        self.check_listed(url)
        return io.BytesIO(self._shards[url])


def _read(dataset: Dataset[Any]) -> Dataset[Any]:
    """The dataset with all its shards in memory, each held to its digest."""
    with closing(prefetched(dataset.shard_list, store=dataset.data_store)) as streams:
        # A store of one's own may give less than it is asked for.
        shards = {url: b"".join(iter(partial(stream.read, _CHUNK), b"")) for url, stream in streams}
    read = _ReadShards(shards)
    count = sum(1 for _ in packed_samples(shards, dataset.stored_type, store=read))
    return Dataset[dataset.sample_type](read, count=count)
