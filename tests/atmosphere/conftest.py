"""Sample types, clients and shards for the tests of the atmosphere."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.protocols import ShardFacts
from atdata_core.samples.sample_types import packable
from atdata_core.shards.tar_samples import ShardWriter


@packable
class Feature:
    vector: NDArray
    note: str | None
    label: int


@packable
class Everything:
    """One field of each kind, the optional ones in the middle."""

    text: str
    maybe: str | None
    number: int
    ratio: float
    flag: bool
    raw: bytes
    array: NDArray
    typed: NDArray[np.float32]
    names: list[str]
    rows: list[list[float]]
    b: NDArray | None


@pytest.fixture(scope="session")
def feature():
    return Feature


@pytest.fixture(scope="session")
def everything():
    return Everything


@pytest.fixture
def client(environ, pds, account):
    """A client that is logged in."""
    client = AtmosphereClient(pds.url)
    client.login(account.handle, account.password)
    return client


@pytest.fixture
def index(client):
    return AtmosphereIndex(client)


@pytest.fixture
def stranger(environ):
    """An index of somebody who is not logged in."""
    return AtmosphereIndex(AtmosphereClient())


@pytest.fixture(scope="session")
def shard():
    """Make the bytes of a shard of so many samples."""

    def make(count, first=0):
        buffer = io.BytesIO()
        with ShardWriter(buffer) as writer:
            for number in range(first, first + count):
                sample = Feature(np.full(4, number, np.float32), None, number)
                writer.write({**sample.as_wds, "__key__": f"{number:06d}"})
        return buffer.getvalue()

    return make


@pytest.fixture
def upload(s3, bucket):
    """Put an object into the bucket of the test; its URL."""
    from atdata_core.stores.s3.objects import S3Endpoint

    def put(key, data):
        S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key=key, Body=data)
        return f"s3://{bucket}/{key}"

    return put


@pytest.fixture
def facts():
    """Facts of a shard that nobody reads."""

    def make(url="s3://bucket/a.tar", **more):
        return ShardFacts(**{"url": url, "size": 10, "sha256": "ab" * 32, "samples": 3, **more})

    return make
