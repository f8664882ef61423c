"""With ``ATDATA_CACHE_DIR`` a shard is fetched once, for all who read it on this machine, and stays true."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.published_shards import PublishedShards
from atdata_core.atmosphere.record_format.parse import PublishedShard
from atdata_core.errors import RefusedError, ShardChangedError
from atdata_core.stores import shard_cache
from atdata_core.stores.shard_cache import ShardCache
from shard_server import ShardServer


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATDATA_CACHE_DIR", str(tmp_path / "cache"))
    shard_cache._warn.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def dataset(server: ShardServer, tar: Callable[..., bytes], publish: Callable[..., str], measurement: type):
    """Three published shards, opened as anybody does."""
    uri = publish({server.put(f"/{n}.tar", tar(n)): tar(n) for n in range(3)})
    return AtmosphereIndex(AtmosphereClient()).open_dataset(uri, sample_type=measurement)


def numbers(dataset: Any) -> list[int]:
    return [sample.number for sample in dataset]


def test_a_second_epoch_and_a_second_person_fetch_nothing(
    dataset: Any, server: ShardServer, cache: Path, publisher: AtmosphereClient
):
    assert numbers(dataset) == [0, 1, 2]
    assert len(server.gets()) == 3
    assert len(list(cache.iterdir())) == 3
    assert sorted(numbers(dataset.shuffled())) == [0, 1, 2]
    # Over a second: a process of its own.
    program = (
        "from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex; import sys;"
        "print([each.number for each in AtmosphereIndex(AtmosphereClient()).open_dataset(sys.argv[1])])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, AtmosphereIndex(publisher).list_datasets()[0].uri],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "[0, 1, 2]\n", done.stderr
    assert len(server.asked) == 3


def test_without_the_variable_nothing_is_kept_and_only_the_environment_is_looked_at(
    dataset: Any, server: ShardServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for method in ("__init__", "open", "copy"):
        monkeypatch.setattr(ShardCache, method, None)
    assert numbers(dataset) == numbers(dataset) == [0, 1, 2]
    assert len(server.gets()) == 6


def test_what_was_changed_in_the_cache_is_found_out_and_fetched_again(
    dataset: Any, server: ShardServer, cache: Path
):
    numbers(dataset)
    kept = sorted(cache.iterdir())
    before = [path.read_bytes() for path in kept]
    # Somebody writes to it, or cuts it short: it is not even opened.
    kept[0].write_bytes(before[0][:5000])
    assert numbers(dataset) == [0, 1, 2]
    assert len(server.gets()) == 4
    # A disk that loses a bit changes no time.
    times = kept[1].stat()
    damaged = bytearray(before[1])
    damaged[600] ^= 1
    kept[1].write_bytes(damaged)
    os.utime(kept[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ShardChangedError, match=f"What {cache} kept of .* read again: it was removed"):
        numbers(dataset)
    assert numbers(dataset) == [0, 1, 2]
    assert [path.read_bytes() for path in sorted(cache.iterdir())] == before
    assert len(server.gets()) == 5


def test_nothing_is_kept_of_bytes_that_are_not_the_promised_ones_or_were_not_read_to_their_end(
    dataset: Any, server: ShardServer, tar: Callable[..., bytes], cache: Path
):
    data = tar(8, 5_000_000)
    large = PublishedShard(server.put("/large.tar", data), hashlib.sha256(data).hexdigest())
    with PublishedShards([large]).open_shard(large.url) as stream:
        stream.read(10)
    assert list(cache.iterdir()) == []
    server.put("/1.tar", tar(7))
    with pytest.raises(ShardChangedError, match="ask the publisher"):
        numbers(dataset)
    # The one behind it may have come by then, or be on its way.
    kept = {path.name for path in cache.iterdir()}
    assert hashlib.sha256(tar(0)).hexdigest() in kept
    assert kept.isdisjoint(hashlib.sha256(tar(n)).hexdigest() for n in (1, 7))


def test_a_digest_that_is_none_names_no_file(cache: Path, server: ShardServer, tmp_path: Path):
    (tmp_path / "secret").write_bytes(b"secret")
    os.utime(tmp_path / "secret", ns=(0, shard_cache._MTIME))
    cache.mkdir()
    url = server.put("/a.tar", b"public")
    for digest in ("../secret", str(tmp_path / "secret"), "", "a" * 63):
        reader = PublishedShards([PublishedShard(url, digest)], verify=False)
        with reader.open_shard(url) as stream:
            assert stream.read() == b"public"
    assert list(cache.iterdir()) == []


def test_the_shards_that_were_not_read_for_the_longest_time_go_first(tmp_path: Path):
    cache = ShardCache(tmp_path, limit=2500)
    names = [f"{n:064x}" for n in range(4)]

    def keep(name: str, size: int = 1000) -> None:
        copy = cache.copy(name)
        assert copy is not None
        copy.write(b"x" * size)
        copy.keep()
        copy.discard()
        time.sleep(0.002)

    def kept() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir())

    keep(names[0])
    keep(names[1])
    used = cache.open(names[0])
    assert used is not None
    (tmp_path / "README").write_text("none of ours" * 1000)
    (tmp_path / f"{names[3]}.1.part").write_bytes(b"x" * 100)
    (tmp_path / f"{names[3]}.2.part").write_bytes(b"x" * 2000)
    os.utime(tmp_path / f"{names[3]}.2.part", (0, 0))
    keep(names[2])
    assert kept() == [names[0], names[2], f"{names[3]}.1.part", "README"]
    # One that is larger than all may be is read, and not kept.
    keep(names[3], 3000)
    assert kept() == [names[0], names[2], f"{names[3]}.1.part", "README"]
    # Who reads what goes meanwhile reads it to its end.
    keep(names[1], 2300)
    assert kept() == [names[1], f"{names[3]}.1.part", "README"]
    with used:
        assert len(used.read()) == 1000


def test_many_at_once_keep_and_read_the_same_shards(dataset: Any, server: ShardServer, cache: Path):
    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(lambda _: numbers(dataset), range(16))] == [[0, 1, 2]] * 16
    assert len(list(cache.iterdir())) == 3
    before = len(server.asked)
    assert numbers(dataset) == [0, 1, 2]
    assert len(server.asked) == before


def test_a_cache_that_cannot_be_used_costs_a_warning_and_a_limit_that_is_none_is_refused(
    dataset: Any, server: ShardServer, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
    cache.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert numbers(dataset) == numbers(dataset) == [0, 1, 2]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        f"The cache in {cache} keeps nothing (File exists)"
    ]
    monkeypatch.setenv("ATDATA_CACHE_BYTES", "50GB")
    with pytest.raises(RefusedError, match=r"ATDATA_CACHE_BYTES=50GB is no number of bytes\. Use digits"):
        numbers(dataset)
