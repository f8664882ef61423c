"""What promotions remember in Redis: the ledger and the leases."""

__all__ = ["cached_ledger", "facts", "index_state", "lease", "ledger", "redis_errors", "redis_state"]
