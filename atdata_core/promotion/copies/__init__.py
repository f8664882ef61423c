"""Copies of shards: where they lie, how they come there, and who still names them."""
