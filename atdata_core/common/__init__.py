"""What every room uses: URLs, CIDs, names, licenses, retries, concurrency, the way out, small private files."""

__all__ = [
    "byte_progress",
    "cid",
    "citation",
    "concurrency",
    "env_file",
    "lazy_names",
    "licenses",
    "machine",
    "names",
    "network_settings",
    "plurals",
    "retry_after",
    "state_file",
    "urls",
]
