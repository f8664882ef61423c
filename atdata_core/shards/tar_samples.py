"""The files of a tar as samples; which of them belong together is webdataset's rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import eq
from typing import BinaryIO, NamedTuple

from ..common.urls import displayed
from ..errors import ShardCorruptError
from .tar import member_runs

Record = dict[str, bytes | str]
"""A sample as it lies in a shard: ``{"__key__": str, suffix: bytes, ...}``."""

PACKED = "msgpack"
"""The suffix of the file that is a sample: ``KEY.msgpack``."""

_SPECIAL = frozenset(("_", ".", ""))
"""First characters of names that may have to be skipped."""


class Alone(NamedTuple):
    """Samples that are one file each, with the suffix that was asked for; keys and contents are as many."""

    keys: list[str]
    contents: list[bytes]


@dataclass(slots=True)
class Strays:
    """What in a shard is not the ``KEY.msgpack`` of a sample: how many files, and the first one's name.

    A member of a strange kind and bytes behind the archive count as well: no reader gives them, but they are there.
    """

    count: int = 0
    first: str = ""

    def add(self, name: str) -> None:
        """Count one more."""
        if not self.count:
            self.first = name
        self.count += 1


def read_samples(stream: BinaryIO, *, url: str, strays: Strays | None = None) -> Iterator[Record]:
    """The samples of a tar, grouped as webdataset does it.

    Neighbouring files whose path is the same up to the first dot of the file name are one sample; names
    like ``__meta__`` are skipped.

    Args:
        stream: As for ``tar.read_members``.
        url: For errors.
        strays: Counts each file that is no ``KEY.msgpack``, also those that are skipped.

    Yields:
        ``{"__key__": path up to the dot, suffix in lower case: content, ...}``.

    Raises:
        ShardCorruptError: As ``tar.read_members``; or one sample has two files with the same suffix.
    """
    for run in sample_runs(stream, url=url, strays=strays):
        if not isinstance(run, Alone):
            yield from run


def sample_runs(
    stream: BinaryIO, *, url: str, alone: str | None = None, strays: Strays | None = None
) -> Iterator[list[Record] | Alone]:
    """As ``read_samples``, some samples at a time.

    Args:
        stream: As there.
        url: As there.
        alone: A suffix. Samples that are one file with it come as ``Alone`` where many follow each other: that is
            what a shard of packed samples is, and so they need not be taken apart one by one.
    """
    sample: Record = {}
    last = None
    for names, contents in member_runs(stream, url=url, dropped=None if strays is None else strays.add):
        keys = _keys(names, alone) if alone else None
        if alone and keys and keys[0] != last:
            if strays is not None and alone != PACKED:
                for name in names:
                    strays.add(name)
            if sample:
                yield [sample]
            yield Alone(keys[:-1], contents[:-1])
            # It may go on in the next run.
            last = keys[-1]
            sample = {"__key__": last, alone: contents[-1]}
            continue
        done: list[Record] = []
        for name, data in zip(names, contents, strict=True):
            parts = key_and_suffix(name)
            if strays is not None and (parts is None or parts[1] != PACKED):
                strays.add(name)
            if parts is None:
                continue
            key, suffix = parts
            if key != last:
                if sample:
                    done.append(sample)
                sample = {"__key__": key}
                last = key
            if suffix in sample:
                yield done
                raise ShardCorruptError(
                    f"{displayed(url)}: the sample {key!r} has two files {suffix!r}. Write the shard again, each "
                    "sample with a key of its own.",
                    url=displayed(url),
                    key=key,
                )
            sample[suffix] = data
        yield done
    if sample:
        yield [sample]


def key_and_suffix(name: str) -> tuple[str, str] | None:
    """What webdataset takes for the key and the suffix; None for a file that it skips."""
    if name[:1] not in _SPECIAL and "/" not in name:
        key, dot, suffix = name.partition(".")
        return (key, suffix.lower()) if dot else None
    first = name.partition("/")[0]
    # __meta__ and the like, also as a folder.
    if len(first) >= 4 and first.startswith("__") and first.endswith("__"):
        return None
    slash = name.rfind("/")
    dot = name.find(".", slash + 1)
    if dot < 0:
        return None
    if dot == slash + 1:
        # A hidden file: its folder is the key, where that has no dot itself.
        folder = name[name.rfind("/", 0, max(slash, 0)) + 1 : dot]
        if not folder or "." in folder:
            return None
    return name[:dot], name[dot + 1 :].lower()


def _keys(names: Sequence[str], suffix: str) -> list[str] | None:
    """The keys of files that are a sample each, all called ``KEY.suffix``; None where that is not certain."""
    if len(names) < 2:
        return None
    # No name has a zero in it, so that a few looks at all of them tell as much as one at each.
    ending, joined = f".{suffix}\0", "\0".join(names) + "\0"
    plain = joined.count(".") == joined.count(ending) == len(names) and "/" not in joined
    if not plain or joined[0] in _SPECIAL or "\0_" in joined or "\0." in joined:
        return None
    keys = joined.split(ending)
    keys.pop()
    return None if any(map(eq, keys, keys[1:])) else keys
