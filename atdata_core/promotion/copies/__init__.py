"""Copies of shards: where they lie, how they come there, and who still names them."""

__all__ = ["chunks", "copier", "layout", "recent_looks", "repack", "sent", "sources", "usage"]
