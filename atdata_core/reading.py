"""Reading a shard once, to know what it holds."""

from __future__ import annotations

import hashlib
from typing import BinaryIO, cast

from .dataset import typed_sample
from .protocols import ShardFacts
from .tar_samples import read_samples


def read_facts(url: str, stream: BinaryIO, sample_type: type | None = None) -> ShardFacts:
    """Read a shard to its end: size, digests, and the number of samples.

    Raises:
        ShardCorruptError: It is no whole tar.
        SampleError: One of its samples is not of ``sample_type``, or holds a pickled array.
    """
    digesting = _Digesting(stream)
    samples = 0
    for record in read_samples(cast(BinaryIO, digesting), url=url):
        if sample_type is not None:
            typed_sample(record, url, sample_type)
        samples += 1
    return ShardFacts(url, digesting.size, digesting.sha256.hexdigest(), digesting.md5.hexdigest(), samples)


class _Digesting:
    """A stream that counts and digests what passes through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        self.md5.update(data)
        self.size += len(data)
        return data
