"""What was sent to a store that shows a copy only once a record names it: nothing but a note tells it again."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ...errors import ServiceError
from ...protocols import ShardFacts, WriteProof
from ...state.facts import SENT_COPY, SentCopy
from ...state.ledger import Key, Ledger

if TYPE_CHECKING:
    from ...stores.data_store import DataStore


class SentCopies:
    """The copies of an entry that were sent; none for a store that shows its copies.

    Each is noted before it is sent, so that none is sent again whose answer a killed process did not hear: where it
    has not arrived after all, the record that names it is refused, and it is sent then.

    Args:
        cid: Of the entry.
        store: Where they were sent.
        ledger: Of the index.
    """

    def __init__(self, cid: str, store: DataStore, ledger: Ledger) -> None:
        self._cid = cid
        self._store = store
        self._ledger = ledger

    def of(self, shards: Sequence[ShardFacts]) -> list[WriteProof | None]:
        """For each of some shards what was noted of its copy."""
        if self._store.shows_copies:
            return [None] * len(shards)
        keys = [self._key(shard) for shard in shards]
        kept = self._ledger.get_many(keys)
        notes = [kept[key] for key in keys]
        return [None if note is None else WriteProof(note.url, note.proof, note.etag) for note in notes]

    @contextmanager
    def sending(self, shard: ShardFacts, name: str) -> Generator[None]:
        """Send the copy of a shard inside: it is noted, unless that fails."""
        if self._store.shows_copies:
            yield
            return
        # That it is there is seen when it is read back, once the record names it.
        self._ledger.put(self._key(shard), SentCopy(self._store.shard_url(name), "read back", name))
        try:
            yield
        except Exception:
            with suppress(ServiceError):
                self._ledger.remove(self._key(shard))
            raise

    def forget(self, shards: Sequence[ShardFacts]) -> None:
        """Remove the notes: the copies of all stand in the result of the stage."""
        if not self._store.shows_copies:
            self._ledger.put_many(dict.fromkeys(map(self._key, shards)))

    def _key(self, shard: ShardFacts) -> Key[SentCopy]:
        return SENT_COPY(self._cid, shard.sha256, self._store.destination)
