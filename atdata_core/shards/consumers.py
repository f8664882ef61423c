"""Which shards a process reads, where several read one dataset: ranks, and the workers of a DataLoader."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import RefusedError


def own_shards(shards: Sequence[str]) -> Sequence[str]:
    """The shards that this process reads: every shard is read by one consumer.

    The rank comes from ``RANK`` and ``WORLD_SIZE``, else from ``torch.distributed``; the worker from
    ``WORKER`` and ``NUM_WORKERS``, else from the DataLoader. torch is asked only where it is loaded.

    Raises:
        RefusedError: The variables are no numbers, or do not fit each other.
    """
    rank, ranks = _from_environment("RANK", "WORLD_SIZE") or _torch_rank()
    worker, workers = _from_environment("WORKER", "NUM_WORKERS") or _torch_worker()
    return shards[rank::ranks][worker::workers]


def register_with_torch(stream_type: type) -> None:
    """Let a DataLoader take such streams for iterable datasets, where torch's is loaded at all."""
    iterable_dataset: Any = getattr(sys.modules.get("torch.utils.data"), "IterableDataset", None)
    if iterable_dataset is not None:
        iterable_dataset.register(stream_type)


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
