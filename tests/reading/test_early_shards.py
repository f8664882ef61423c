"""The shards of a record begin to arrive before their turn, and are held to their digests all the same."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import atdata_core as atdata
from atdata_core.errors import ShardChangedError
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
