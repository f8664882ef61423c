"""The samples of shards: as they lie there, and typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import repeat
from typing import TypeVar

from ..common.urls import displayed
from ..errors import SampleError
from ..samples.sample_types import unpacker_with_views
from ..stores.opening import open_shard
from ..stores.prefetch import prefetched
from .tar_samples import Alone, Record, read_samples, sample_runs

T = TypeVar("T")
Packed = tuple[str, bytes | str, bytes]
"""URL of the shard, key, and the packed sample."""

_NAMED = 10
"""Members that an error names of a sample: a hostile shard has as many as it likes."""
_LONGEST_NAME = 60


def shard_records(url: str, *, store: object | None = None) -> Iterator[Record]:
    """The samples of one shard as they lie in it: ``{"__key__": str, suffix: bytes, ...}``.

    Raises:
        As ``opening.open_shard`` and ``tar_samples.read_samples``.
    """
    with closing(open_shard(url, store=store)) as stream:
        yield from read_samples(stream, url=url)


def shard_samples(url: str, sample_type: type[T], *, store: object | None = None) -> Iterator[T]:
    """The typed samples of one shard, in order.

    Arrays are read-only views on what was read.

    Raises:
        SampleError: A sample is not of this type; shard and key are named.
        And as ``shard_records``.
    """
    return typed_samples(packed_samples([url], sample_type, store=store), sample_type)


def packed_samples(urls: Iterable[str], sample_type: type, *, store: object | None = None) -> Iterator[Packed]:
    """The packed samples of several shards, in order.

    Raises:
        SampleError: A sample has no file ``.msgpack``.
        And as ``shard_records``.
    """
    with closing(prefetched(urls, store=store)) as shards:
        for url, stream in shards:
            for run in sample_runs(stream, url=url, alone="msgpack"):
                if isinstance(run, Alone):
                    yield from zip(repeat(url), run.keys, run.contents, strict=False)
                else:
                    for record in run:
                        yield url, record["__key__"], _payload(record, url, sample_type)


def typed_samples(
    packed: Iterable[Packed], sample_type: type[T], unpack: Callable[[bytes], T] | None = None
) -> Iterator[T]:
    """Packed samples as their type.

    Args:
        packed: As ``packed_samples`` gives them.
        sample_type: What they should be.
        unpack: Makes one; by default with arrays that are read-only views.

    Raises:
        SampleError: One is not of this type; shard and key are named.
    """
    unpack = unpack or unpacker_with_views(sample_type)
    for url, key, payload in packed:
        try:
            sample = unpack(payload)
        except SampleError as why:
            shown, facts = displayed(url), _facts(url, key, sample_type)
            raise SampleError(f"{shown}, sample {key!r}: {why}", **{**why.facts, **facts}) from None
        yield sample


def typed_sample(record: Record, url: str, sample_type: type[T]) -> T:
    """A sample of ``shard_records`` as its type; its arrays are read-only.

    Raises:
        SampleError: It is not of this type; shard and key are named.
    """
    payload = _payload(record, url, sample_type)
    return next(typed_samples([(url, record["__key__"], payload)], sample_type))


def _payload(record: Record, url: str, sample_type: type) -> bytes:
    key, payload = record["__key__"], record.get("msgpack")
    if isinstance(payload, bytes):
        return payload
    names = sorted(name[:_LONGEST_NAME] for name in record if name != "__key__")
    more = f" and {len(names) - _NAMED:,} more" if names[_NAMED:] else ""
    found = ", ".join(names[:_NAMED]) + more
    raise SampleError(
        f"{displayed(url)}, sample {key!r}: there is no {key}.msgpack, only {found or 'nothing'}. "
        "Write samples with as_wds.",
        **_facts(url, key, sample_type),
    )


def _facts(url: str, key: bytes | str, sample_type: type) -> dict[str, object]:
    return {"url": displayed(url), "key": key, "type_name": sample_type.__name__}
