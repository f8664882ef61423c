"""Datasets that can be promoted: few small shards that anybody can read, in very many combinations."""

from __future__ import annotations

import io
import itertools
import os
from typing import NamedTuple

import numpy as np

from atdata_core import Dataset
from atdata_core.local import LocalIndex
from atdata_core.shards.tar_samples import ShardWriter
from benchmarks.frame import Bench
from benchmarks.samples import Vector
from benchmarks.watching import redis_url

SHARDS = 65
"""Each dataset has two of them, in an order: so 4,160 have data of their own."""


class Lab(NamedTuple):
    """An index of its own, and the shards."""

    index: LocalIndex
    pairs: list[list[str]]

    def register(self, prefix: str, first: int, count: int) -> list[str]:
        """Put datasets into the index; their names. ``first`` tells which data they have."""
        names = [f"{prefix}-{number:04d}" for number in range(count)]
        for name, urls in zip(names, self.pairs[first : first + count], strict=True):
            self.index.add_entry(Dataset[Vector](urls), name=name)
        return names


def lab(bench: Bench) -> Lab:
    """The lab, made once."""

    def make() -> Lab:
        index, box = bench.services.new_index(0), bench.services.box
        bucket = bench.services.new_bucket(box)
        index.publish_schema(Vector)
        urls: list[str] = []
        for number in range(SHARDS):
            file, key = io.BytesIO(), f"data-{number:03d}.tar"
            with ShardWriter(file) as sink:
                sample = Vector(vec=np.full(128, number, np.float32), label=number)
                sink.write({"__key__": "0", "msgpack": sample.packed})
            bench.services.s3(box).put_object(Bucket=bucket, Key=key, Body=file.getvalue())
            urls.append(f"{box.public_url}/{bucket}/{key}")
        return Lab(index, [list(pair) for pair in itertools.permutations(urls, 2)])

    return bench.once("a lab with shards", make)


def use_account(bench: Bench) -> str:
    """Let programs that are started from now on publish as a new account of the PDS; which PDS that is."""
    pds = bench.services.pds
    account = pds.account()
    os.environ |= {
        "ATDATA_REDIS_URL": redis_url(lab(bench).index),
        "ATDATA_PDS_URL": pds.url,
        "ATDATA_PLC_URL": pds.plc_url,
        "ATDATA_HANDLE": account.handle,
        "ATDATA_APP_PASSWORD": account.password,
    }
    return pds.title
