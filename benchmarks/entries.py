"""Very many entries in an index."""

from __future__ import annotations

from collections.abc import Sequence

from atdata_core.local import LocalIndex
from atdata_core.local.entry import LocalDatasetEntry, StoredEntry
from atdata_core.local.registry import Registry

_PIPELINE = 5_000


def register(index: LocalIndex, entries: Sequence[LocalDatasetEntry]) -> None:
    """Put entries into an index as ``add_entry`` does it, some thousands in a round trip."""
    pipe = index.redis.pipeline(transaction=False)
    registry = Registry(pipe)
    for number, entry in enumerate(entries, 1):
        registry.insert(entry.name, entry.cid, StoredEntry(entry.schema_ref, entry.data_urls, None))
        if number % _PIPELINE == 0:
            pipe.execute()
    pipe.execute()
