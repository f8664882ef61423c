"""The shards of a record begin to arrive before their turn, and are held to their digests all the same."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import atdata_core as atdata
from atdata_core.errors import ShardChangedError
from atdata_core.local import S3DataStore
from atdata_core.stores.s3.objects import S3Endpoint
from benchmarks.delays import Service, far
from shard_server import ShardServer


@pytest.mark.parametrize("size", [20_000, 3_000_000])
@pytest.mark.parametrize("verify", [True, False])
def test_the_next_one_arrives_while_one_is_read(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], size: int, verify: bool
):
    shards = {server.put(f"/{n}.tar", tar(n, size)): tar(n, size) for n in range(3)}
    samples = iter(atdata.load_dataset(publish(shards), verify=verify).ordered())
    assert next(samples).number == 0
    for _ in range(100):
        if server.sent["/1.tar"] == len(server.files["/1.tar"].data):
            break
        time.sleep(0.01)
    assert server.sent["/1.tar"] == len(server.files["/1.tar"].data)
    assert [sample.number for sample in samples] == [1, 2]
    assert len(server.gets()) == 3


def test_other_bytes_are_told_at_the_turn_of_their_shard(
    server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str]
):
    uri = publish({server.put(f"/{n}.tar", tar(n)): tar(n) for n in range(3)})
    server.put("/2.tar", tar(7))
    samples = iter(atdata.load_dataset(uri).ordered())
    assert [next(samples).number for _ in range(2)] == [0, 1]
    with pytest.raises(ShardChangedError, match=r"2\.tar does not hold the bytes"):
        list(samples)


@pytest.mark.parametrize("size", [20_000, 3_000_000])
def test_sixteen_workers_have_two_connections_each(
    s3: dict[str, str],
    bucket: str,
    tar: Callable[..., bytes],
    measurement: type,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
):
    for n in range(16):
        S3Endpoint.from_credentials(s3).client.put_object(Bucket=bucket, Key=f"{n}.tar", Body=tar(n, size))
    monkeypatch.setenv("WORKER", "5")
    monkeypatch.setenv("NUM_WORKERS", "16")
    with far(Service(s3["AWS_ENDPOINT"], 0.01)) as proxies:
        store = S3DataStore({**s3, "AWS_ENDPOINT": proxies.urls[0]}, bucket=bucket)
        # Sixteen workers have as many shards each as there are.
        urls = [f"s3://{bucket}/{n // 16}.tar" for n in range(256)]
        samples = atdata.Dataset[measurement](urls, data_store=store).ordered()
        assert [sample.number for sample in samples] == list(range(16))
        assert proxies.connections() == [2]
