"""Writing a dataset's samples as shards into S3, and knowing what was written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO, cast

from ..common.urls import displayed
from ..errors import AtdataError, NoDataUrlsError, RefusedError, SampleError, ShardForbiddenError
from ..protocols import ShardFacts
from ..samples.sample_types import packs_as_ours, unpacker_with_views
from ..samples.schema import fields_digest, fields_of
from ..shards.dataset import Dataset, shard_records
from ..shards.tar_samples import ShardWriter
from ..stores.s3.objects import S3Endpoint
from ..stores.s3.upload import S3Upload

MAX_COUNT = 10_000
"""Samples of a shard, where the caller says nothing."""

MAX_SIZE = 1 << 30
"""Bytes after which a shard is full, where the caller says nothing."""

_CHUNK = 1 << 20


def write_dataset(
    ds: Dataset[Any],
    endpoint: S3Endpoint,
    bucket: str,
    key: Callable[[int], str],
    *,
    maxcount: int = MAX_COUNT,
    maxsize: int = MAX_SIZE,
    cache_local: bool = False,
) -> list[ShardFacts]:
    """Writes all samples of ``ds`` in order, with their keys; what was written, by ``s3://`` URL.

    Args:
        ds: The dataset; every sample is checked to be of its type.
        endpoint: Where to write.
        bucket: A bucket that is there.
        key: The key of the n-th shard.
        maxcount: Samples to a shard.
        maxsize: Bytes after which the next shard begins.
        cache_local: Write each shard to a temporary file first.

    Raises:
        NoDataUrlsError: there are no samples.
        ShardMissingError: there is no such bucket.
        And as reading the dataset and writing to S3 do. Whatever was written is removed.
    """
    if maxcount < 1 or maxsize < 1:
        raise RefusedError(f"maxcount is {maxcount} and maxsize {maxsize}. Use 1 or more for both.")
    require_bucket(endpoint, bucket)
    written: list[ShardFacts] = []
    samples = _samples(ds)
    # A type that packs in its own way may write what its fields do not say.
    schema = fields_digest({"fields": fields_of(ds.sample_type)}) if packs_as_ours(ds.sample_type) else None
    try:
        while (first := next(samples, None)) is not None:
            place = key(len(written))
            with S3Upload(endpoint, bucket, place) as upload:
                count = _write_shard(upload, chain([first], samples), maxcount, maxsize, cache_local)
                upload.commit()
            written.append(
                ShardFacts(
                    url=f"s3://{bucket}/{place}",
                    size=upload.size,
                    sha256=upload.sha256,
                    md5=upload.md5,
                    samples=count,
                    etag=upload.etag,
                    endpoint=endpoint.endpoint_url,
                    region=endpoint.region,
                    schema=schema,
                )
            )
        if not written:
            raise NoDataUrlsError(f"{ds!r} has no samples, so there is nothing to store.", name=None)
    except BaseException:
        remove(endpoint, bucket, [shard.url.removeprefix(f"s3://{bucket}/") for shard in written])
        raise
    return written


def require_bucket(endpoint: S3Endpoint, bucket: str) -> None:
    """Raises ``ShardMissingError`` where the bucket is not there, ``ServiceUnavailableError`` for the server."""
    try:
        with endpoint.errors(bucket):
            endpoint.client.head_bucket(Bucket=bucket)
    except ShardForbiddenError:
        pass  # who may write objects need not be allowed to look at the bucket


def remove(endpoint: S3Endpoint, bucket: str, keys: Iterable[str]) -> None:
    """Removes what a failed write left, as far as the service can still be reached."""
    for key in keys:
        try:
            with endpoint.errors(bucket, key):
                endpoint.client.delete_object(Bucket=bucket, Key=key)
        except AtdataError:
            pass  # the error that led here says more


def _write_shard(
    upload: S3Upload, samples: Iterator[dict[str, Any]], maxcount: int, maxsize: int, cache_local: bool
) -> int:
    if not cache_local:
        return _fill(cast(BinaryIO, upload), samples, maxcount, maxsize)
    with tempfile.TemporaryFile() as cache:
        count = _fill(cast(BinaryIO, cache), samples, maxcount, maxsize)
        cache.seek(0)
        while chunk := cache.read(_CHUNK):
            upload.write(chunk)
    return count


def _fill(stream: BinaryIO, samples: Iterator[dict[str, Any]], maxcount: int, maxsize: int) -> int:
    with ShardWriter(stream) as writer:
        for sample in samples:
            writer.write(sample)
            if writer.samples >= maxcount or writer.size >= maxsize:
                break
    return writer.samples


def _samples(ds: Dataset[Any]) -> Iterator[dict[str, Any]]:
    """Every sample with its key, packed as this version packs (arrays as ``.npy``).

    Not ``ds.ordered()``: that leaves shards to other ranks and workers, and forgets the keys.
    """
    unpack = unpacker_with_views(ds.sample_type)
    last: str | None = None
    for number, url in enumerate(ds.shard_list):
        for record in shard_records(url, store=ds.data_store):
            key = str(record["__key__"])
            if key == last:
                # The end of one shard and the start of the next; a reader would take them for one sample.
                key = f"{number:06d}-{key}"
            last = key
            yield {"__key__": key, "msgpack": _repacked(unpack, url, key, record.get("msgpack"))}


def _repacked(unpack: Callable[[bytes], Any], url: str, key: str, payload: bytes | str | None) -> bytes:
    if not isinstance(payload, bytes):
        raise SampleError(
            f"{displayed(url)}, sample {key!r}: there is no {key}.msgpack. Write samples with as_wds.",
            url=displayed(url),
            key=key,
        )
    try:
        return unpack(payload).packed
    except SampleError as error:
        raise SampleError(
            f"{displayed(url)}, sample {key!r}: {error}", **{**error.facts, "url": displayed(url), "key": key}
        ) from None
