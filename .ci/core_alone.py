"""Use atdata-core where nothing else is installed: how large it is, what it does without, a public dataset.

``python core_alone.py AT_URI NAME``, in an environment of its own, which knows where the network's directory is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import sysconfig
import urllib.request
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

MOST = 120_000_000
"""Bytes of what is installed, compiled files with it."""

EACH = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""How often UCI's test set of 1,797 handwritten digits has each of them, from 0 to 9."""

ABSENT = ("dagster", "grpc", "sqlalchemy", "atproto", "webdataset", "atdata_pipelines")


def installed_bytes() -> int:
    """Bytes of all that lies in this environment, but for pip and setuptools, which every environment has."""
    site = Path(sysconfig.get_path("purelib"))
    besides = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
    return sum(
        file.stat().st_size
        for folder in site.iterdir()
        if not folder.name.startswith(besides)
        for file in (folder.rglob("*") if folder.is_dir() else [folder])
        if file.is_file()
    )


def check_digests(entry: Any) -> int:
    """How many shards are held to their digests: each refuses its bytes where the record tells another one."""
    from atdata_core.atmosphere.published_shards import PublishedShards
    from atdata_core.errors import ShardChangedError

    for shard in entry.shards:
        assert shard.sha256
        try:
            with PublishedShards([replace(shard, sha256="0" * 64)]).open_shard(shard.url) as stream:
                stream.read()
        except ShardChangedError:
            continue
        raise AssertionError(f"{shard.url} is not held to its digest")
    return len(entry.shards)


def check_samples(where: str, samples: list[Any]) -> None:
    """They are the digits."""
    labels = [sample.label for sample in samples]
    assert tuple(map(labels.count, range(10))) == EACH, f"{where}: {len(labels)} samples"
    for sample in samples:
        assert sample.image.shape == (8, 8), where
        assert sample.image.dtype == "uint8", where
        assert sample.image.max() <= 16, where


def main() -> None:
    """All checks; an exception where one fails."""
    size = installed_bytes()
    names = sorted(each.name for each in metadata.distributions())
    assert size <= MOST, f"atdata-core takes {size / 1e6:.0f} MB, more than {MOST / 1e6:.0f}: {', '.join(names)}"
    there = [name for name in ABSENT if importlib.util.find_spec(name)]
    assert not there, f"atdata-core brings {', '.join(there)}"

    from atdata.atmosphere import AtmosphereClient, AtmosphereIndex
    from atdata.local import LocalIndex, S3DataStore

    import atdata

    assert LocalIndex, S3DataStore
    entry = AtmosphereIndex(AtmosphereClient()).get_dataset(sys.argv[2])
    for how, where in (("at-uri", sys.argv[1]), ("name", sys.argv[2])):
        read = list(atdata.load_dataset(where))
        check_samples(where, read)
        print(f"by {how}: {len(read)} samples, {check_digests(entry)} digests checked")
    for shard in entry.shards:
        with urllib.request.urlopen(shard.url) as reply:
            assert hashlib.sha256(reply.read()).hexdigest() == shard.sha256
    # A bare tar names no type.
    kind = atdata.load_dataset(sys.argv[2]).sample_type
    by_url = [sample for url in entry.data_urls for sample in atdata.load_dataset(url, sample_type=kind)]
    check_samples("by URL", by_url)
    print(f"by URL: {len(by_url)} samples, {len(entry.shards)} digests compared with the record")
    print(f"atdata-core alone: {size / 1e6:.0f} MB, {len(names)} packages, a public dataset read")


if __name__ == "__main__":
    main()
