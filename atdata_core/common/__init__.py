"""What every room uses: URLs, CIDs, names, licenses, retries, small private files."""
