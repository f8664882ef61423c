"""What promotions remember, and who does what just now: the ledger and the leases, in Redis or in memory."""

__all__ = ["cached_ledger", "facts", "index_state", "lease", "ledger", "redis_errors", "redis_state", "stage_names"]
