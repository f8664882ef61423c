"""One dataset of a local index, its form in upstream's Redis layout, and what stands in Redis beside it.

``atdata:dataset:{name}``  hash: ``current`` (CID) and per version ``entry:{cid}`` (msgpack) and ``born:{cid}``;
                           ``adopted``: the current one, where another program wrote it
``atdata:datasets``        sorted set of all names
``atdata:events``          stream of (name, cid), one for each entry that came in, the newest 100,000
``atdata:scanned``         there for ten seconds after upstream's keys were all looked at, one after the other
``atdata:scan``            how far the look that goes on step by step has come (``Foreign``)
``atdata:scan:pause``      there until a look by name takes the next step
``atdata:shards:{cid}``    hash: claims by shard URL (``ShardClaims``)
``atdata:removed``         set of ``{cid}:{name}``: entries that were removed here, which promotions may still hold
``atdata:schemas:{class}`` string: the versions that are known of ``module.Class``, or of ``Class``, one a line
``atdata:schemas-scanned`` there for ten seconds after the keys of all schemas were looked at

An entry is there while upstream's hash of it is, ``LocalDatasetEntry:{cid}``: other programs delete that one key,
and what stands here of it counts no more. Names of the same data share it, and a later one writes it anew: so its
field ``atdata:born`` tells one such hash from the next, and a name whose ``born:{cid}`` is another's was deleted.
The name that the hash itself tells is there, and so is one without ``born:{cid}``, which an older build wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgpack

from ..common.cid import entry_cid
from ..common.names import quoted
from ..errors import EntryNotFoundError, MetadataError
from ..samples.metadata import pack, unpack

ENTRY_KEY = "LocalDatasetEntry:"
"""Prefix of upstream's hash per entry CID: name, schema_ref, cid, data_urls, metadata."""

BORN = "atdata:born"
FIELDS = ("name", "schema_ref", "data_urls", "metadata", BORN)

DATASETS = "atdata:datasets"
EVENTS = "atdata:events"
EVENTS_KEPT = 100_000
# A stream whose last number somebody took takes no more; who watches it begins anew with another.
TELL = """
local function tell(events, name, cid)
  local function add() return redis.pcall('XADD', events, 'MAXLEN', '~', {kept}, '*', 'name', name, 'cid', cid) end
  if type(add()) == 'table' then
    redis.call('DEL', events)
    add()
  end
end
""".replace("{kept}", str(EVENTS_KEPT))
BORN_OF = """
local function born_of(key, fresh)
  redis.call('HSETNX', key, '{born}', fresh)
  return redis.call('HGET', key, '{born}')
end
""".replace("{born}", BORN)
SCANNED = "atdata:scanned"
SCANNED_SECONDS = 10
SCAN = "atdata:scan"
SCAN_PAUSE = "atdata:scan:pause"
SCHEMAS_SCANNED = "atdata:schemas-scanned"
REMOVED = "atdata:removed"

CID = re.compile(rb"[0-9A-Za-z_-]{1,200}")
"""What can be a CID, of this library and of others; it stands in keys of ours, and in those of runs."""

_msgpack: Any = msgpack


@dataclass(frozen=True)
class LocalDatasetEntry:
    """A dataset: its name, the reference of its schema, the URLs of its shards and its metadata.

    ``cid`` identifies schema and data, not name and metadata. ``data_store`` is the store that can read
    the shards, where the entry comes from one; it is neither saved nor compared. ``registered_at`` is when it was
    inserted, in milliseconds since 1970; None where it is not known.
    """

    name: str
    schema_ref: str
    data_urls: list[str]
    metadata: dict[Any, Any] | None = None
    cid: str = field(default="", kw_only=True)
    data_store: Any = field(default=None, kw_only=True, repr=False, compare=False)
    registered_at: int | None = field(default=None, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.cid:
            object.__setattr__(self, "cid", entry_cid(self.schema_ref, self.data_urls))

    @property
    def wds_url(self) -> str:
        """The first URL; empty where there is none."""
        return self.data_urls[0] if self.data_urls else ""

    def write_to(self, redis: Any) -> None:
        """Write the entry as other programs do, which every index finds; ``LocalIndex.add_entry`` knows it at once.

        Raises:
            MetadataError: the metadata cannot be kept.
        """
        stored = StoredEntry(
            self.schema_ref, self.data_urls, None if self.metadata is None else pack(self.metadata)
        )
        metadata = stored.upstream_metadata
        values = {
            "name": self.name,
            "schema_ref": self.schema_ref,
            "data_urls": stored.packed_urls,
            "cid": self.cid,
        }
        redis.hset(ENTRY_KEY + self.cid, mapping={**values, **({} if metadata is None else {"metadata": metadata})})

    @classmethod
    def from_redis(cls, redis: Any, cid: str) -> LocalDatasetEntry:
        """The entry that is written under a CID, whichever program wrote it.

        Raises:
            EntryNotFoundError: (a ``KeyError``) there is none.
            ValueError: it is damaged.
        """
        values: Mapping[str, bytes | None] = dict(zip(FIELDS, redis.hmget(ENTRY_KEY + cid, FIELDS), strict=True))
        if not any(values.values()):
            raise EntryNotFoundError(f"There is no {ENTRY_KEY}{cid} in Redis. Write the entry first.", ref=cid)
        return StoredEntry.from_hash(values).entry((values["name"] or b"").decode(), cid)

    @property
    def sample_kind(self) -> str:
        """The reference of the schema, by its older name."""
        return self.schema_ref


@dataclass(frozen=True)
class StoredEntry:
    """An entry as Redis holds it, its metadata still packed; ``registered_at`` as in ``LocalDatasetEntry``."""

    schema_ref: str
    data_urls: list[str]
    metadata: bytes | None
    registered_at: int | None = None

    @classmethod
    def from_hash(cls, values: Mapping[str, bytes | None]) -> StoredEntry:
        """From the fields of upstream's hash.

        Raises:
            ValueError: a field is missing or is not what it should be.
        """
        schema_ref, data_urls = values.get("schema_ref"), values.get("data_urls")
        if schema_ref is None or data_urls is None:
            raise ValueError("it has no schema_ref or no data_urls")
        try:
            urls: Any = _msgpack.unpackb(data_urls)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"its data_urls are no msgpack: {str(error) or type(error).__name__}") from None
        return cls(schema_ref.decode(), _checked_urls(urls), values.get("metadata"))

    @classmethod
    def from_record(cls, record: bytes) -> StoredEntry:
        """From a record of ours.

        Raises:
            ValueError: it is damaged.
        """
        try:
            values = cast("dict[str, Any]", _msgpack.unpackb(record))
            schema_ref, metadata, at = values["schema_ref"], values["metadata"], values.get("registered_at")
            urls = _checked_urls(values["data_urls"])
        except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
            raise ValueError(f"what is kept of it is damaged: {str(error) or type(error).__name__}") from None
        kinds = ((schema_ref, str), (metadata, bytes | None), (at, int | None))
        if not all(isinstance(value, kind) for value, kind in kinds):
            raise ValueError("what is kept of it is damaged: a value is of another type")
        return cls(schema_ref, urls, metadata, at)

    def to_record(self, *, registered_at: int) -> bytes:
        """As a record of ours."""
        return _msgpack.packb(
            {
                "schema_ref": self.schema_ref,
                "data_urls": self.data_urls,
                "metadata": self.metadata,
                "registered_at": registered_at,
            }
        )

    @property
    def packed_urls(self) -> bytes:
        """The URLs as upstream's hash holds them."""
        return _msgpack.packb(self.data_urls)

    @property
    def upstream_metadata(self) -> bytes | None:
        """The metadata as upstream's hash may hold it: None where its reader would stumble.

        It unpacks with msgpack's defaults, which refuse keys that are neither str nor bytes, and one such
        entry would break its listing of all.
        """
        if self.metadata is not None:
            try:
                _msgpack.unpackb(self.metadata)
            except (ValueError, TypeError, msgpack.UnpackException):
                return None
        return self.metadata

    def entry(self, name: str, cid: str) -> LocalDatasetEntry:
        """The entry of that name; raises ``MetadataError`` where its metadata cannot be read, or are no map."""
        metadata = None if self.metadata is None else unpack(self.metadata)
        if not isinstance(metadata, dict | None):
            raise MetadataError(
                f"The metadata of {quoted(name)} are {type(metadata).__name__}, not a map. Insert it again, or let "
                "the program that wrote it write a map or none.",
                name=name,
            )
        known = cast("dict[Any, Any] | None", metadata)
        return LocalDatasetEntry(
            name, self.schema_ref, self.data_urls, known, cid=cid, registered_at=self.registered_at
        )


def _checked_urls(urls: Any) -> list[str]:
    if isinstance(urls, str):
        return [urls]
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in cast("list[Any]", urls)):
        raise ValueError("its data_urls are no list of strings")
    return cast("list[str]", urls)


def dataset_key(name: str) -> str:
    """The hash of a name and all its versions."""
    return f"atdata:dataset:{name}"


def is_there(name: str, born: bytes | None, values: Sequence[bytes | None]) -> bool:
    """Whether an entry of a name is, by its ``born:{cid}`` and the ``FIELDS`` of upstream's hash now."""
    known = born is None or born == values[-1] or values[0] == name.encode()
    return known and any(value is not None for value in values)


def removed_member(name: str, cid: str) -> str:
    """How ``atdata:removed`` tells an entry; a CID has no colon."""
    return f"{cid}:{name}"


def schemas_key(named: str) -> str:
    """The versions of a class, by ``module.Class``, or by ``Class`` as other programs name it."""
    return f"atdata:schemas:{named}"
