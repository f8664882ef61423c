"""What the rooms of this library ask of each other, and of anybody's own index or store.

``local`` and ``atmosphere`` do not know each other; what both need stands here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, Self, cast, runtime_checkable


@dataclass(frozen=True, slots=True)
class ShardStat:
    """What a store says of one object without sending it.

    ``sha256`` is the server's own full-object digest (hex), where it keeps one. ``etag`` has no quotes;
    it is None where the store gives none or an empty one.
    """

    size: int
    etag: str | None = None
    sha256: str | None = None


def strong_etag(header: str | None) -> str | None:
    """An ETag without its quotes; None where the server gives none, or a weak one, which allows other bytes."""
    header = header or ""
    return None if header[:2] in ("W/", "w/") else header.strip('"') or None


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What is known of one shard: where it lies and what it holds. Never a key or a password.

    ``size`` is in bytes; digests are lower-case hex of the shard's bytes; ``samples`` is the number of
    samples. ``endpoint`` is the S3 endpoint URL, None for AWS itself and for other schemes. ``schema`` is the
    ``schema.fields_digest`` of the fields by which every sample was decoded, each file of the shard being one; None
    where that was not looked at. ``seal`` says who has read or written these bytes (``shard_facts.py``).
    """

    url: str
    size: int
    sha256: str
    md5: str | None = None
    samples: int | None = None
    etag: str | None = None
    endpoint: str | None = None
    region: str | None = None
    schema: str | None = None
    seal: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The facts as a JSON object; absent ones are left out."""
        return {key: value for key in self.__slots__ if (value := getattr(self, key)) is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShardFacts:
        """The inverse of ``to_json``; keys of a later version are ignored.

        Raises:
            ValueError: It is damaged.
        """
        found = {key: data.get(key) for key in cls.__slots__}
        for key, value in found.items():
            kind = int if key in ("size", "samples") else str
            if type(value) is not kind and (value is not None or key in ("url", "size", "sha256")):
                raise ValueError(f"{key} is {type(value).__name__}, not {kind.__name__}")
        return cls(**cast("dict[str, Any]", found))


@runtime_checkable
class Packable(Protocol):
    """A sample type: what ``@packable`` makes, or whatever packs itself in that way."""

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """A sample from its msgpack map."""
        ...

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of ``packed``."""
        ...

    @property
    def packed(self) -> bytes:
        """The sample as one msgpack map."""
        ...

    @property
    def as_wds(self) -> dict[str, Any]:
        """``{"__key__": str, "msgpack": bytes}``."""
        ...


@runtime_checkable
class IndexEntry(Protocol):
    """One dataset of an index."""

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    @property
    def schema_ref(self) -> str:
        """Where the schema of its samples is found."""
        ...

    @property
    def data_urls(self) -> list[str]:
        """URLs of its shards, brace patterns included."""
        ...

    @property
    def metadata(self) -> dict[Any, Any] | None:
        """Whatever was kept with it."""
        ...


class AbstractIndex(Protocol):
    """A place where datasets and schemas are found."""

    @property
    def data_store(self) -> AbstractDataStore | None:
        """The store that its shards lie in, where it knows one."""
        ...

    def insert_dataset(self, ds: Any, *, name: str, schema_ref: str | None = None) -> IndexEntry:
        """Register a dataset."""
        ...

    def get_dataset(self, ref: str) -> IndexEntry:
        """The entry of a name or reference; ``KeyError`` where there is none."""
        ...

    def list_datasets(self) -> list[Any]:
        """All entries."""
        ...

    def publish_schema(self, sample_type: type, *, version: str = "1.0.0") -> str:
        """Keep the schema of a sample type; its reference."""
        ...

    def get_schema(self, ref: str) -> dict[str, Any]:
        """The schema record of a reference; ``KeyError`` where there is none."""
        ...

    def list_schemas(self) -> list[dict[str, Any]]:
        """All schema records."""
        ...

    def decode_schema(self, ref: str) -> type:
        """A sample type rebuilt from a schema."""
        ...


@runtime_checkable
class AbstractDataStore(Protocol):
    """A place where shards can be written.

    One whose ``write_shards`` also keeps the files beside samples says so by an attribute ``keeps_files = True``;
    without it a dataset that has some is refused before anything is written.
    """

    def write_shards(self, ds: Any, *, prefix: str) -> list[str]:
        """Write a dataset's samples as shards below ``prefix``; their URLs."""
        ...

    def read_url(self, url: str) -> str:
        """A URL by which the shard can be read."""
        ...

    def supports_streaming(self) -> bool:
        """Whether shards can be read while they arrive."""
        ...


@runtime_checkable
class DataSource(Protocol):
    """Where the shards of a dataset lie, and how each is opened: ``Dataset[MySample](source)``."""

    @property
    def shards(self) -> Iterator[tuple[str, BinaryIO]]:
        """Each shard's name and bytes, opened when it is asked for; close it."""
        ...

    def list_shards(self) -> list[str]:
        """The names of the shards, in order: URLs, where others are to find them."""
        ...

    def open_shard(self, shard_id: str, /) -> BinaryIO:
        """The bytes of the shard of that name; ``KeyError`` where there is none."""
        ...


@runtime_checkable
class ShardCopier(Protocol):
    """A store that can take a shard byte for byte."""

    def put_shard(self, name: str, stream: BinaryIO, *, size: int, sha256: str) -> str:
        """Write ``stream`` as ``name`` (below the store's prefix); its URL.

        Raises ``ShardChangedError`` where the stream's bytes do not have this size and digest, and
        leaves nothing then.
        """
        ...


@dataclass(frozen=True, slots=True)
class WriteProof:
    """A shard at its destination: its URL there, how its bytes are known to lie there, and the store's ETag.

    ``proof`` is ``"server sha256"``, ``"etag md5"`` or ``"read back"``; ``etag`` has no quotes.
    """

    url: str
    proof: str
    etag: str | None = None


@runtime_checkable
class ClaimKeeper(Protocol):
    """An index that remembers what the shards of an entry held when they were first seen."""

    def shard_claims(self, entry_cid: str) -> dict[str, ShardFacts]:
        """The claims of an entry, by shard URL (patterns expanded)."""
        ...

    def record_claims(self, entry_cid: str, facts: Iterable[ShardFacts]) -> dict[str, ShardFacts]:
        """Keep facts where a shard has none yet; all claims that stand afterwards.

        The first recorded digest of a shard stays. ETag, size-preserving look-ups and sample counts of
        the same digest are brought up to date.
        """
        ...

    def replace_claims(
        self, entry_cid: str, facts: Iterable[ShardFacts], *, standing: Mapping[str, ShardFacts]
    ) -> bool:
        """Make ``facts`` the claims of an entry, in one step; the earlier ones go.

        False, and nothing is done, where other digests are claimed by now than ``standing`` says.
        """
        ...


@runtime_checkable
class CurrentEntries(Protocol):
    """An index that can be asked for many names at once."""

    def current_cids(self, names: Sequence[str]) -> list[str | None]:
        """The CID of the newest entry of each name; None where ``get_dataset`` has to be asked."""
        ...


@runtime_checkable
class DeletionKeeper(Protocol):
    """An index that knows of an entry that it once had and has no more."""

    def was_deleted(self, name: str, cid: str) -> bool:
        """Whether the entry of this name and CID was there, and somebody deleted it since."""
        ...
