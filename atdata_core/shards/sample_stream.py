"""Samples one after the other, or in batches: in order or shuffled, each consumer its own part."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, cast

from ..errors import RefusedError
from ..samples import DictSample
from ..samples.sample_batches import SampleBatch, unpack_columns, unpacks_by_field
from .consumers import TorchIterable, own_items, own_shards
from .packed_samples import Packed, packed_samples, typed_samples

Item = TypeVar("Item")


class StoredSamples(Protocol):
    """What a stream asks of a dataset."""

    @property
    def shard_list(self) -> list[str]:
        """The shards."""
        ...

    @property
    def data_store(self) -> object | None:
        """What opens them."""
        ...

    @property
    def stored_type(self) -> type[Any]:
        """The type of the samples as they lie there."""
        ...

    @property
    def sample_type(self) -> type[Any]:
        """The type that they are seen as."""
        ...

    def unpacker(self, *, writable: bool = False) -> Callable[[bytes | memoryview], Any]:
        """What makes a sample of a packed one."""
        ...


class SampleStep(Protocol):
    """What becomes of samples on their way; ``positional`` where it counts them, so that it needs them all."""

    positional: bool

    def __call__(self, items: Iterator[Any], /) -> Iterator[Any]:
        """The samples as they go on."""
        ...


@dataclass(frozen=True)
class Reading:
    """How samples are asked for: so many a batch (None: one by one), drawn from so many shards and samples."""

    batch_size: int | None = None
    buffers: tuple[int, int] | None = None
    seed: int | None = None


class SampleStream(TorchIterable, Generic[Item]):
    """Samples or batches of a dataset; each ``for`` starts again.

    Arrays can be written to, and no two samples share memory. Those of large samples are views on what was read.

    Under a PyTorch DataLoader and across ranks, every consumer reads shards of its own, so no sample is read
    twice; with fewer shards than consumers some get nothing. After ``select`` each reads them all, and gives its
    part of the selected samples.
    """

    def __init__(
        self, stored: StoredSamples, steps: Sequence[SampleStep] = (), reading: Reading | None = None
    ) -> None:
        self._stored = stored
        self._steps = tuple(steps)
        self._reading = reading or Reading()

    def __iter__(self) -> Iterator[Item]:
        self.meet_torch()
        size = self._reading.batch_size
        if size is None:
            return cast("Iterator[Item]", self._samples())
        return cast("Iterator[Item]", self._batches(size) if self._steps else self._stored_batches(size))

    def _samples(self) -> Iterator[Any]:
        for_samples = (self._reading.buffers or (1, 1))[1]
        counted = 1 + max((number for number, step in enumerate(self._steps) if step.positional), default=-1)
        if not counted:
            return self._through(self._steps, self._typed(self._packed()))
        stored = self._stored
        every = packed_samples(stored.shard_list, stored.stored_type, store=stored.data_store)
        own = own_items(self._through(self._steps[:counted], self._typed(every)))
        return _shuffled(self._through(self._steps[counted:], own), for_samples, random.Random(self._reading.seed))

    def _typed(self, packed: Iterator[Packed]) -> Iterator[Any]:
        return typed_samples(packed, self._stored.sample_type, self._stored.unpacker(writable=True))

    def _through(self, steps: Sequence[SampleStep], items: Iterator[Any]) -> Iterator[Any]:
        for step in steps:
            items = step(items)
        return items

    def _batches(self, size: int) -> Iterator[Any]:
        items = self._samples()
        while held := list(islice(items, size)):
            yield _batch(held)

    def _stored_batches(self, size: int) -> Iterator[SampleBatch[Any]]:
        packed, sample_type = self._packed(), self._stored.sample_type
        unpack = self._stored.unpacker(writable=True)
        by_field = self._stored.stored_type is sample_type and unpacks_by_field(sample_type)
        while held := list(islice(packed, size)):
            payloads = [payload for _, _, payload in held]
            columns = unpack_columns(sample_type, payloads) if by_field else None
            if columns is None:
                yield SampleBatch(list(typed_samples(held, sample_type, unpack)))
            else:
                yield SampleBatch.of_columns(columns)

    def _packed(self) -> Iterator[Packed]:
        stored = self._stored
        for_shards, for_samples = self._reading.buffers or (1, 1)
        draw = random.Random(self._reading.seed)
        # Split before shuffling: consumers need not agree on a seed to read every shard once.
        shards = _shuffled(iter(own_shards(stored.shard_list)), for_shards, draw)
        # Packed samples wait in the buffer: they take less memory than decoded ones.
        packed = packed_samples(shards, stored.stored_type, store=stored.data_store)
        return _shuffled(packed, for_samples, draw)

    def __repr__(self) -> str:
        how = "ordered" if self._reading.buffers is None else "shuffled"
        return f"<{how} samples of {self._stored!r}{', seen through a view' if self._steps else ''}>"


def _batch(items: list[Any]) -> Any:
    """Samples, or dicts, as a batch; a list of what has no fields by their names."""
    if all(isinstance(item, dict) for item in items):
        return SampleBatch([DictSample(cast("Mapping[str, Any]", item)) for item in items])
    return SampleBatch(items) if is_dataclass(items[0]) or isinstance(items[0], DictSample) else items


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


def positive(name: str, number: int | None) -> int | None:
    """The number itself; raises ``RefusedError`` where it is below 1."""
    if number is not None and number < 1:
        raise RefusedError(f"{name} is {number}. Use 1 or more.", name=name)
    return number
