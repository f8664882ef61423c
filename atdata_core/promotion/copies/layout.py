"""Where copies of shards lie and what they are called there: the one place that spells it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ...common.urls import plain_path, scheme
from ...protocols import ShardFacts
from ...shards.splits import keeping_splits
from ...state.facts import FIRST_CLAIM
from ...stores.data_store import DataStore
from ..inventory import shard_urls

if TYPE_CHECKING:
    from ...protocols import IndexEntry
    from ...state.facts import Inventory
    from ...state.ledger import Ledger

FOLDER = "promoted/{dataset}/{entry}"
"""Where copies lie, below the prefix of their store: of a dataset of this name, and an entry of this ``entry_key``.

Copying, the protection of copies that a run is about to name, and retraction all ask this module.
"""


BLOB = "blob:"
"""What stands before the CID of a shard that is a blob, in the place of its address."""

CID = re.compile("baf[a-z2-7]{20,}")
_CLAIM = re.compile("-[0-9a-f]{12}$")


def tails(urls: Sequence[str]) -> list[str]:
    """For each URL the shortest tail of its path that no other has: file names where they differ."""
    parts = [url.split("?", 1)[0].rstrip("/").split("/") for url in urls]
    lengths = [1] * len(urls)
    while True:
        found: dict[str, list[int]] = {}
        for number, length in enumerate(lengths):
            found.setdefault("/".join(parts[number][-length:]), []).append(number)
        rivals = [number for numbers in found.values() if len(numbers) > 1 for number in numbers]
        longer = [number for number in rivals if lengths[number] < len(parts[number])]
        if not longer:
            return ["/".join(parts[number][-length:]) for number, length in enumerate(lengths)]
        for number in longer:
            lengths[number] += 1


def claim_of(shards: Iterable[ShardFacts]) -> str:
    """One digest for what all shards hold: of their URLs and digests, in order."""
    lines = (f"{shard.url} {shard.sha256}\n" for shard in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def metadata_of_copies(entry: IndexEntry, copies: Sequence[ShardFacts], claim: str) -> dict[Any, Any] | None:
    """The metadata of an entry, with the splits that names tell where its shards lie, and not where the copies do.

    ``claim`` is that of its own shards: of what a store wrote anew nobody knows which shard is of which.
    """
    own = shard_urls(entry)
    originals = [replace(shard, url=url) for shard, url in zip(copies, own, strict=False)]
    if len(own) != len(copies) or claim_of(originals) != claim:
        return entry.metadata
    return keeping_splits(entry.metadata, own, [shard.url for shard in copies])


def entry_key(cid: str) -> str:
    """How an entry is written in the place of its copies: one part of a path, a CID as it is.

    An index of somebody's own may have any text for an id.
    """
    return plain_path(cid).replace("/", "%2F")


def folder_of(inventory: Inventory, ledger: Ledger) -> str:
    """Below the store's prefix, where the copies of an entry lie.

    An entry whose shards were first copied with other bytes, which then became a new claim, gets another
    folder: what was published of them stays as it was.
    """
    claim = claim_of(inventory.shards)
    first = ledger.get(FIRST_CLAIM(inventory.cid))
    entry = entry_key(inventory.cid)
    if first is not None and first.digest != claim:
        entry += f"-{claim[:12]}"
    return plain_path(FOLDER.format(dataset=inventory.name, entry=entry))


def names_of(inventory: Inventory, ledger: Ledger, store: DataStore) -> list[str]:
    """The names that the shards of an entry get in a store that copies."""
    folder = folder_of(inventory, ledger)
    pairs = zip(inventory.shards, tails([shard.url for shard in inventory.shards]), strict=True)
    return [store.copy_name(f"{folder}/{plain_path(tail)}", shard) for shard, tail in pairs]


def is_copy(store: DataStore, url: str, endpoint: str | None) -> bool:
    """Whether a shard lies where a store puts copies; ``endpoint`` is the S3 service of an ``s3://`` URL."""
    name = store.shard_name(url, endpoint=endpoint)
    return name is not None and name.startswith(_root())


def copy_tails(url: str) -> set[str]:
    """The parts of a URL's path that begin where copies lie, as written and with ``%xx`` resolved."""
    found: set[str] = set()
    for path in {url, unquote(url)}:
        start = path.find(f"/{_root()}")
        while start >= 0:
            found.add(path[start + 1 :])
            start = path.find(f"/{_root()}", start + 1)
    return found


def is_copied(url: str) -> bool:
    """Whether a shard of a record, as ``usage.shards_of`` gives it, lies where copies do, or is a blob."""
    return url.startswith(BLOB) or bool(copy_tails(url))


def copied_as(url: str) -> tuple[str, str] | None:
    """Dataset and ``entry_key`` of a published copy, as its place tells; None where it lies at no such place.

    The dataset is "" where its name may be written in another way there. Where no part of the path is a CID, the
    name of the dataset is taken to have no slash.
    """
    for entry in (CID.pattern, "[^/]+"):
        for tail in sorted(copy_tails(url)):
            found = _pattern(FOLDER, entry).match(tail)
            if found is not None:
                return "" if "%" in found["dataset"] else found["dataset"], found["entry"]
    return None


def entries_at(url: str) -> set[str]:
    """The ``entry_key`` of every entry that may have a copy there: a name with slashes leaves open which it is."""
    parts = {part for tail in copy_tails(url) for part in tail.removeprefix(_root()).split("/")[:-1]}
    return parts | {_CLAIM.sub("", part) for part in parts}


def lies_in(store: DataStore, shard: Mapping[str, Any], destination: str | None) -> bool:
    """Whether a published shard lies where a store puts copies, and is named as it names them.

    Args:
        store: Where copies go.
        shard: ``url`` and ``endpoint`` of the shard, as published.
        destination: What the copies were sent to, for a store that cannot tell its URLs from others.
    """
    if not store.removes_copies:
        return destination == store.destination
    url, endpoint = shard["url"], shard.get("endpoint")
    name = store.shard_name(url, endpoint=endpoint)
    return name is not None and is_copy(store, url, endpoint) and store.shard_url(name) == url


def as_published(shard: ShardFacts, url: str, store: DataStore, etag: str | None = None) -> ShardFacts:
    """A shard's facts at its new place; ``etag`` is what the store gives there."""
    endpoint = store.service if scheme(url) == "s3" else None
    return replace(
        shard,
        url=url,
        etag=etag,
        endpoint=None if endpoint is None else endpoint.endpoint_url,
        region=None if endpoint is None else endpoint.region,
    )


def _root() -> str:
    """What the name of every copy begins with."""
    return FOLDER.partition("{")[0]


@cache
def _pattern(folder: str, entry: str) -> re.Pattern[str]:
    """What tells dataset and entry from the name of a copy in such a folder."""
    text = re.escape(folder).replace(r"\{dataset\}", "(?P<dataset>.+?)")
    return re.compile(text.replace(r"\{entry\}", f"(?P<entry>{entry})(?:-[0-9a-f]{{12}})?") + "/")
