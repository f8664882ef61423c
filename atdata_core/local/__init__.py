"""Datasets at home: shards in S3, an index in Redis."""

from .entry import LocalDatasetEntry
from .local_index import LocalIndex
from .registry import Removal
from .repo import Repo
from .s3_store import S3DataStore

Index = LocalIndex

__all__ = [
    "Index",
    "LocalDatasetEntry",
    "LocalIndex",
    "Removal",
    "Repo",
    "S3DataStore",
    "entry",
    "local_index",
    "registry",
]
