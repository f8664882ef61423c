"""A small PDS and PLC directory for one machine: records, sessions, blobs, over SQLite.

It answers as the reference implementation does where this project relies on it; ``tests/contract``
holds both to the same tests. Its commits are signed, and it proves each record; it has no firehose and no
export of a whole repository.
"""

__all__ = []
