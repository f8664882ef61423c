"""Stores that only pack samples: number, names and digests of the shards are their own, and read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...atmosphere.record_format.build import storage_of
from ...common.urls import displayed, refuse_credentials
from ...errors import SampleError, ShardChangedError, StorageError
from ...protocols import ShardFacts
from ...samples.schema import decode, fields_digest
from ...shards.dataset import Dataset
from ...shards.shard_facts import read_facts
from ...state.facts import Inventory
from ...stores.data_store import DataStore
from .layout import as_published
from .sources import Sources


def rewrite(inventory: Inventory, sources: Sources, store: DataStore, prefix: str) -> list[ShardFacts]:
    """Have a store write the samples of an entry below ``prefix``; what it wrote.

    Raises:
        ShardChangedError: The source's bytes are not those of the inventory.
        StorageError, SampleError: What was written is not what the entry holds, or cannot be published.
    """
    verified = _Verified(sources, {shard.url: shard for shard in inventory.shards})
    sample_type = decode(inventory.schema)
    dataset: Any = Dataset[sample_type]  # pyright: ignore[reportInvalidTypeArguments]
    dataset = dataset([shard.url for shard in inventory.shards], data_store=verified)
    written: list[ShardFacts] = []
    for url in store.write_shards(dataset, prefix=prefix):
        refuse_credentials(url)
        with store.open_shard(url) as stream:
            found = read_facts(url, stream, sample_type)
        written.append(as_published(replace(found, schema=fields_digest(inventory.schema)), url, store))
    samples = sum(shard.samples or 0 for shard in written)
    if not written or (inventory.samples is not None and samples != inventory.samples):
        raise StorageError(
            f"{store.kind}.write_shards wrote {samples} samples in {len(written)} shards below {prefix}, "
            f"but dataset {inventory.name!r} holds {inventory.samples}. Nothing was published. (ordered() gives a "
            "process its part where RANK and WORLD_SIZE are set.)",
            urls=[shard.url for shard in written],
        )
    storage_of(written)
    return written


def still_there(shards: Iterable[ShardFacts], store: DataStore, inventory: Inventory) -> bool:
    """Whether shards that a plain store wrote are still what they were, and samples of the inventory's schema."""
    sample_type = decode(inventory.schema)
    try:
        for shard in shards:
            with store.open_shard(shard.url) as stream:
                found = read_facts(shard.url, stream, sample_type)
            if (found.sha256, found.samples) != (shard.sha256, shard.samples):
                return False
    except (
        OSError,
        SampleError,
    ):  # missing, forbidden, unreachable: of ours, those that a look raises are OSErrors
        return False
    return True


class _Verified:
    """Reads the entry's shards for ``write_shards`` and holds each to its digest."""

    def __init__(self, sources: Sources, facts: Mapping[str, ShardFacts]) -> None:
        self._sources = sources
        self._facts = facts

    def open_shard(self, url: str) -> Any:
        with self._sources.open_shard(url) as stream:
            found = read_facts(url, stream)
        if found.sha256 != self._facts[url].sha256:
            raise ShardChangedError(
                f"{displayed(url)} changed while it was promoted. Nothing was published; run again.",
                url=url,
                expected=self._facts[url].sha256,
                found=found.sha256,
            )
        return self._sources.open_shard(url)
