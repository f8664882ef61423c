"""What promotions remember in Redis: the ledger and the leases."""
