"""A small PDS and PLC directory for one machine: records, sessions, blobs, over SQLite.

It answers as the reference implementation does where this project relies on it; ``tests/contract``
holds both to the same tests. It signs what it keeps as the network does: each account has a key in its DID
document, records lie in a Merkle search tree under a signed commit, whole repositories and single records are
exported with their proof, and a firehose tells of every commit, of accounts and of identities, also to those who
come later. It has no PLC directory but its own, which nobody else asks, and no relay takes its events.
"""

__all__ = []
