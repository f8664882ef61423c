"""``Dataset[T]``: the typed samples of a list of shards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import msgpack

from ..common.urls import displayed, expand
from ..errors import MetadataError, RefusedError
from ..samples.columns import column_type
from ..samples.sample_batches import SampleBatch
from ..samples.sample_types import sample_fields, unpacker_with_views
from ..stores.opening import open_shard
from .shard_reader import Packed, packed_samples, shard_records, shard_samples, typed_sample, typed_samples
from .worker_split import own_shards, register_with_torch

__all__ = ["Dataset", "SampleStream", "shard_records", "shard_samples", "typed_sample"]

T = TypeVar("T")
Item = TypeVar("Item")


class Dataset(Generic[T]):
    """Samples of one type in tar shards.

    ``Dataset[MySample]("data-{000..009}.tar")``. Nothing is opened before samples are asked for.

    Attributes:
        url: What was given.
        sample_type: The type in the brackets.
        metadata_url: Where the metadata lie, if anywhere.
        data_store: Whose credentials read the shards, if anyone's.
    """

    sample_type: type[T]

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        metadata_url: str | None = None,
        data_store: object | None = None,
    ) -> None:
        """Name the shards.

        Args:
            url: A string with brace patterns, or a list of such; paths, ``s3://``, ``http(s)://``.
            metadata_url: A msgpack file.
            data_store: Used to open shards and metadata; it must survive pickling where a DataLoader's
                workers are to read.

        Raises:
            TypeError: ``Dataset(...)`` was called without ``[T]``.
            SchemaError: ``T`` is no sample type.
            StorageError: The pattern names no shard or is malformed.
        """
        if not hasattr(self, "sample_type"):
            raise TypeError("The type of the samples is missing. Write Dataset[MySample](...).")
        sample_fields(self.sample_type)
        self.url = url if isinstance(url, str) else list(url)
        self.metadata_url = metadata_url
        self.data_store = data_store
        self._shards = expand(url)
        self._metadata: dict[Any, Any] | None = None

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: Any) -> Any:
            if isinstance(item, TypeVar):
                return super().__class_getitem__(item)
            return _TypedDataset(cls, item)

    @property
    def shard_list(self) -> list[str]:
        """The shards, patterns expanded."""
        return list(self._shards)

    @property
    def metadata(self) -> dict[Any, Any] | None:
        """What the file at ``metadata_url`` holds, read once; None without one.

        Raises:
            MetadataError: It is no msgpack map.
            And as ``opening.open_shard``.
        """
        if self._metadata is None and self.metadata_url is not None:
            with closing(open_shard(self.metadata_url, store=self.data_store)) as stream:
                self._metadata = _unpacked_metadata(stream.read(), self.metadata_url)
        return self._metadata

    @overload
    def ordered(self, batch_size: None = None) -> SampleStream[T]: ...
    @overload
    def ordered(self, batch_size: int) -> SampleStream[SampleBatch[T]]: ...
    def ordered(self, batch_size: int | None = None) -> SampleStream[Any]:
        """The samples in order, or batches of so many (the last one may be smaller).

        Raises:
            RefusedError: A batch size below 1.
        """
        return SampleStream(self, batch_size=_positive("batch_size", batch_size))

    @overload
    def shuffled(
        self,
        batch_size: None = None,
        *,
        buffer_shards: int = 100,
        buffer_samples: int = 10_000,
        seed: int | None = None,
    ) -> SampleStream[T]: ...
    @overload
    def shuffled(
        self,
        batch_size: int,
        *,
        buffer_shards: int = 100,
        buffer_samples: int = 10_000,
        seed: int | None = None,
    ) -> SampleStream[SampleBatch[T]]: ...
    def shuffled(
        self,
        batch_size: int | None = None,
        *,
        buffer_shards: int = 100,
        buffer_samples: int = 10_000,
        seed: int | None = None,
    ) -> SampleStream[Any]:
        """The samples in random order, or batches of so many.

        Args:
            batch_size: Samples to a batch.
            buffer_shards: Shards among which the next one is drawn.
            buffer_samples: Samples among which the next one is drawn; so many are kept in memory.
            seed: The same seed gives the same order each time. Without one, each pass has its own.

        Raises:
            RefusedError: A number below 1.
        """
        buffers = (
            _positive("buffer_shards", buffer_shards) or 1,
            _positive("buffer_samples", buffer_samples) or 1,
        )
        return SampleStream(self, batch_size=_positive("batch_size", batch_size), buffers=buffers, seed=seed)

    def __repr__(self) -> str:
        shards = displayed(self._shards[0])
        if len(self._shards) > 1:
            shards += f" and {len(self._shards) - 1} more"
        return f"Dataset[{self.sample_type.__name__}]({shards})"


class _TypedDataset(GenericAlias):
    """``Dataset[T]``: knows the sample type before the dataset is initialised."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        origin = cast("Any", self.__origin__)
        made = origin.__new__(origin)
        made.sample_type = self.__args__[0]
        made.__init__(*args, **kwargs)
        return made


class SampleStream(Generic[Item]):
    """Samples or batches of a dataset; each ``for`` starts again.

    Arrays of samples are read-only views on what was read. Where torch's DataLoader is loaded and has looked at
    the stream, they have memory of their own: torch warns of each array that it could not write to.

    Under a PyTorch DataLoader and across ranks, every consumer reads shards of its own, so no sample is read
    twice; with fewer shards than consumers some get nothing.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        batch_size: int | None = None,
        buffers: tuple[int, int] | None = None,
        seed: int | None = None,
    ) -> None:
        self._dataset = dataset
        self._batch_size = batch_size
        self._buffers = buffers
        self._seed = seed
        self._for_torch = False

    def __iter__(self) -> Iterator[Item]:
        items = self._samples() if self._batch_size is None else self._batches(self._batch_size)
        return cast("Iterator[Item]", items)

    def _samples(self) -> Iterator[Any]:
        yield from typed_samples(self._packed(), self._dataset.sample_type, self._unpack())

    def _batches(self, size: int) -> Iterator[SampleBatch[Any]]:
        packed, sample_type, unpack = self._packed(), self._dataset.sample_type, self._unpack()
        columns = column_type(sample_type)
        while held := list(islice(packed, size)):
            found = columns and columns.unpack([payload for _, _, payload in held], writable=self._for_torch)
            if found:
                yield SampleBatch.of_columns(found)
            else:
                yield SampleBatch(list(typed_samples(held, sample_type, unpack)))

    def _unpack(self) -> Callable[[bytes], Any]:
        sample_type: Any = self._dataset.sample_type
        return sample_type.from_bytes if self._for_torch else unpacker_with_views(sample_type)

    def _packed(self) -> Iterator[Packed]:
        dataset = self._dataset
        for_shards, for_samples = self._buffers or (1, 1)
        draw = random.Random(self._seed)
        # Split before shuffling: consumers need not agree on a seed to read every shard once.
        shards = _shuffled(iter(own_shards(dataset.shard_list)), for_shards, draw)
        # Packed samples wait in the buffer: they take less memory than decoded ones.
        packed = packed_samples(shards, dataset.sample_type, store=dataset.data_store)
        return _shuffled(packed, for_samples, draw)

    def __repr__(self) -> str:
        return f"<{'ordered' if self._buffers is None else 'shuffled'} samples of {self._dataset!r}>"

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            # DataLoader asks isinstance(stream, IterableDataset) first of all. That is the moment when torch
            # is certain to be loaded, and the last to tell it; torch is never imported for this.
            self._for_torch = register_with_torch(type(self))
            return type(self)


def _shuffled(items: Iterator[Item], buffer: int, draw: random.Random) -> Iterator[Item]:
    if buffer == 1:
        return items
    return _drawn(items, buffer, draw)


def _drawn(items: Iterator[Item], buffer: int, draw: random.Random) -> Iterator[Item]:
    held = list(islice(items, buffer))
    for item in items:
        # A fraction of what randrange takes.
        place = int(draw.random() * buffer)
        yield held[place]
        held[place] = item
    draw.shuffle(held)
    yield from held


def _positive(name: str, number: int | None) -> int | None:
    if number is not None and number < 1:
        raise RefusedError(f"{name} is {number}. Use 1 or more.", name=name)
    return number


def _unpacked_metadata(data: bytes, url: str) -> dict[Any, Any]:
    try:
        metadata = msgpack.unpackb(data, strict_map_key=False)
    except (msgpack.UnpackException, TypeError, ValueError, OverflowError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise MetadataError(
            f"{displayed(url)} is no msgpack map. Write it with msgpack.packb.", name=displayed(url)
        )
    return cast("dict[Any, Any]", metadata)
