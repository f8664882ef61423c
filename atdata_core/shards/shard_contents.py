"""Reading a shard once, to know what it holds."""

from __future__ import annotations

import hashlib
from typing import BinaryIO, cast

from ..common.urls import displayed
from ..errors import StrayFilesError
from ..protocols import ShardFacts
from .dataset import typed_sample
from .tar_samples import PACKED, Strays, read_samples

_LONGEST_NAME = 200


def read_facts(url: str, stream: BinaryIO, sample_type: type | None = None) -> ShardFacts:
    """Read a shard to its end: size, digests, and the number of samples.

    Raises:
        ShardCorruptError: It is no whole tar.
        SampleError: One of its samples is not of ``sample_type``, or holds a pickled array.
        StrayFilesError: A ``sample_type`` is given, and not every file is a sample.
    """
    digesting = _Digesting(stream)
    samples = 0
    strays = Strays()
    for record in read_samples(cast(BinaryIO, digesting), url=url, strays=strays):
        # What is no sample is counted to the end.
        if sample_type is not None and PACKED in record:
            typed_sample(record, url, sample_type)
        samples += 1
    if sample_type is not None and strays.count:
        raise _refusal(url, strays)
    return ShardFacts(url, digesting.size, digesting.sha256.hexdigest(), digesting.md5.hexdigest(), samples)


def _refusal(url: str, strays: Strays) -> StrayFilesError:
    shown, first = displayed(url), strays.first[:_LONGEST_NAME]
    files = "1 file that is no sample" if strays.count == 1 else f"{strays.count:,} files that are no samples"
    return StrayFilesError(
        f"{shown} holds {files}, first {first!r}: it would be published with them. In a shard each file is a "
        "KEY.msgpack, a sample of the schema. Write the dataset again with Repo.insert(), which keeps only "
        "samples; or take the files out of the tar, and insert the dataset again.",
        url=shown,
        count=strays.count,
        first=first,
    )


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
