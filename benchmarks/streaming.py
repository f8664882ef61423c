"""Samples from shards behind http and in S3, read as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from atdata_core import Dataset
from atdata_core.local import S3DataStore
from benchmarks.data import Shards
from benchmarks.frame import Bench, Measured, Reach, expect, row
from benchmarks.reading import read_pictures, read_undecoded, read_vectors
from benchmarks.samples import Picture, Vector

CURL = "webdataset's reader (curl), undecoded"
SIGNED = (
    "webdataset knows no s3:// and reads a presigned URL of the same objects with curl; the server is an rclone "
    "that does not digest what it sends (--no-checksum), as S3 does not: else both wait for that"
)

Read = Callable[[Iterable[Any]], int]


def _from_http(bench: Bench, shards: Shards, sample_type: type, read: Read) -> Measured:
    """Both read the same URLs."""
    server = bench.services.serve_files(Path(shards.paths[0]).parent)
    urls = [f"{server}/{Path(path).name}" for path in shards.paths]
    return _compared(bench, shards, sample_type, read, Dataset[sample_type](urls), urls)


def _from_s3(bench: Bench, shards: Shards, sample_type: type, read: Read) -> Measured:
    """Both read the same objects of the same S3 server."""
    store = _uploaded(bench, shards)
    urls = [store.shard_url(Path(path).name) for path in shards.paths]
    dataset = Dataset[sample_type](urls, data_store=store)
    return _compared(bench, shards, sample_type, read, dataset, [store.read_url(url) for url in urls], SIGNED)


def _compared(
    bench: Bench, shards: Shards, sample_type: type, read: Read, dataset: Any, theirs: list[str], note: str = ""
) -> Measured:
    def ours() -> None:
        expect(read(dataset.ordered()), shards.samples, "samples of ours")

    def peer() -> None:
        expect(read_undecoded(theirs), shards.samples, "samples of webdataset's")

    return Measured(bench.race(ours, peer, amount=shards.samples, unit="samples/s", repeats=4), note=note)


def _uploaded(bench: Bench, shards: Shards) -> S3DataStore:
    """A store in whose bucket the shards lie."""
    services = bench.services
    bucket = services.new_bucket(services.box)
    for path in shards.paths:
        services.s3(services.box).upload_file(path, bucket, Path(path).name)
    return S3DataStore({**services.box.s3, "AWS_ENDPOINT": services.reading_s3}, bucket=bucket)


@row("stream `ordered()` over http, float32[128] + int, webdataset's own tars", peer=CURL, reach=Reach(ratio=4))
def http_vectors_on_their_tars(bench: Bench) -> Measured:
    """Small samples, PAX headers."""
    return _from_http(bench, bench.data.their_vectors, Vector, read_vectors)


@row("stream `ordered()` over http, float32[128] + int, our tars", peer=CURL, reach=Reach(ratio=4))
def http_vectors_on_our_tars(bench: Bench) -> Measured:
    """Small samples."""
    return _from_http(bench, bench.data.our_vectors, Vector, read_vectors)


@row("stream `ordered()` over http, 224x224x3 uint8 + str", peer=CURL, reach=Reach(ratio=1.5))
def http_pictures(bench: Bench) -> Measured:
    """Large samples."""
    return _from_http(bench, bench.data.our_pictures, Picture, read_pictures)


@row("stream `ordered()` from S3, float32[128] + int, webdataset's own tars", peer=CURL, reach=Reach(ratio=4))
def s3_vectors_on_their_tars(bench: Bench) -> Measured:
    """Small samples, PAX headers."""
    return _from_s3(bench, bench.data.their_vectors, Vector, read_vectors)


@row("stream `ordered()` from S3, float32[128] + int, our tars", peer=CURL, reach=Reach(ratio=4))
def s3_vectors_on_our_tars(bench: Bench) -> Measured:
    """Small samples."""
    return _from_s3(bench, bench.data.our_vectors, Vector, read_vectors)


@row("stream `ordered()` from S3, 224x224x3 uint8 + str", peer=CURL, reach=Reach(ratio=1.5))
def s3_pictures(bench: Bench) -> Measured:
    """Large samples."""
    return _from_s3(bench, bench.data.our_pictures, Picture, read_pictures)


ROWS = (
    http_vectors_on_their_tars,
    http_vectors_on_our_tars,
    http_pictures,
    s3_vectors_on_their_tars,
    s3_vectors_on_our_tars,
    s3_pictures,
)
