"""Shards: tar archives read and written, and the typed samples in them."""
