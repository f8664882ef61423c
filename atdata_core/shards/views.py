"""Looking at samples without reading them all: the first ones, some of them, what a function makes of them."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, SupportsIndex, TypeVar, overload

from ..errors import RefusedError
from ..samples import SampleBatch
from . import conversions
from .consumers import TorchIterable
from .sample_stream import Reading, SampleStep, SampleStream, StoredSamples, positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")
V = TypeVar("V")


class Readable(TorchIterable, Generic[T]):
    """What can be done with the samples of a dataset, and with those of a view of it."""

    _count: int | None

    @overload
    def ordered(self, batch_size: None = None) -> SampleStream[T]: ...
    @overload
    def ordered(self, batch_size: int) -> SampleStream[SampleBatch[T]]: ...
    def ordered(self, batch_size: int | None = None) -> SampleStream[Any]:
        """The samples in order, or batches of so many (the last one may be smaller).

        Raises:
            RefusedError: A batch size below 1.
        """
        return self._stream(Reading(positive("batch_size", batch_size)))

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
            positive("buffer_shards", buffer_shards) or 1,
            positive("buffer_samples", buffer_samples) or 1,
        )
        return self._stream(Reading(positive("batch_size", batch_size), buffers, seed))

    def __iter__(self) -> Iterator[T]:
        return iter(self.ordered())

    def __len__(self) -> int:
        """Samples, where that is known without reading them; else ``TypeError``, as of any iterator."""
        if self._count is None:
            raise TypeError(
                f"How many samples {self!r} has is not known before they are read. sum(1 for _ in ds) counts "
                "them, and load_dataset(..., streaming=False) reads and counts them at once."
            )
        return self._count

    def __bool__(self) -> Literal[True]:
        """True: a dataset is one, however many samples it has."""
        return True

    def head(self, n: int = 5) -> list[T]:
        """The first samples. Only the beginning of a shard is read for them, of which no digest is known.

        Raises:
            RefusedError: A negative number.
        """
        if n < 0:
            raise RefusedError(f"head() takes how many samples to read, and {n} is below 0. Use 1 or more.")
        return list(islice(self.ordered(), n))

    def select(self, indices: Iterable[SupportsIndex]) -> DatasetView[T]:
        """The samples at these positions, counted from 0, in the order of ``indices``; nothing is read yet.

        Shards are read from the first one up to the last position. ``IndexError`` tells of a position that is not
        there, when it is its turn. One that is named several times gives a sample of its own each time.

        Raises:
            RefusedError: (a ``ValueError``) a negative position.
            TypeError: What is no whole number.
        """
        wanted = tuple(map(_position, indices))
        if min(wanted, default=0) < 0:
            raise RefusedError(
                f"select() counts samples from the first one, which is 0; {min(wanted)} is before it."
            )
        return self._view(_Select(wanted), len(wanted))

    def filter(self, function: Callable[[T], object]) -> DatasetView[T]:
        """The samples of which a function says True, asked when they are read; also in batches and workers."""
        return self._view(_Filter(function), None)

    def map(self, function: Callable[[T], V]) -> DatasetView[V]:
        """What a function makes of each sample when it is read; also in batches and workers.

        Batches are of samples and of dicts, whose fields are read together; of anything else they are lists.
        """
        return self._view(_Map(function), self._count)

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """All samples as an array a field: arrays of one shape as ``(n, ...)``; what is no number as objects."""
        return conversions.to_numpy(self)

    def to_pandas(self) -> Any:
        """All samples as a pandas ``DataFrame``, arrays as objects in it. Needs ``atdata-core[pandas]``."""
        return conversions.to_pandas(self)

    def to_arrow(self) -> Any:
        """All samples as a ``pyarrow.Table``; arrays are lists of a fixed size. Needs ``atdata-core[arrow]``.

        Raises:
            SampleError: (a ``ValueError``) a field has values that Arrow cannot hold.
        """
        return conversions.to_arrow(self)

    def to_hf(self) -> Any:
        """All samples as Hugging Face's ``datasets.Dataset``. Needs ``atdata-core[hf]``; raises as ``to_arrow``."""
        return conversions.to_hf(self)

    def _stream(self, reading: Reading) -> SampleStream[Any]:
        raise NotImplementedError

    def _view(self, step: SampleStep, count: int | None) -> DatasetView[Any]:
        raise NotImplementedError


class DatasetView(Readable[T]):
    """Samples of a dataset as ``select``, ``filter`` and ``map`` leave them; read as the dataset is.

    It has no shards of its own, so that it cannot be kept in an index or published. Write its samples to shards.
    """

    def __init__(self, stored: StoredSamples, steps: tuple[SampleStep, ...], count: int | None) -> None:
        self._stored = stored
        self._steps = steps
        self._count = count

    def _stream(self, reading: Reading) -> SampleStream[Any]:
        return SampleStream(self._stored, self._steps, reading)

    def _view(self, step: SampleStep, count: int | None) -> DatasetView[Any]:
        return DatasetView(self._stored, (*self._steps, step), count)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"A view of a dataset has no {name!r}. It has no shards, so that no index or store can take it "
                "either: write its samples to tars (as_wds), and make a Dataset of these."
            )

    def __repr__(self) -> str:
        return f"<a view of {self._stored!r}>"


@dataclass(frozen=True)
class _Filter:
    function: Callable[[Any], object]
    positional = False

    def __call__(self, items: Iterator[Any], /) -> Iterator[Any]:
        return filter(self.function, items)


@dataclass(frozen=True)
class _Map:
    function: Callable[[Any], Any]
    positional = False

    def __call__(self, items: Iterator[Any], /) -> Iterator[Any]:
        return map(self.function, items)


@dataclass(frozen=True)
class _Select:
    indices: tuple[int, ...]
    positional = True

    def __call__(self, items: Iterator[Any], /) -> Iterator[Any]:
        uses, held, position = Counter(self.indices), dict[int, Any](), -1
        for index in self.indices:
            # What stands before its turn is held until then.
            while index > position:
                position += 1
                try:
                    item = next(items)
                except StopIteration:
                    raise IndexError(f"There is no sample {index}: there are {position:,}.") from None
                if position in uses:
                    held[position] = item
            uses[index] -= 1
            yield deepcopy(held[index]) if uses[index] else held.pop(index)


def _position(index: SupportsIndex) -> int:
    try:
        return operator.index(index)
    except TypeError:
        raise TypeError(f"select() takes the places of samples, whole numbers, and not {index!r}.") from None
