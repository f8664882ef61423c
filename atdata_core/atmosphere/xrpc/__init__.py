"""HTTP with a PDS: sessions, accounts, write points, blobs, and errors that name the service."""

__all__ = ["account", "answers", "atproto_package", "identifiers", "session", "write_budget"]
