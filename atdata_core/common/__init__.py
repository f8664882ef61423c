"""What every room uses: URLs, CIDs, names, licenses, retries, small private files."""

__all__ = ["cid", "licenses", "names", "retry_after", "state_file", "urls"]
