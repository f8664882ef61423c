"""Names that programs take from modules of the package ``atdata`` 0.2: ``atdata.dataset``, ``atdata._cid``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import libipld

from .atmosphere import BlobSource
from .common.cid import block_cid, record_cid
from .protocols import AbstractDataStore, AbstractIndex, DataSource, IndexEntry, Packable
from .reading import DatasetDict, load_dataset
from .samples import DictSample, PackableSample, SampleBatch, packable
from .samples.schema import decode
from .shards.data_sources import S3Source, URLSource
from .shards.dataset import Dataset

__all__ = [
    "AbstractDataStore",
    "AbstractIndex",
    "BlobSource",
    "DataSource",
    "Dataset",
    "DatasetDict",
    "DictSample",
    "IndexEntry",
    "Packable",
    "PackableSample",
    "S3Source",
    "SampleBatch",
    "URLSource",
    "WDSRawSample",
    "clear_type_cache",
    "generate_cid",
    "generate_cid_from_bytes",
    "load_dataset",
    "packable",
    "parse_cid",
    "schema_to_type",
    "verify_cid",
]

WDSRawSample = dict[str, Any]
"""What ``as_wds`` gives: ``{"__key__": str, "msgpack": bytes}``."""


def generate_cid(data: Any) -> str:
    """CID of data as DAG-CBOR; raises ``ValueError`` where a record could not hold them, such as a float."""
    try:
        return record_cid(data)
    except ValueError as error:
        raise ValueError(f"Failed to encode data as DAG-CBOR: {error}") from None


def generate_cid_from_bytes(data: bytes) -> str:
    """CID of what is DAG-CBOR already."""
    return block_cid(data)


def verify_cid(cid: str, data: Any) -> bool:
    """Whether a CID is that of these data; raises as ``generate_cid``."""
    return cid == generate_cid(data)


def parse_cid(cid: str) -> dict[str, Any]:
    """``version``, ``codec`` and ``hash`` of a CID; raises ``ValueError`` where it is none."""
    parsed: Any = libipld.decode_cid(cid)
    return parsed


def schema_to_type(schema: Mapping[str, Any], *, use_cache: bool = True) -> type:
    """The sample type that a schema describes, made anew without ``use_cache``; raises ``SchemaError``."""
    return decode(schema, anew=not use_cache)


def clear_type_cache() -> None:
    """Nothing: a rebuilt type is kept only as long as somebody uses it."""
