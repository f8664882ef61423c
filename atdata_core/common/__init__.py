"""What every room uses: URLs, CIDs, names, licenses, retries, the way out, small private files."""

__all__ = [
    "cid",
    "env_file",
    "licenses",
    "machine",
    "names",
    "network_settings",
    "retry_after",
    "state_file",
    "urls",
]
