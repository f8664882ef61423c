"""``Dataset[T]``: the typed samples of a list of shards, each of which one consumer reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from types import GenericAlias
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from ..common.urls import displayed, expand, literal
from ..errors import MetadataError, RefusedError, SampleError
from ..lens import Lens, LensNetwork
from ..protocols import DataSource
from ..samples.metadata import unpack
from ..samples.sample_batches import SampleBatch
from ..samples.sample_types import sample_fields, unpacker_with_views
from ..stores.opening import open_shard
from .data_sources import URLSource
from .packed_samples import shard_records
from .sample_stream import Reading, SampleStep, SampleStream
from .tar_samples import PACKED
from .views import DatasetView, Readable

T = TypeVar("T")
V = TypeVar("V")

_MOST_METADATA = 1 << 26
"""Bytes (64 MiB) of metadata that are read into memory: a hostile server may send what it claims."""
_CHUNK = 1 << 20
_ADDRESSES = ("s3://", "http://", "https://")


class Dataset(Readable[T]):
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
        count: int | None = None,
    ) -> None:
        """Name the shards.

        Args:
            source: A string with brace patterns, or a list of such; paths, ``s3://``, ``http(s)://``. Or an object
                that lists and opens shards: ``URLSource``, ``S3Source``, ``BlobSource``, one of one's own.
            metadata_url: A msgpack file.
            url: The same as ``source``.
            data_store: Used to open shards and metadata, in the place of a source; it must survive pickling where a
                DataLoader's workers are to read.
            count: Samples in the shards, where that is known: what ``len`` gives.

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
        self._count = count

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

    def _stream(self, reading: Reading) -> SampleStream[Any]:
        return SampleStream(self, (), reading)

    def _view(self, step: SampleStep, count: int | None) -> DatasetView[Any]:
        return DatasetView(self, (step,), count)

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


def files_beside(ds: Dataset[Any]) -> Counter[str]:
    """How many files of each suffix lie beside the packed samples of a dataset; raises as ``shard_records``."""
    records = (record for url in ds.shard_list for record in shard_records(url, store=ds.data_store))
    return Counter(f".{suffix}" for record in records for suffix in record if suffix not in ("__key__", PACKED))
