"""``Dataset[T]``: the typed samples of a list of shards, each of which one consumer reads."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from itertools import islice, repeat
from types import GenericAlias
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar, cast, overload

from ..common.urls import displayed, expand, literal
from ..errors import MetadataError, RefusedError, SampleError, ShardWarning, StrayFilesWarning
from ..lens import Lens, LensNetwork
from ..protocols import DataSource
from ..samples.metadata import unpack
from ..samples.sample_batches import SampleBatch, unpack_columns, unpacks_by_field
from ..samples.sample_types import sample_fields, unpacker_with_views
from ..stores.opening import open_shard, prefetched
from .consumers import own_shards, register_with_torch
from .data_sources import URLSource
from .tar_samples import PACKED, Alone, Strays, TarSample, read_samples, sample_runs, suffixes_told

T = TypeVar("T")
V = TypeVar("V")
Item = TypeVar("Item")
Packed = tuple[str, bytes | str, bytes | memoryview]
"""URL of the shard, key, and the packed sample, in memory that nobody else has where it can be written to."""

_MOST_METADATA = 1 << 26
"""Bytes (64 MiB) of metadata that are read into memory: a hostile server may send what it claims."""
_CHUNK = 1 << 20
_NAMED = 10
"""Members that an error names of a sample: a hostile shard has as many as it likes."""
_LONGEST_NAME = 60
_ADDRESSES = ("s3://", "http://", "https://")
_NO_DOTS = "A key ends at the first dot of a file's name: write the shard again with keys that have no dots."
_NOT_PACKED = (
    "Each sample is a file KEY.msgpack, as as_wds of a class made with @packable gives it; the tutorial shows how "
    "files such as these become samples."
)


class Dataset(Generic[T]):
    """Samples of one type in tar shards.

    ``Dataset[MySample]("data-{000..009}.tar")``. Nothing is opened before samples are asked for.

    Attributes:
        url: What was given; the URLs of a source's shards.
        source: Lists and opens the shards.
        sample_type: The type in the brackets, or that of ``as_type``.
        metadata_url: Where the metadata lie, if anywhere.
        data_store: Whose credentials read the shards, if anyone's.
    """

    sample_type: type[T]

    def __init__(
        self,
        source: str | Sequence[str] | DataSource | None = None,
        metadata_url: str | None = None,
        *,
        url: str | Sequence[str] | None = None,
        data_store: object | None = None,
    ) -> None:
        """Name the shards.

        Args:
            source: A string with brace patterns, or a list of such; paths, ``s3://``, ``http(s)://``. Or an object
                that lists and opens shards: ``URLSource``, ``S3Source``, ``BlobSource``, one of one's own.
            metadata_url: A msgpack file.
            url: The same as ``source``.
            data_store: Used to open shards and metadata, in the place of a source; it must survive pickling where a
                DataLoader's workers are to read.

        Raises:
            TypeError: ``Dataset(...)`` was called without ``[T]``, or without shards.
            SchemaError: ``T`` is no sample type.
            StorageError: The pattern names no shard or is malformed.
        """
        if not hasattr(self, "sample_type"):
            raise TypeError("The type of the samples is missing. Write Dataset[MySample](...).")
        sample_fields(self.sample_type)
        given = url if source is None else source
        if given is None or (source is not None and url is not None):
            raise TypeError("Dataset[MySample](...) needs its shards, once: a URL, a list of URLs, or a source.")
        self.url, self.source, opener = _named(given)
        self.metadata_url = metadata_url
        self.data_store = opener if data_store is None else data_store
        self._shards = expand(self.url)
        self._lenses: tuple[Lens[Any, Any], ...] = ()
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

    def list_shards(self) -> list[str]:
        """As ``shard_list``."""
        return self.shard_list

    @property
    def shards(self) -> Iterator[str]:
        """As ``shard_list``, one after the other."""
        return iter(self._shards)

    @property
    def batch_type(self) -> type[SampleBatch[T]]:
        """``SampleBatch[sample_type]``."""
        return SampleBatch[self.sample_type]

    def wrap(self, sample: Mapping[str, Any]) -> T:
        """A sample of what webdataset reads of one, ``{"__key__": str, "msgpack": bytes}``.

        Raises:
            SampleError: (a ``ValueError``) it holds none, or one of another type.
        """
        return self.wrap_batch({**sample, PACKED: [sample[PACKED]]} if PACKED in sample else sample).samples[0]

    def wrap_batch(self, batch: Mapping[str, Any]) -> SampleBatch[T]:
        """As ``wrap``, of several samples: ``{"msgpack": [bytes, ...]}``."""
        if PACKED not in batch:
            held = ", ".join(map(str, batch)) or "nothing"
            raise SampleError(f"There is a missing {PACKED!r} key, and only {held}. Write samples with as_wds.")
        for payload in batch[PACKED]:
            if not isinstance(payload, bytes):
                kind = type(payload).__name__
                raise SampleError(f"{PACKED!r} has to be bytes, and is {kind}. Write samples with as_wds.")
        return self.batch_type(list(map(self.unpacker(writable=True), batch[PACKED])))

    def as_type(self, view: type[V]) -> Dataset[V]:
        """The same shards, each sample seen as another type, by the lens that leads there.

        Raises:
            LensNotFoundError: (a ``ValueError``) no ``@lens`` goes from ``sample_type`` to that type.
        """
        lens = LensNetwork().transform(self.sample_type, view)
        seen = cast("Dataset[V]", copy(self))
        seen.sample_type = view
        seen._lenses = (*self._lenses, lens)
        return seen

    @property
    def stored_type(self) -> type[Any]:
        """The type of the samples as they lie in the shards."""
        return self._lenses[0].source_type if self._lenses else self.sample_type

    def unpacker(self, *, writable: bool = False) -> Callable[[bytes | memoryview], T]:
        """What makes a sample of a packed one; arrays as in ``unpacker_with_views``."""
        unpack: Callable[[bytes | memoryview], Any] = unpacker_with_views(self.stored_type, writable=writable)
        for lens in self._lenses:
            unpack = _seen_through(lens, unpack)
        return unpack

    @property
    def metadata(self) -> dict[Any, Any] | None:
        """What the file at ``metadata_url`` holds, read once; None without one.

        Raises:
            MetadataError: It is no msgpack map, or larger than 64 MiB.
            ShardError: It cannot be opened, as a shard.
        """
        if self._metadata is None and self.metadata_url is not None:
            # A source opens the shards that it lists, and nothing else.
            store = None if self.data_store is self.source else self.data_store
            with closing(open_shard(self.metadata_url, store=store)) as stream:
                self._metadata = _unpacked_metadata(_read_metadata(stream, self.metadata_url), self.metadata_url)
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
        buffer_shards: int = 100,
        buffer_samples: int = 10_000,
        batch_size: None = None,
        *,
        seed: int | None = None,
    ) -> SampleStream[T]: ...
    @overload
    def shuffled(
        self,
        buffer_shards: int = 100,
        buffer_samples: int = 10_000,
        *,
        batch_size: int,
        seed: int | None = None,
    ) -> SampleStream[SampleBatch[T]]: ...
    @overload
    def shuffled(
        self, buffer_shards: int, buffer_samples: int, batch_size: int, *, seed: int | None = None
    ) -> SampleStream[SampleBatch[T]]: ...
    def shuffled(
        self,
        buffer_shards: int = 100,
        buffer_samples: int = 10_000,
        batch_size: int | None = None,
        *,
        seed: int | None = None,
    ) -> SampleStream[Any]:
        """The samples in random order, or batches of so many.

        Args:
            buffer_shards: Shards among which the next one is drawn.
            buffer_samples: Samples among which the next one is drawn; so many are kept in memory.
            batch_size: Samples to a batch.
            seed: The same seed gives the same order each time. Without one, each pass has its own.

        Raises:
            RefusedError: A number below 1.
        """
        buffers = (
            _positive("buffer_shards", buffer_shards) or 1,
            _positive("buffer_samples", buffer_samples) or 1,
        )
        return SampleStream(self, batch_size=_positive("batch_size", batch_size), buffers=buffers, seed=seed)

    def __iter__(self) -> Iterator[T]:
        return iter(self.ordered())

    def __repr__(self) -> str:
        shards = displayed(self._shards[0])
        if len(self._shards) > 1:
            shards += f" and {len(self._shards) - 1} more"
        return f"Dataset[{self.sample_type.__name__}]({shards})"


def _named(given: str | Sequence[str] | DataSource) -> tuple[str | list[str], DataSource, object | None]:
    """The URLs of shards, the source that lists them, and what opens them; None: as any URL is opened."""
    if isinstance(given, URLSource):
        urls = given.url
    elif isinstance(given, str) or not isinstance(given, DataSource):
        urls = given
    else:
        # What a source lists are names, and no patterns.
        return [literal(shard) for shard in given.list_shards()], given, given
    urls = urls if isinstance(urls, str) else list(urls)
    return urls, given if isinstance(given, URLSource) else URLSource(urls), None


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

    Arrays can be written to, and no two samples share memory. Those of large samples are views on what was read.

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

    def __iter__(self) -> Iterator[Item]:
        items = self._samples() if self._batch_size is None else self._batches(self._batch_size)
        return cast("Iterator[Item]", items)

    def _samples(self) -> Iterator[Any]:
        yield from typed_samples(self._packed(), self._dataset.sample_type, self._dataset.unpacker(writable=True))

    def _batches(self, size: int) -> Iterator[SampleBatch[Any]]:
        packed, sample_type, unpack = (
            self._packed(),
            self._dataset.sample_type,
            self._dataset.unpacker(writable=True),
        )
        by_field = self._dataset.stored_type is sample_type and unpacks_by_field(sample_type)
        while held := list(islice(packed, size)):
            payloads = [payload for _, _, payload in held]
            columns = unpack_columns(sample_type, payloads) if by_field else None
            if columns is None:
                yield SampleBatch(list(typed_samples(held, sample_type, unpack)))
            else:
                yield SampleBatch.of_columns(columns)

    def _packed(self) -> Iterator[Packed]:
        dataset = self._dataset
        for_shards, for_samples = self._buffers or (1, 1)
        draw = random.Random(self._seed)
        # Split before shuffling: consumers need not agree on a seed to read every shard once.
        shards = _shuffled(iter(own_shards(dataset.shard_list)), for_shards, draw)
        # Packed samples wait in the buffer: they take less memory than decoded ones.
        packed = packed_samples(shards, dataset.stored_type, store=dataset.data_store)
        return _shuffled(packed, for_samples, draw)

    def __repr__(self) -> str:
        return f"<{'ordered' if self._buffers is None else 'shuffled'} samples of {self._dataset!r}>"

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            # DataLoader asks isinstance(stream, IterableDataset) first of all. That is the moment when torch
            # is certain to be loaded, and the last to tell it; torch is never imported for this.
            register_with_torch(type(self))
            return type(self)


def _seen_through(
    lens: Lens[Any, Any], unpack: Callable[[bytes | memoryview], Any]
) -> Callable[[bytes | memoryview], Any]:
    def seen(data: bytes | memoryview) -> Any:
        view = lens.get(unpack(data))
        # What is stored of it is described by the fields of this very type.
        if type(view) is not lens.view_type:
            wanted = lens.view_type.__name__
            raise SampleError(
                f"The lens to {wanted} gave a {type(view).__name__}. Let its getter return a {wanted}.",
                type_name=wanted,
            )
        return view

    return seen


def check_can_be_named(ds: Dataset[Any]) -> None:
    """Raises ``RefusedError`` where an entry that names the shards of a dataset would not be true.

    They do not hold its samples as they are seen, or only its source knows what their names stand for.
    """
    if ds.data_store is ds.source and not all(url.startswith(_ADDRESSES) for url in ds.shard_list):
        raise RefusedError(
            f"The shards of {ds!r} have names that only its {type(ds.source).__name__} can open: an entry that "
            "names them would not be true. Store the samples (Repo.insert, or an index with a data store).",
        )
    if ds.stored_type is not ds.sample_type:
        stored, seen = ds.stored_type.__name__, ds.sample_type.__name__
        raise RefusedError(
            f"The shards of {ds!r} hold {stored}, which a lens shows as {seen}: an entry that names them would not "
            f"be true. Store the {seen} samples (Repo.insert, or an index with a data store), or add the dataset "
            "as it was before as_type().",
        )


def _shuffled(items: Iterator[Item], buffer: int, draw: random.Random) -> Iterator[Item]:
    return items if buffer == 1 else _drawn(items, buffer, draw)


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


def _read_metadata(stream: BinaryIO, url: str) -> bytes:
    data = bytearray()
    # A store of one's own may give less, or more, than it is asked for.
    while len(data) <= _MOST_METADATA and (piece := stream.read(_CHUNK)):
        data += piece
    if len(data) > _MOST_METADATA:
        raise MetadataError(
            f"{displayed(url)} has more than {_MOST_METADATA:,} bytes, the most that metadata may have. Keep such "
            "data in samples.",
            name=displayed(url),
        )
    return bytes(data)


def _unpacked_metadata(data: bytes, url: str) -> dict[Any, Any]:
    try:
        metadata = unpack(data)
    except MetadataError:
        metadata = None
    if not isinstance(metadata, dict):
        raise MetadataError(
            f"{displayed(url)} is no msgpack map. Write it with msgpack.packb.", name=displayed(url)
        )
    return cast("dict[Any, Any]", metadata)


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


def files_beside(ds: Dataset[Any]) -> Counter[str]:
    """How many files of each suffix lie beside the packed samples of a dataset; raises as ``shard_records``."""
    records = (record for url in ds.shard_list for record in shard_records(url, store=ds.data_store))
    return Counter(f".{suffix}" for record in records for suffix in record if suffix not in ("__key__", PACKED))


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
    with closing(prefetched(urls, store=store)) as shards:
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
