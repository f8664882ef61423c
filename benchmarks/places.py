"""Where this process stands: beside Redis, S3 and the PDS, or far away from them."""

from __future__ import annotations

import io
import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import urlsplit

import numpy as np
import redis

from atdata_core import Dataset
from atdata_core.atmosphere import AtmosphereClient
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.promote import promote_to_atmosphere
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.state.index_state import state_of
from benchmarks import counting
from benchmarks.delays import Far, Service, far
from benchmarks.frame import Bench
from benchmarks.samples import Picture
from benchmarks.services import Pds, Services

S3_SECONDS, PDS_SECONDS, REDIS_SECONDS = 0.04, 0.08, 0.002
"""Round trips to services that are far away."""
RATE = 100e6
"""Bytes a second of a link that is bounded."""
_SAMPLE = 1_000_000
"""Bytes of a sample, at most."""

_numbers = itertools.count()


class Shards(NamedTuple):
    """Shards in a bucket of the sandbox, with so many samples and bytes in all of them."""

    bucket: str
    keys: list[str]
    samples: int
    size: int

    @property
    def urls(self) -> list[str]:
        """Where they lie in S3."""
        return [f"s3://{self.bucket}/{key}" for key in self.keys]


def shards(services: Services, count: int, size: int) -> Shards:
    """So many new shards with that many random bytes of samples each, in a bucket of their own."""
    bucket, client = services.new_bucket(services.box), services.s3(services.box)
    keys = [f"data-{next(_numbers):06d}.tar" for _ in range(count)]
    parts = [min(_SAMPLE, size - start) for start in range(0, size, _SAMPLE)]

    def upload(key: str) -> int:
        content = _shard(key, parts)
        client.put_object(Bucket=bucket, Key=key, Body=content)
        return len(content)

    with ThreadPoolExecutor(8) as pool:
        return Shards(bucket, keys, count * len(parts), sum(pool.map(upload, keys)))


def _shard(name: str, parts: Sequence[int]) -> bytes:
    file = io.BytesIO()
    with ShardWriter(file) as sink:
        for number, size in enumerate(parts):
            sample = Picture(image=np.frombuffer(os.urandom(size), np.uint8), caption=name)
            sink.write({"__key__": f"{number:06d}", "msgpack": sample.packed})
    return file.getvalue()


class Spent(NamedTuple):
    """What something took: seconds, requests to each service, and round trips to Redis."""

    seconds: float
    pds: int
    s3: int
    public: int
    redis: int


class Place:
    """The sandbox and a PDS from some place, with an account and an index there; one dataset is published.

    Attributes:
        s3: Credentials of S3, which name where it is from here.
        public_url: Where anybody reads it.
        client: Logged in, with a connection.
        index: It has the schema of the samples.
    """

    def __init__(self, services: Services, pds: Pds, urls: Sequence[str], database: int) -> None:
        """``urls``: of S3, its public copy, the PDS and Redis."""
        s3, self.public_url, self._pds_url, redis_url = urls
        self.s3 = {**services.box.s3, "AWS_ENDPOINT": s3}
        redis_url = f"{redis_url.rpartition('/')[0]}/{database}"
        self._environ = {
            "ATDATA_S3_ENDPOINT": s3,
            "ATDATA_PDS_URL": self._pds_url,
            "ATDATA_REDIS_URL": redis_url,
            # No others: a login would take the PDS to be where its DID document says that it is.
            "ATDATA_ALLOW_PRIVATE": ",".join(urlsplit(url).netloc for url in urls[:3]),
        }
        self._beside = services.new_index(database)
        self._beside.publish_schema(Picture)
        account = pds.account()
        with self.stood_at():
            self.client: AtmosphereClient = pds._replace(url=self._pds_url).login(account)
            self.index = LocalIndex(redis.Redis.from_url(redis_url))
            promote_to_atmosphere(self.insert(shards(services, 1, 500).urls), self.index, self.client)

    @contextmanager
    def stood_at(self, *others: str) -> Iterator[None]:
        """The environment of a process here. ``others``: URLs that may be private ones as well."""
        allowed = [self._environ["ATDATA_ALLOW_PRIVATE"], *(urlsplit(url).netloc for url in others)]
        environ = {**self._environ, "ATDATA_ALLOW_PRIVATE": ",".join(allowed)}
        with patch.dict(os.environ, environ), warnings.catch_warnings():
            # That not everybody reads these shards is known.
            warnings.simplefilter("ignore")
            yield

    def insert(self, urls: Sequence[str]) -> Any:
        """A new dataset of some shards."""
        return self._beside.insert_dataset(Dataset[Picture](list(urls)), name=f"dataset-{next(_numbers)}")

    def look_at(self, entry: Any) -> None:
        """Have the digests of a dataset claimed and trusted, as those of one that ``Repo.insert`` has written."""
        with self.stood_at():
            take_inventory(entry, self.index, state_of(self.index).ledger, did=self.client.did)

    def public_store(self, bucket: str) -> S3DataStore:
        """A bucket as a destination that anybody reads."""
        return S3DataStore(self.s3, bucket=bucket, public_url=f"{self.public_url}/{bucket}")

    def spent(self, run: Callable[[], Any]) -> Spent:
        """Run something here, and tell what it took."""
        with self.stood_at(), counting.requests() as sent, counting.round_trips() as trips:
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
        pds, s3, public = (
            sent[urlsplit(url).netloc] for url in (self._pds_url, self.s3["AWS_ENDPOINT"], self.public_url)
        )
        return Spent(seconds, pds, s3, public, trips.total)


def afar(bench: Bench) -> Place:
    """Far away from S3, the PDS and Redis."""

    def make() -> Place:
        services = bench.services
        box, pds = services.box, services.pds
        proxies = services.open(
            far(
                Service(box.s3["AWS_ENDPOINT"], S3_SECONDS),
                Service(services.public_s3, S3_SECONDS),
                Service(pds.url, PDS_SECONDS),
                Service(box.redis_url, REDIS_SECONDS),
            )
        )
        return Place(services, pds, proxies.urls, 14)

    return bench.once("a place afar", make)


def beside(bench: Bench) -> Place:
    """Beside all services of the sandbox, its PDS among them."""

    def make() -> Place:
        box = bench.services.box
        urls = (box.s3["AWS_ENDPOINT"], bench.services.public_s3, box.pds_url, box.redis_url)
        return Place(bench.services, bench.services.sandbox_pds, urls, 15)

    return bench.once("a place beside", make)


def bounded(bench: Bench) -> Far:
    """S3 far away behind links of ``RATE``: the server for reading, the public one, and two to copy."""

    def make() -> Far:
        services = bench.services
        urls = (
            services.reading_s3,
            services.box.public_url,
            services.box.s3["AWS_ENDPOINT"],
            services.other_box.s3["AWS_ENDPOINT"],
        )
        return services.open(far(*(Service(url, S3_SECONDS, RATE) for url in urls)))

    return bench.once("bounded links", make)
