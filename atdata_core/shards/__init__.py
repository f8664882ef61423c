"""Shards: tar archives read and written, and the typed samples in them."""

__all__ = ["conversions", "data_sources", "dataset", "packed_samples", "shard_facts", "splits", "tar_samples"]
