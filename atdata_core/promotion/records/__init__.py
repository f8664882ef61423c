"""The records of an account: found, judged, written; what was published under a name."""

__all__ = ["early_finds", "published_names", "summary", "upsert"]
