"""The samples of shards, packed as they lie there, and as their type."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import repeat
from typing import TypeVar

from ..common.urls import displayed
from ..errors import SampleError, ShardWarning, StrayFilesWarning
from ..samples.sample_types import unpacker_with_views
from ..stores.opening import open_shard
from ..stores.prefetch import prefetched
from .consumers import workers
from .tar_samples import PACKED, Alone, Strays, TarSample, read_samples, sample_runs, suffixes_told

T = TypeVar("T")
Packed = tuple[str, bytes | str, bytes | memoryview]
"""URL of the shard, key, and the packed sample, in memory that nobody else has where it can be written to."""

_NAMED = 10
"""Members that an error names of a sample: a hostile shard has as many as it likes."""
_LONGEST_NAME = 60
_NO_DOTS = "A key ends at the first dot of a file's name: write the shard again with keys that have no dots."
_NOT_PACKED = (
    "Each sample is a file KEY.msgpack, as as_wds of a class made with @packable gives it; the tutorial shows how "
    "files such as these become samples."
)


def shard_records(url: str, *, store: object | None = None, strays: Strays | None = None) -> Iterator[TarSample]:
    """The samples of one shard as they lie in it: ``{"__key__": str, suffix: bytes, ...}``.

    Args:
        url: The shard.
        store: The store that it lies in.
        strays: As for ``tar_samples.read_samples``.

    Raises:
        As ``opening.open_shard`` and ``tar_samples.read_samples``.
    """
    with closing(open_shard(url, store=store)) as stream:
        yield from read_samples(stream, url=url, strays=strays)


def warn_of_files(beside: Counter[str], what: str) -> None:
    """Tell whoever keeps files beside samples that a dataset with them cannot be promoted, and what to do."""
    if beside:
        told = suffixes_told(dict(beside.most_common(10)), beside.total())
        warnings.warn(
            f"{what}: {beside.total():,} files beside its samples ({told}) are kept, "
            "but a dataset with them cannot be promoted: a schema says nothing of them. To promote it, make what "
            "they hold fields of the sample type, or take them out of the tars, and insert it again.",
            StrayFilesWarning,
            stacklevel=3,
        )


def packed_samples(urls: Iterable[str], sample_type: type, *, store: object | None = None) -> Iterator[Packed]:
    """The packed samples of several shards, in order.

    Raises as ``shard_records``, and ``SampleError`` where a sample has no file ``.msgpack``.
    """
    with closing(prefetched(urls, store=store, beside=workers())) as shards:
        for url, stream in shards:
            for run in sample_runs(stream, url=url, alone=PACKED):
                if isinstance(run, Alone):
                    yield from zip(repeat(url), run.keys, run.contents, strict=False)
                else:
                    for record in run:
                        yield url, record["__key__"], packed_of(record, url, sample_type)


def typed_samples(
    packed: Iterable[Packed], sample_type: type[T], unpack: Callable[[bytes | memoryview], T]
) -> Iterator[T]:
    """Packed samples as their type, each made by ``unpack``.

    Raises:
        SampleError: One is not of this type; shard and key are named.
    """
    for url, key, payload in packed:
        try:
            sample = unpack(payload)
        except SampleError as why:
            shown, facts = displayed(url), _facts(url, key, sample_type)
            raise SampleError(f"{shown}, sample {key!r}: {why}", **{**why.facts, **facts}) from None
        yield sample


def typed_sample(record: TarSample, url: str, sample_type: type[T]) -> T:
    """A sample of ``shard_records`` as its type; its arrays are read-only.

    Raises:
        SampleError: It is not of this type; shard and key are named.
    """
    packed = url, record["__key__"], packed_of(record, url, sample_type)
    return next(typed_samples([packed], sample_type, unpacker_with_views(sample_type)))


def packed_of(record: TarSample, url: str, sample_type: type) -> bytes | memoryview:
    """The packed sample of a record; ``SampleError`` names what is there where it has none.

    A warning tells of files that look like further samples, but have a dot in their key.
    """
    key, payload = record["__key__"], record.get(PACKED)
    dotted = len(record) > 2 and next((name for name in record if name.endswith(f".{PACKED}")), None)
    if isinstance(payload, bytes | memoryview):
        if dotted:
            warnings.warn(
                f"{displayed(url)}: a file like {f'{key}.{dotted}'[:_LONGEST_NAME]!r} is no sample of its own but "
                f"belongs to {key!r}. {_NO_DOTS}",
                ShardWarning,
                stacklevel=2,
            )
        return payload
    names = sorted(name[:_LONGEST_NAME] for name in record if name != "__key__")
    found = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if names[_NAMED:] else "")
    way_out = _NO_DOTS if any(name.endswith(f".{PACKED}") for name in record) else _NOT_PACKED
    raise SampleError(
        f"{displayed(url)}, sample {key!r}: there is no {key}.msgpack, only {found or 'nothing'}. {way_out}",
        **_facts(url, key, sample_type),
    )


def _facts(url: str, key: bytes | str, sample_type: type) -> dict[str, object]:
    return {"url": displayed(url), "key": key, "type_name": sample_type.__name__}
