"""HTTP with a PDS: sessions, accounts, write points, blobs, and errors that name the service."""

__all__ = ["account", "atproto_package", "bodies", "identifiers", "service_errors", "session", "write_budget"]
