"""Shards in a bucket that are to be copied, with what an inventory knows of them."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import redis

from atdata_core.common.cid import entry_cid
from atdata_core.local import LocalIndex, S3DataStore
from atdata_core.local.entry import LocalDatasetEntry
from atdata_core.promotion.stages.copy_stage import CopiedShards, copy_shards
from atdata_core.protocols import ShardFacts
from atdata_core.state.facts import Inventory
from atdata_core.state.ledger import Ledger
from benchmarks.frame import NotInstalled
from benchmarks.services import Services

MIB = 1 << 20
_REF = "local://schemas/lab.Shard@1.0.0"
_ZEROS = "zeros"

_numbers = itertools.count()


class Lab(NamedTuple):
    """Shards in a bucket of the S3 server with these credentials. It can go to another process."""

    s3: dict[str, str]
    bucket: str
    shards: tuple[ShardFacts, ...]
    redis_url: str

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size for shard in self.shards)

    def copied_into(self, store: S3DataStore, ledger: Ledger) -> CopiedShards:
        """The stage ``copied_shards``, as a promotion runs it."""
        own = S3DataStore(self.s3, bucket=self.bucket)
        urls = [shard.url for shard in self.shards]
        entry = LocalDatasetEntry("benchmark", _REF, urls, data_store=own)
        looks = ("read",) * len(urls)
        inventory = Inventory(entry.name, entry_cid(_REF, urls), _REF, {}, self.shards, looks)
        with redis.Redis.from_url(self.redis_url) as client:
            return copy_shards(entry, inventory, LocalIndex(client), ledger, data_store=store)


def random_lab(services: Services, count: int, size: int) -> Lab:
    """So many shards of so many random bytes each, in the sandbox."""
    box, bucket, facts = services.box, services.new_bucket(services.box), []
    for number in range(count):
        content, name = os.urandom(size), _name(number)
        services.s3(box).put_object(Bucket=bucket, Key=name, Body=content)
        facts.append(_facts(box.s3, bucket, name, size, hashlib.sha256(content), hashlib.md5(content)))
    return Lab(box.s3, bucket, tuple(facts), box.redis_url)


def empty_lab(services: Services, folder: Path, count: int, size: int) -> Lab:
    """Shards of zeros, which take no room: files that are one hole, in a sandbox that is started for them.

    Raises:
        NotInstalled: There is no room for copies of them, which have no holes.
    """
    needed = 3 * count * size
    if shutil.disk_usage(folder).free < needed:
        raise NotInstalled(f"{needed / 1e9:.0f} GB of free disk space are needed")
    here = folder / f"lab-{next(_numbers)}"
    # Before the server starts: it takes notice only of what is written through it.
    (here / "s3" / _ZEROS).mkdir(parents=True)
    sha256, md5 = hashlib.sha256(), hashlib.md5()
    for _ in range(size // MIB):
        sha256.update(bytes(MIB))
        md5.update(bytes(MIB))
    for number in range(count):
        with (here / "s3" / _ZEROS / _name(number)).open("wb") as file:
            file.truncate(size)
    box = services.started(here)
    facts = tuple(_facts(box.s3, _ZEROS, _name(number), size, sha256, md5) for number in range(count))
    return Lab(box.s3, _ZEROS, facts, box.redis_url)


def store_in(s3: dict[str, str], bucket: str) -> S3DataStore:
    """A store in a bucket, below another prefix each time."""
    return S3DataStore(s3, bucket=bucket, prefix=f"copies-{next(_numbers)}")


def _name(number: int) -> str:
    return f"data-{number:03d}.tar"


def _facts(s3: dict[str, str], bucket: str, name: str, size: int, sha256: Any, md5: Any) -> ShardFacts:
    return ShardFacts(
        f"s3://{bucket}/{name}",
        size,
        sha256.hexdigest(),
        md5=md5.hexdigest(),
        samples=1,
        etag=md5.hexdigest(),  # what rclone gives, also for an object of several parts
        endpoint=s3["AWS_ENDPOINT"],
    )
