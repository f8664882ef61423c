"""Which entry of the index a record was made from: told by its key, which comes from identity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from ...atmosphere.record_format.record_keys import entry_rkey, is_identity_tid
from ...common.cid import entry_cid
from ...errors import RefusedError
from ..copies.usage import shards_of
from ..inventory import cid_of

if TYPE_CHECKING:
    from ...atmosphere.client import Record
    from ...protocols import AbstractIndex, IndexEntry


def versions_of(index: AbstractIndex) -> list[IndexEntry]:
    """Every entry of every name where the index tells them, else the current ones."""
    return list(cast("Iterable[Any]", getattr(index, "entries", None) or index.list_datasets()))


def is_promoted(record: Record, did: str) -> bool:
    """Whether an entry record was promoted from an index entry; ``AtmosphereIndex`` makes some without one."""
    rkey, value = record.uri.rpartition("/")[2], record.value
    if not is_identity_tid(rkey):
        return False
    try:
        urls = [shard.url for shard in shards_of(record)]
    except RefusedError:
        return False
    return rkey != entry_rkey(did, str(value.get("name")), entry_cid(str(value.get("schemaRef")), urls))


class Versions:
    """The entries of an index, found by the records that an account made from them."""

    def __init__(self, entries: Iterable[IndexEntry], did: str) -> None:
        self._did = did
        self._by_name: dict[str, dict[str, IndexEntry]] = {}
        for entry in entries:
            self._by_name.setdefault(entry.name, {})[cid_of(entry)] = entry
        self._by_key: dict[str, dict[str, IndexEntry]] = {}

    def of(self, record: Record, dataset: str | None) -> IndexEntry | None:
        """The entry that an entry record was made from; None where none of them was.

        Args:
            record: As the PDS gives it.
            dataset: The dataset that was published under the record's name, as far as the ledger knows. Two
                datasets may hold the same data; that one, or the one of the record's own name, is meant.
        """
        name, rkey = record.value.get("name"), record.uri.rpartition("/")[2]
        if not isinstance(name, str) or not is_identity_tid(rkey):
            return None
        for likely in (dataset, name):
            for cid, entry in self._by_name.get(likely or "", {}).items():
                if entry_rkey(self._did, name, cid) == rkey:
                    return entry
        if name not in self._by_key:
            self._by_key[name] = {
                entry_rkey(self._did, name, cid): entry
                for _, entries in sorted(self._by_name.items(), reverse=True)
                for cid, entry in entries.items()
            }
        return self._by_key[name].get(rkey)

    def find(self, dataset: str, cid: str) -> IndexEntry | None:
        """The entry of a dataset by its CID."""
        return self._by_name.get(dataset, {}).get(cid)

    @property
    def names(self) -> set[str]:
        """The names of all datasets."""
        return set(self._by_name)
