"""HTTP with a PDS: sessions, accounts, write points, blobs, and errors that name the service."""

__all__ = ["account", "answers", "identifiers", "session", "write_budget"]
