"""Bringing shards to a store byte for byte, several at a time, each with a proof that it lies there.

A shard costs one write: the service's own copy, where the shard lies on the same one. Before it, one look at the
folder tells that nothing is there, for all whose leases were taken beforehand; where something is, each place is
looked at. What the answer to the write does not prove is looked at, or read, afterwards.
"""

from __future__ import annotations

import logging
import posixpath
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import BinaryIO, NamedTuple, cast

from ...common.byte_progress import Progress, counted, tell_bytes
from ...common.concurrency import concurrently, shard_in_memory, threads_for
from ...common.urls import scheme
from ...protocols import ShardFacts, WriteProof
from ...state.lease import POLL, Lease, Leases, kept, leased
from ...stores.data_store import DataStore
from .layout import as_published
from .recent_looks import recent_looks
from .sent import SentCopies
from .sources import Sources

FRESH = 60.0
"""Seconds for which a folder that was seen empty counts as that for shards whose leases were held when it was."""

_logger = logging.getLogger("atdata_core")


class CopyResult(NamedTuple):
    """A shard at its destination, how it is known to lie there, and the bytes that were written for it."""

    shard: ShardFacts
    proof: str
    written: int


_Row = tuple[ShardFacts, ShardFacts | None, str, CopyResult | None]
"""A shard, as the store's service may copy it by itself, the name of its copy, and where that was seen before."""


class Copying:
    """Brings shards to a store.

    Args:
        sources: Where their bytes are read.
        store: Where they go.
        leases: Who copies what.
        sent: Notes of what the store does not show.
    """

    def __init__(self, sources: Sources, store: DataStore, leases: Leases, sent: SentCopies) -> None:
        self._sources = sources
        self._store = store
        self._leases = leases
        self._sent_before = sent
        self._destination = store.destination
        self._held: Collection[str] = ()
        self._empty_until = 0.0
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._progress: Progress | None = None

    def all(
        self,
        shards: Sequence[ShardFacts],
        names: Sequence[str],
        known: Sequence[CopyResult | None],
        progress: Progress | None = None,
    ) -> list[CopyResult]:
        """The copies of some shards, made where they are not there yet; raises as ``copy_shards``.

        Args:
            shards: As the inventory has them.
            names: Of the copies, below the store's prefix.
            known: Where they were seen before.
            progress: Told after each shard, and of the bytes that are sent or copied.
        """
        self._progress = progress
        near = [self._near(shard) for shard in shards]
        rows: dict[str, _Row] = {}
        # Shards of one name have the same bytes.
        for row in zip(shards, near, names, known, strict=True):
            rows.setdefault(row[2], row)
        fresh = [name for name, earlier in zip(names, known, strict=True) if earlier is None]
        brought: dict[str, CopyResult] = {}
        with leased(self._leases, [self._place(name) for name in fresh]) as self._held:
            # Not before the leases are held: what a rival is bringing now would not be seen.
            if len(self._held) > 1 and nothing_at(self._store, fresh):
                self._empty_until = time.monotonic() + FRESH
            mine = [name for name in rows if self._place(name) in self._held]
            self._bring([rows[name] for name in mine], brought, len(rows))
        # What rivals hold comes last, perhaps they are done by then, and when no lease is held any more: two that
        # hold some each, and wait for the other's, would wait for ever.
        self._bring([row for name, row in rows.items() if name not in brought], brought, len(rows))
        return [brought[name] for name in names]

    def _bring(self, rows: Sequence[_Row], brought: dict[str, CopyResult], total: int) -> None:
        """Bring some shards; what comes of each is ``brought``, by its name."""
        # Who waits for a rival, or for room, need not wait any longer once one has failed.
        sent_on = max((shard.size for shard, near, _, _ in rows if near is None), default=0)
        copies = concurrently(self._seen_at_its_place, rows, failed=self._stop, most=threads_for(sent_on))
        for (_, _, name, _), copy in zip(rows, copies, strict=True):
            brought[name] = copy
            if self._progress:
                self._progress(len(brought), total)

    def _seen_at_its_place(self, row: _Row) -> CopyResult:
        copy = self._brought(*row)
        # Of one that was just written there is an answer, perhaps of its source, as rclone's is: that is no look.
        if scheme(copy.shard.url) == "s3" and not copy.written:
            recent_looks.note(copy.shard)
        return copy

    def _place(self, name: str) -> str:
        """What a lease on a copy is called."""
        return f"{self._destination} {name}"

    def _near(self, shard: ShardFacts) -> ShardFacts | None:
        """The shard as the store's service can copy it by itself, perhaps; None where it cannot."""
        if (service := self._sources.s3(shard.url)) is None:
            return None
        there = replace(shard, endpoint=service.endpoint_url)
        return there if self._store.can_copy(there) else None

    def _stop(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stopped.set()

    def _go_on(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _brought(
        self, shard: ShardFacts, near: ShardFacts | None, name: str, known: CopyResult | None
    ) -> CopyResult:
        if known is not None and (found := find(self._store, shard, name, known)) is not None:
            return found
        place = self._place(name)
        held = place in self._held
        lease = Lease() if held else self._leases.take(place)
        if lease is None:
            if (found := find(self._store, shard, name, None)) is not None:
                return found
            lease = self._waited_for(place, name)
        try:
            # A rival may have brought it, and whatever else lies there is not to be written over.
            known_empty = held and time.monotonic() < self._empty_until
            found = None if known_empty else find(self._store, shard, name, self._noted(shard))
            return found or self._put(shard, near, name, lease)
        finally:
            lease.release()

    def _noted(self, shard: ShardFacts) -> CopyResult | None:
        """The copy as whoever has sent it has noted it, who may have been a rival."""
        [sent] = self._sent_before.of([shard])
        return None if sent is None else copied(shard, self._store, sent, written=0)

    def _waited_for(self, place: str, name: str) -> Lease:
        _logger.info("Another run copies %s: waiting for it.", name)
        while (lease := self._leases.take(place)) is None:
            self._stopped.wait(POLL)
            self._go_on()
        return lease

    def _put(self, shard: ShardFacts, near: ShardFacts | None, name: str, lease: Lease) -> CopyResult:
        if near is None:
            return self._sent(shard, name, lease)
        with kept(lease):
            written = self._store.copy_shard(name, near)
        if written is not None:
            tell_bytes(self._progress, shard.url, shard.size, shard.size)
            return copied(shard, self._store, written)
        return self._sent(shard, name, lease)

    def _sent(self, shard: ShardFacts, name: str, lease: Lease) -> CopyResult:
        with (
            kept(lease),
            shard_in_memory(shard.size, waiting=self._go_on),
            _Opening(self._sources, shard.url) as source,
            self._sent_before.sending(shard, name),
        ):
            stream = counted(cast("BinaryIO", source), shard.url, shard.size, self._progress)
            written = self._store.send_shard(name, stream, shard)
        return copied(shard, self._store, written)


class _Opening(ExitStack):
    """A shard that is opened once its first bytes are wanted: from then on they come, wanted or not."""

    def __init__(self, sources: Sources, url: str) -> None:
        super().__init__()
        self._open = partial(sources.open_shard, url)
        self._stream: BinaryIO | None = None

    def read(self, size: int = -1) -> bytes:
        """Its bytes; raises as ``Sources.open_shard``."""
        if self._stream is None:
            self._stream = self.enter_context(self._open())
        return self._stream.read(size)


def nothing_at(store: DataStore, names: Sequence[str]) -> bool:
    """Whether nothing lies at several places of a store, by one look at their folder; False where it cannot tell.

    Args:
        store: Any that takes copies.
        names: Of the copies, below the store's prefix.
    """
    folder = posixpath.commonpath([posixpath.dirname(name) for name in names])
    return bool(folder) and store.is_empty(folder)


def find(store: DataStore, shard: ShardFacts, name: str, known: CopyResult | None = None) -> CopyResult | None:
    """The shard where it lies already: where it is known to be, or at the place of its name.

    Args:
        store: Any that takes copies; one that does not tell where they will lie has nothing.
        shard: As the inventory has it.
        name: Of the copy.
        known: The copy as it was seen before.

    Raises:
        ShardConflictError: Something else lies there.
    """
    if not store.foresees_copies:
        return None
    if known is not None:
        etag = known.shard.etag
        found = store.find_shard(known.shard.url, shard, etag=etag)
        if found is not None:
            same = found.etag and found.etag == etag
            return copied(shard, store, replace(found, proof=known.proof) if same else found, written=0)
    found = store.find_shard(store.shard_url(name), shard)
    return None if found is None else copied(shard, store, found, written=0)


def copied(shard: ShardFacts, store: DataStore, found: WriteProof, *, written: int | None = None) -> CopyResult:
    """A shard where it was found, or written: then ``written`` is its size by default."""
    size = shard.size if written is None else written
    return CopyResult(as_published(shard, found.url, store, found.etag), found.proof, size)
