"""What a process reads, where several read one dataset: ranks, and the workers of a DataLoader."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import RefusedError
from ..samples import PackableSample, SampleBatch

T = TypeVar("T")


def own_shards(shards: Sequence[str]) -> Sequence[str]:
    """The shards that this process reads: every shard is read by one consumer.

    The rank comes from ``RANK`` and ``WORLD_SIZE``, else from ``torch.distributed``; the worker from
    ``WORKER`` and ``NUM_WORKERS``, else from the DataLoader. torch is asked only where it is loaded.

    Raises:
        RefusedError: The variables are no numbers, or do not fit each other.
    """
    place, consumers = _place()
    return shards[place::consumers]


def own_items(items: Iterator[T]) -> Iterator[T]:
    """As ``own_shards``, of samples that every consumer goes through in the same order."""
    place, consumers = _place()
    return islice(items, place, None, consumers)


def workers() -> int:
    """How many workers of a DataLoader, or of what sets ``NUM_WORKERS``, read side by side; raises as above."""
    return (_from_environment("WORKER", "NUM_WORKERS") or _torch_worker())[1]


class TorchIterable:
    """What a DataLoader takes for an iterable dataset; its samples become batches of ``{field: values}``.

    In a batch of the DataLoader's own making, numbers and arrays of a field are one tensor, all else a list.
    """

    def meet_torch(self) -> None:
        """Make both known to torch, where it is loaded; a worker that was spawned knows nothing of it yet."""
        iterable_dataset: Any = getattr(sys.modules.get("torch.utils.data"), "IterableDataset", None)
        if iterable_dataset is not None:
            iterable_dataset.register(type(self))
            # The documented way to extend default_collate, from where its documentation takes it.
            collate: Any = sys.modules["torch.utils.data._utils.collate"]
            collate.default_collate_fn_map.setdefault(PackableSample, _collated)

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            # DataLoader asks isinstance(stream, IterableDataset) first of all. That is the moment when torch
            # is certain to be loaded, and the last to tell it; torch is never imported for this.
            self.meet_torch()
            return type(self)


def _collated(samples: list[Any], *, collate_fn_map: Any = None) -> dict[str, Any]:
    """Samples as a DataLoader's batch."""
    batch = SampleBatch(samples)
    return {field.name: _tensor(getattr(batch, field.name)) for field in fields(samples[0])}


def _tensor(values: Any) -> Any:
    """The values of a field as a tensor, where they are numbers or arrays of such."""
    torch_data: Any = sys.modules["torch.utils.data"]
    if not isinstance(values, np.ndarray):
        return torch_data.default_collate(values) if {*map(type, values)} <= {int, float, bool} else values
    array = cast("NDArray[Any]", values)
    # torch knows no other order of bytes than that of the machine.
    return torch_data.default_convert(array.astype(array.dtype.newbyteorder("="), copy=False))


def _place() -> tuple[int, int]:
    """The place of this process among all consumers, and how many there are."""
    rank, ranks = _from_environment("RANK", "WORLD_SIZE") or _torch_rank()
    worker, beside = _from_environment("WORKER", "NUM_WORKERS") or _torch_worker()
    return rank + ranks * worker, ranks * beside


def _from_environment(place: str, total: str) -> tuple[int, int] | None:
    given = os.environ.get(place), os.environ.get(total)
    if given[0] is None or given[1] is None:
        return None
    try:
        index, count = int(given[0]), int(given[1])
    except ValueError:
        index, count = -1, 0
    if not 0 <= index < count:
        raise RefusedError(
            f"{place}={given[0]} and {total}={given[1]} name no place in a group. Set {place} from 0 to "
            f"{total} - 1, or unset both.",
            name=place,
        )
    return index, count


def _torch_rank() -> tuple[int, int]:
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _torch_worker() -> tuple[int, int]:
    data: Any = sys.modules.get("torch.utils.data")
    worker = data.get_worker_info() if data is not None else None
    return (worker.id, worker.num_workers) if worker is not None else (0, 1)
