"""Is what is published what its record says? Records, shards and findings."""

__all__ = ["findings", "verification"]
