"""Records and datasets of the network one by one, by the names of the package ``atdata``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from atdata_core.atmosphere.atmosphere_index import AtmosphereIndex
from atdata_core.atmosphere.client import AtmosphereClient
from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.atmosphere.record_format.parse import (
    PublishedShard,
    blob_address,
    blob_sha256,
    read_entry_record,
    read_schema_record,
)
from atdata_core.atmosphere.record_format.record_keys import ENTRY, SCHEMA, AtUri
from atdata_core.errors import EntryNotFoundError, RecordNotFoundError, RefusedError
from atdata_core.shards.data_sources import ListedShards

if TYPE_CHECKING:
    from atdata_core.atmosphere.record_format.parse import AtmosphereIndexEntry
    from atdata_core.shards.dataset import Dataset

T = TypeVar("T")


class SchemaLoader:
    """Schema records as they lie on the network; ``AtmosphereIndex.get_schema`` gives one as an index keeps it.

    Args:
        client: Logged in or not.
    """

    def __init__(self, client: AtmosphereClient) -> None:
        self.client = client

    def get(self, uri: str | AtUri) -> dict[str, Any]:
        """The body of a record.

        Raises:
            RecordNotFoundError: (a ``KeyError``) there is none.
            SchemaError: (a ``ValueError``) it is no schema record.
        """
        value = self.client.get_record(uri).value
        read_schema_record(value)
        return value

    def list_all(self, repo: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The bodies of the first records of a repository (DID or handle), the own one by default."""
        return _first(self.client, SCHEMA, repo, limit)


class DatasetLoader:
    """Entry records as they lie on the network, and what they name.

    Args:
        client: Logged in or not.
    """

    def __init__(self, client: AtmosphereClient) -> None:
        self.client = client

    def get(self, uri: str | AtUri) -> dict[str, Any]:
        """The body of a record; raises as ``AtmosphereIndex.get_dataset``."""
        try:
            record = self.client.get_record(uri)
        except RecordNotFoundError as error:
            raise EntryNotFoundError(error.message, ref=str(uri)) from None
        read_entry_record(record.uri, record.cid, record.value, service_of=self.client.service_of)
        return record.value

    def list_all(self, repo: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The bodies of the first records of a repository (DID or handle), the own one by default."""
        return _first(self.client, ENTRY, repo, limit)

    def get_urls(self, uri: str | AtUri) -> list[str]:
        """The URLs of the shards, those of blobs too; raises as ``get``."""
        return self._entry(uri).data_urls

    def get_storage_type(self, uri: str | AtUri) -> str:
        """``"blobs"`` where the shards are blobs of the account's PDS, else ``"external"``; raises as ``get``."""
        return "blobs" if _is_of_blobs(self.get(uri)) else "external"

    def get_blobs(self, uri: str | AtUri) -> list[dict[str, Any]]:
        """The references of the blobs that are the shards.

        Raises:
            RefusedError: (a ``ValueError``) the shards are no blobs; else raises as ``get``.
        """
        record = self.get(uri)
        if not _is_of_blobs(record):
            raise RefusedError(
                f"The shards of {uri} are no blobs but lie elsewhere. get_urls() tells where.", uri=str(uri)
            )
        # The oldest records hold the references themselves.
        return [each.get("blob", each) for each in record["storage"]["blobs"]]

    def get_blob_urls(self, uri: str | AtUri) -> list[str]:
        """Where the blobs that are the shards can be downloaded; raises as ``get_blobs``."""
        self.get_blobs(uri)
        return self.get_urls(uri)

    def get_metadata(self, uri: str | AtUri) -> dict[Any, Any] | None:
        """What was kept with the dataset; raises as ``get``."""
        return self._entry(uri).metadata

    def to_dataset(self, uri: str | AtUri, sample_type: type[T]) -> Dataset[T]:
        """The published dataset as samples of one's own class; as ``AtmosphereIndex.open_dataset``."""
        return AtmosphereIndex(self.client).open_dataset(str(uri), sample_type=sample_type)

    def _entry(self, uri: str | AtUri) -> AtmosphereIndexEntry:
        return AtmosphereIndex(self.client).get_dataset(str(uri))


@dataclass
class BlobSource(ListedShards):
    """Shards that are blobs of a PDS, for ``Dataset[MySample](source)``; each is held to its CID while it is read.

    ``blob_refs`` have a ``did`` and a ``cid`` each. ``pds_endpoint`` is the URL of the PDS; None: the account's
    own. A private address is refused unless it is configured.
    """

    blob_refs: list[dict[str, str]]
    pds_endpoint: str | None = None
    _services: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False, compare=False)

    @classmethod
    def from_refs(cls, refs: Sequence[Mapping[str, Any]], *, pds_endpoint: str | None = None) -> BlobSource:
        """Of references ``{"did": str, "cid": str}``; raises ``RefusedError`` (a ``ValueError``) for others."""
        if not refs:
            raise RefusedError("refs cannot be empty: a BlobSource names at least one blob.")
        for ref in refs:
            if "ref" in ref and "did" not in ref:
                raise RefusedError(
                    "A blob reference of a record requires 'did' field beside it: give {'did': ..., 'cid': ...}, "
                    "or open the record with AtmosphereIndex.open_dataset."
                )
            if not {"did", "cid"} <= ref.keys():
                raise RefusedError(f"Invalid blob reference format: {list(ref)}. Give {{'did': ..., 'cid': ...}}.")
        return cls([{"did": ref["did"], "cid": ref["cid"]} for ref in refs], pds_endpoint)

    def list_shards(self) -> list[str]:
        """``at://{did}/blob/{cid}`` of each."""
        return [f"at://{ref['did']}/blob/{ref['cid']}" for ref in self.blob_refs]

    def open_shard(self, url: str) -> BinaryIO:
        """The blob's bytes as they arrive; ``ShardChangedError`` at their end where they are others.

        Raises:
            ShardNotListedError: (a ``KeyError``) it is none of the shards.
            RefusedError: Its CID is none of a blob.
            And as ``opening.open_shard``.
        """
        self.check_listed(url)
        did, _, cid = url.removeprefix("at://").split("/")
        sha256 = blob_sha256(cid)
        if sha256 is None:
            raise RefusedError(f"{cid!r} is no CID to which bytes can be held. Take that of the blob's reference.")
        if did not in self._services:
            self._services[did] = self.pds_endpoint or AtmosphereClient().service_of(did)
        shard = PublishedShard(blob_address(self._services[did].rstrip("/"), did, cid), sha256)
        return PublishedShards([shard]).open_shard(shard.url)


def _is_of_blobs(record: dict[str, Any]) -> bool:
    kind: str = record["storage"]["$type"]
    return kind.endswith(".storageBlobs")


def _first(client: AtmosphereClient, collection: str, repo: str | None, limit: int) -> list[dict[str, Any]]:
    return [record.value for record in islice(client.iter_records(collection, repo=repo), limit)]
