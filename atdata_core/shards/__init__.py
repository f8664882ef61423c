"""Shards: tar archives read and written, and the typed samples in them."""

from ..common.lazy_names import lazy_names

__all__ = ["conversions", "data_sources", "dataset", "packed_samples", "shard_facts", "splits", "tar_samples"]

__getattr__, __dir__ = lazy_names(__name__, __all__, {})
