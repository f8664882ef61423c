"""Datasets at home: shards in S3, an index in Redis."""

from typing import TYPE_CHECKING

from ..common.lazy_names import lazy_names

if TYPE_CHECKING:
    from .entry import LocalDatasetEntry
    from .local_index import LocalIndex
    from .local_index import LocalIndex as Index
    from .registry import Removal
    from .repo import Repo
    from .s3_store import S3DataStore

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

__getattr__, __dir__ = lazy_names(
    __name__,
    __all__,
    {
        "Index": "local_index:LocalIndex",
        "LocalDatasetEntry": "entry",
        "LocalIndex": "local_index",
        "Removal": "registry",
        "Repo": "repo",
        "S3DataStore": "s3_store",
    },
)
