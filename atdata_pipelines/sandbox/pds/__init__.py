"""A small PDS and PLC directory for one machine: records, sessions, blobs, over SQLite.

It answers as the reference implementation does where this project relies on it; ``tests/contract``
holds both to the same tests. It has no firehose, no repository export and no signatures.
"""
