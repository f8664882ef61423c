"""``Repo``: samples into S3, and the entry that names them into the index."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from ..common.names import check_dataset_name
from ..common.urls import parse_s3
from ..errors import StorageError
from ..protocols import ShardFacts
from ..samples.metadata import pack
from ..shards.dataset import Dataset
from ..stores.s3.upload import S3Upload
from .entry import LocalDatasetEntry
from .local_index import LocalIndex
from .s3_store import MAX_COUNT, MAX_SIZE, S3DataStore

T = TypeVar("T")


class Repo:
    """A place in S3 where datasets are kept, and the index that knows them.

    Attributes:
        s3_credentials: As they were given; None where the repo has only an index.
        hive_path: ``{bucket}/{prefix}``; all shards lie there.
        hive_bucket: The bucket.
        index: The index.
    """

    def __init__(
        self,
        s3_credentials: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        hive_path: str | os.PathLike[str] | None = None,
        redis: Any = None,
    ) -> None:
        """Name the place; nothing is sent yet.

        Args:
            s3_credentials: A dict, or the path of a ``.env`` file, with ``AWS_ACCESS_KEY_ID``,
                ``AWS_SECRET_ACCESS_KEY``, and ``AWS_ENDPOINT`` where it is not AWS itself. None: there is only
                the index, and nothing can be inserted.
            hive_path: The bucket and a path in it, such as ``datasets-bucket/features``.
            redis: As ``LocalIndex`` takes it.

        Raises:
            CredentialsError: no such file, or a key is missing.
            StorageError: a hive path without a bucket, or one that would be read as a pattern; or none where there
                are credentials.
        """
        self.s3_credentials = s3_credentials
        self.hive_path: Path | None = None
        self.hive_bucket: str | None = None
        self._data_store: S3DataStore | None = None
        if s3_credentials is not None:
            bucket, prefix = _place(hive_path)
            self.hive_path, self.hive_bucket = Path(bucket, prefix), bucket
            self._data_store = S3DataStore(s3_credentials, bucket=bucket, prefix=prefix)
        self.index = LocalIndex(redis)

    @property
    def data_store(self) -> S3DataStore:
        """The bucket with its credentials; raises ``StorageError`` where none were given."""
        if self._data_store is None:
            raise StorageError(
                "S3 credentials required: this Repo has only an index, and nowhere to put shards. Make it with "
                "Repo(s3_credentials, hive_path).",
                urls=[],
            )
        return self._data_store

    def insert(
        self,
        ds: Dataset[T],
        *,
        name: str,
        schema_ref: str | None = None,
        metadata: dict[Any, Any] | None = None,
        cache_local: bool = False,
        maxcount: int = MAX_COUNT,
        maxsize: int = MAX_SIZE,
    ) -> tuple[LocalDatasetEntry, Dataset[T]]:
        """Store a dataset's samples and metadata, and register it under a name.

        What every shard holds (size, digests, samples) is recorded with the entry.

        Args:
            ds: The dataset; its samples keep their keys.
            name: 1 to 200 bytes of UTF-8, see ``atdata_core.common.names``.
            schema_ref: Where the schema is found; None: the newest version in the index with the fields of the
                sample type, else version 1.0.0.
            metadata: Whatever msgpack holds; None: the dataset's own.
            cache_local: Write each shard to a temporary file before it is sent.
            maxcount: Samples to a shard.
            maxsize: Bytes after which the next shard begins.

        Returns:
            The entry, and the dataset as it was stored.

        Raises:
            DatasetNameError, MetadataError: they cannot be kept.
            StorageError: as ``data_store``.
            SchemaConflictError: as ``LocalIndex.schema_ref_for``.
            ShardMissingError: there is no such bucket, or a shard of ``ds`` is not there.
            SampleError, ShardCorruptError: a sample or shard of ``ds`` cannot be read.
            ServiceError: Redis or S3 failed. In each case nothing is left behind.
        """
        check_dataset_name(name)
        store, stem = self.data_store, str(uuid4())
        metadata = ds.metadata if metadata is None else metadata
        packed = None if metadata is None else pack(metadata)
        schema_ref = self.index.schema_ref_for(ds.sample_type) if schema_ref is None else schema_ref
        self.index.ping()
        shards = store.write_named(
            ds,
            lambda number: f"atdata--{stem}--{number:06d}.tar",
            maxcount=maxcount,
            maxsize=maxsize,
            cache_local=cache_local,
        )
        metadata_url = store.shard_url(f"metadata/atdata-metadata--{stem}.msgpack")
        try:
            if packed is not None:
                with S3Upload(store.endpoint, *parse_s3(metadata_url)) as upload:
                    upload.write(packed)
                    upload.commit()
            entry = LocalDatasetEntry(name, schema_ref, [_pattern(shards)], metadata, data_store=store)
            self.index.register(entry, claims=shards)
        except BaseException:
            store.remove_shards([*(shard.url for shard in shards), metadata_url])
            raise
        stored = Dataset[ds.sample_type](
            entry.data_urls[0],
            metadata_url=None if packed is None else metadata_url,
            data_store=store,
        )
        return entry, stored

    def __repr__(self) -> str:
        place = "" if self.hive_path is None else f"{str(self.hive_path)!r}, "
        return f"Repo({place}{self.index!r})"


def _place(hive_path: str | os.PathLike[str] | None) -> tuple[str, str]:
    """Bucket and prefix of a hive path; raises ``StorageError`` where it is none."""
    if hive_path is None:
        raise StorageError(
            "Must specify hive path beside the credentials: the bucket and a path in it, such as "
            "hive_path='datasets-bucket/features'.",
            urls=[],
        )
    path = str(hive_path).removeprefix("s3://").strip("/")
    if not path or any(mark in path for mark in ("{", "}", "\\", "::")):
        raise StorageError(
            f"hive_path {str(hive_path)!r} names no place in S3. Give a bucket and a path without braces "
            "or backslashes, such as datasets-bucket/features.",
            urls=[],
        )
    bucket, _, prefix = path.partition("/")
    return bucket, prefix


def _pattern(shards: list[ShardFacts]) -> str:
    """One URL for all shards, numbered in braces as upstream writes them."""
    first = shards[0].url
    if len(shards) == 1:
        return first
    stem = first.removesuffix("000000.tar")
    return f"{stem}{{000000..{len(shards) - 1:06d}}}.tar"
