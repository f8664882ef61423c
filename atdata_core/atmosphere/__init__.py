"""The AT Protocol network: records that anyone can find, resolve and read.

Importing this costs nothing of ``atproto`` or ``httpx``; they are loaded when a request is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atdata_core.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from atdata_core.atmosphere.atmosphere_index import AtmosphereIndex
    from atdata_core.atmosphere.blob_store import PDSBlobStore
    from atdata_core.atmosphere.client import AtmosphereClient, Record
    from atdata_core.atmosphere.loaders import BlobSource, DatasetLoader, SchemaLoader
    from atdata_core.atmosphere.publishers import DatasetPublisher, SchemaPublisher
    from atdata_core.atmosphere.record_format.parse import AtmosphereIndexEntry
    from atdata_core.atmosphere.record_format.record_keys import AtUri

__all__ = [
    "AtUri",
    "AtmosphereClient",
    "AtmosphereIndex",
    "AtmosphereIndexEntry",
    "BlobSource",
    "DatasetLoader",
    "DatasetPublisher",
    "PDSBlobStore",
    "Record",
    "SchemaLoader",
    "SchemaPublisher",
    "app_view",
    "atmosphere_index",
    "client",
    "identity",
    "labels",
    "listings",
    "published_shards",
    "publishers",
    "receipt",
    "record_batches",
    "record_format",
    "xrpc",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "AtUri": "record_format.record_keys",
        "AtmosphereClient": "client",
        "AtmosphereIndex": "atmosphere_index",
        "AtmosphereIndexEntry": "record_format.parse",
        "BlobSource": "loaders",
        "DatasetLoader": "loaders",
        "DatasetPublisher": "publishers",
        "PDSBlobStore": "blob_store",
        "Record": "client",
        "SchemaLoader": "loaders",
        "SchemaPublisher": "publishers",
    },
)
