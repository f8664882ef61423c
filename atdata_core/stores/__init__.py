"""Where bytes lie: opening, reading ahead, probing, and the services behind URLs."""

from ..common.lazy_names import lazy_names

__all__ = [
    "data_store",
    "http",
    "http_transport",
    "local_files",
    "opening",
    "prefetch",
    "private_addresses",
    "s3",
    "shard_cache",
    "shard_streams",
]

__getattr__, __dir__ = lazy_names(__name__, __all__, {})
