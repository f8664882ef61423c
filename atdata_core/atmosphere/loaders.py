"""Records and datasets of the network one by one, by the names of the package ``atdata``."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from atdata_core.atmosphere.atmosphere_index import AtmosphereIndex
from atdata_core.atmosphere.record_format.parse import read_schema_record
from atdata_core.atmosphere.record_format.record_keys import ENTRY, SCHEMA, AtUri
from atdata_core.errors import RefusedError

if TYPE_CHECKING:
    from atdata_core.atmosphere.client import AtmosphereClient
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
        return self.client.get_record(self._entry(uri).uri).value

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
            RefusedError: (a ``ValueError``) the shards are no blobs.
            And as ``get``.
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


def _is_of_blobs(record: dict[str, Any]) -> bool:
    kind: str = record["storage"]["$type"]
    return kind.endswith(".storageBlobs")


def _first(client: AtmosphereClient, collection: str, repo: str | None, limit: int) -> list[dict[str, Any]]:
    return [record.value for record in islice(client.iter_records(collection, repo=repo), limit)]
