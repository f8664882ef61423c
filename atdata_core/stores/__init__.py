"""Where bytes lie: opening, reading ahead, probing, and the services behind URLs."""

__all__ = [
    "data_store",
    "http",
    "local_files",
    "opening",
    "prefetch",
    "private_addresses",
    "s3",
    "shard_cache",
    "shard_streams",
]
