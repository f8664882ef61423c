"""A source for each kind of place where shards lie in the field, also of servers that say little of themselves."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from atdata_core import BlobSource, Dataset, DataSource, S3Source, URLSource
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.stores.opening import stat_shard
from shard_server import ShardServer


def numbers(dataset: Any) -> list[int]:
    return [sample.number for sample in pickle.loads(pickle.dumps(dataset)).ordered()]


def test_blobs_web_pages_and_objects_are_read_as_sources_of_one_dataset_each(
    server: ShardServer,
    tar: Callable[..., bytes],
    publisher: AtmosphereClient,
    measurement: type,
    s3: dict[str, str],
    bucket: str,
):
    from atdata_core.stores.s3.objects import S3Endpoint

    blobs = [publisher.upload_blob(tar(n)) for n in range(2)]
    # A blob is served once a record names it.
    publisher.create_record("com.example.thing", {"$type": "com.example.thing", "blobs": blobs}, validate=False)
    pages = [server.put(f"/{n}.tar", tar(n)) for n in range(2)]
    for n in range(2):
        S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key=f"{n}.tar", Body=tar(n))
    sources: list[DataSource] = [
        BlobSource.from_refs([{"did": publisher.did, "cid": blob["ref"]["$link"]} for blob in blobs]),
        URLSource(pages),
        S3Source.from_credentials(s3, bucket, ["0.tar", "1.tar"]),
    ]
    for source in sources:
        assert numbers(Dataset[measurement](source)) == [0, 1]


def test_a_server_without_a_length_or_head_is_read_by_its_bytes(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], measurement: type
):
    bare = {"length": False, "head": False, "etag": "", "ranges": False}
    urls = [server.put(f"/{n}.tar", tar(n, 2_000_000 * n), **bare) for n in range(2)]
    assert numbers(Dataset[measurement](URLSource(urls))) == [0, 1]
    assert [(each.method, each.at) for each in server.asked] == [("GET", 0)] * 2
    uri = publish({url: tar(n, 2_000_000 * n) for n, url in enumerate(urls)})
    assert numbers(AtmosphereIndex(AtmosphereClient()).open_dataset(uri, sample_type=measurement)) == [0, 1]
    assert stat_shard(urls[1]).size == len(tar(1, 2_000_000))
