"""What stands in Redis beside upstream's keys.

``atdata:dataset:{name}``  hash: ``current`` (CID) and per version ``entry:{cid}`` (msgpack);
                           ``adopted``: the current one, where another program wrote it
``atdata:datasets``        sorted set of all names
``atdata:events``          stream of (name, cid), one for each entry that came in, the newest 100,000
``atdata:scanned``         there for ten seconds after upstream's keys were all looked at, one after the other
``atdata:scan``            how far the look that goes on step by step has come (``foreign_entries.py``)
``atdata:scan:pause``      there until a look by name takes the next step
``atdata:shards:{cid}``    hash: claims by shard URL (``shard_claims.py``)
``atdata:removed``         set of ``{cid}:{name}``: entries that were removed here, which promotions may still hold
``atdata:schemas:{class}`` string: the versions that are known of ``module.Class``, or of ``Class``, one a line
``atdata:schemas-scanned`` there for ten seconds after the keys of all schemas were looked at

An entry is there while upstream's hash of it is, ``LocalDatasetEntry:{cid}``: other programs delete that one key,
and what stands here of it counts no more.
"""

from __future__ import annotations

DATASETS = "atdata:datasets"
EVENTS = "atdata:events"
EVENTS_KEPT = 100_000
SCANNED = "atdata:scanned"
SCANNED_SECONDS = 10
SCAN = "atdata:scan"
SCAN_PAUSE = "atdata:scan:pause"
SCHEMAS_SCANNED = "atdata:schemas-scanned"
REMOVED = "atdata:removed"


def dataset_key(name: str) -> str:
    """The hash of a name and all its versions."""
    return f"atdata:dataset:{name}"


def removed_member(name: str, cid: str) -> str:
    """How ``atdata:removed`` tells an entry; a CID has no colon."""
    return f"{cid}:{name}"


def schemas_key(named: str) -> str:
    """The versions of a class, by ``module.Class``, or by ``Class`` as other programs name it."""
    return f"atdata:schemas:{named}"
