"""Where copies of shards go, and what they are called there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4
from weakref import WeakKeyDictionary

from ...common.urls import plain_path, scheme
from ...protocols import ShardFacts, ShardRemover
from ...state.facts import FIRST_CLAIM

if TYPE_CHECKING:
    from ...state.facts import Inventory
    from ...state.ledger import Ledger

FOLDER = "promoted/"
"""What a copy's name begins with, below the prefix of its store."""

_COPY = re.compile(rf"{FOLDER}(?P<dataset>.+?)/(?P<cid>baf[a-z2-7]{{20,}})(?:-[0-9a-f]{{12}})?/")

_objects: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def destination_of(store: Any) -> str:
    """A name for where a store puts things.

    The same in every process for stores of S3, and for others that have an attribute ``destination`` (a
    string) or a ``repr`` of their own.
    """
    endpoint = getattr(store, "endpoint", None)
    if endpoint is not None and hasattr(store, "bucket"):
        place = f"{endpoint.endpoint_url or 'aws'}/{store.bucket}/{store.prefix}"
        return f"{place} as {store.public_url}" if store.public_url else place
    said = getattr(store, "destination", None)
    kind = f"{type(store).__module__}.{type(store).__qualname__}"
    if isinstance(said, str):
        return f"{kind} {said}"
    if type(store).__repr__ is object.__repr__:
        # Another object of the class may write elsewhere, so copies are known again by this one alone.
        return f"{kind} {_objects.setdefault(store, uuid4().hex)}"
    # Hashed, because somebody's repr may hold a secret.
    return f"{kind} {hashlib.sha256(repr(store).encode()).hexdigest()[:32]}"


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


def folder_of(inventory: Inventory, ledger: Ledger) -> str:
    """Below the store's prefix, where the copies of an entry lie.

    An entry whose shards were first copied with other bytes, which then became a new claim, gets another
    folder: what was published of them stays as it was.
    """
    claim = claim_of(inventory.shards)
    first = ledger.get(FIRST_CLAIM(inventory.cid))
    folder = inventory.cid if first is None or first.digest == claim else f"{inventory.cid}-{claim[:12]}"
    return plain_path(f"{FOLDER}{inventory.name}/{folder}")


def names_of(inventory: Inventory, ledger: Ledger) -> list[str]:
    """The names that the shards of an entry get in a store that copies."""
    folder = folder_of(inventory, ledger)
    return [f"{folder}/{plain_path(tail)}" for tail in tails([shard.url for shard in inventory.shards])]


def copy_tails(url: str) -> set[str]:
    """The parts of a URL's path that begin with ``promoted/``, as written and with ``%xx`` resolved."""
    found: set[str] = set()
    for path in {url, unquote(url)}:
        start = path.find(f"/{FOLDER}")
        while start >= 0:
            found.add(path[start + 1 :])
            start = path.find(f"/{FOLDER}", start + 1)
    return found


def copied_as(url: str) -> tuple[str, str] | None:
    """Dataset and entry CID of a published copy, as its place tells; None where it lies at no such place.

    The dataset is "" where its name may be written in another way there.
    """
    for tail in sorted(copy_tails(url)):
        found = _COPY.match(tail)
        if found is not None:
            return "" if "%" in found["dataset"] else found["dataset"], found["cid"]
    return None


def lies_in(store: Any, shard: Mapping[str, Any], destination: str | None) -> bool:
    """Whether a published shard lies where a store puts copies, and is named as it names them.

    Args:
        store: Any data store.
        shard: ``url`` and ``endpoint`` of the shard, as published.
        destination: What the copies were sent to, for a store that cannot tell its URLs from others.
    """
    if not isinstance(store, ShardRemover):
        return destination == destination_of(store)
    name = store.shard_name(shard["url"], endpoint=shard.get("endpoint"))
    return name is not None and name.startswith(FOLDER) and store.shard_url(name) == shard["url"]


def as_published(shard: ShardFacts, url: str, store: Any, etag: str | None = None) -> ShardFacts:
    """A shard's facts at its new place; ``etag`` is what the store gives there."""
    endpoint = getattr(store, "endpoint", None) if scheme(url) == "s3" else None
    return replace(
        shard,
        url=url,
        etag=etag,
        endpoint=getattr(endpoint, "endpoint_url", None),
        region=getattr(endpoint, "region", None),
    )
