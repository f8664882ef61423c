"""The files of a tar as samples, read and written; which of them belong together is webdataset's rule."""

from __future__ import annotations

import tarfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import eq
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self, cast

from ..common.urls import displayed
from ..errors import SampleError, ShardCorruptError, ShardWarning
from .tar import AFTER, ANOTHER, BLOCK, MAX_FILE, ZEROS, member_runs

TarSample = dict[str, bytes | str]
"""A sample as it lies in a shard: ``{"__key__": str, suffix: bytes, ...}``."""

PACKED = "msgpack"
"""The suffix of the file that is a sample: ``KEY.msgpack``."""

_SPECIAL = frozenset(("_", ".", ""))
"""First characters of names that may have to be skipped."""

_OWNER = b"0000444\0" + b"0000000\0" * 2
"""Mode, owner and group. The size follows."""
_TIME = b"\x0000000000000\0"
"""The end of the size, and the time of modification: always the same, or the bytes would differ."""
_KIND = (b"0".ljust(101, b"\0") + b"ustar\x0000").ljust(BLOCK - 156, b"\0")
"""A regular file, no link. The checksum stands before it."""
_FIXED_SUM = sum(_OWNER + _TIME + _KIND) + 8 * 0x20
"""Of a header's checksum, what is the same for all files; the checksum itself counts as blanks."""


class Alone(NamedTuple):
    """Samples that are one file each, with the suffix that was asked for; keys and contents are as many."""

    keys: list[str]
    contents: list[bytes]


_MACOS = "of macOS (._*, .DS_Store, __MACOSX)"
_SUFFIXES = 10
"""Suffixes that are told apart: a hostile shard has as many as it likes."""
_LONGEST_NAME = 60
_NAMES = "Write the shard again, each sample with a name before its first dot, outside of such folders."
_DEREFERENCE = "Write the shard again from files of their own (tar --dereference --hard-dereference)."


@dataclass(slots=True)
class Strays:
    """What in a shard is not the ``KEY.msgpack`` of a sample: how many files, and the first one's name.

    A member of a strange kind and bytes behind the archive count as well: no reader gives them, but they are there.

    Attributes:
        count: How many there are.
        first: The name of the first one.
        beside: Whether files beside the ``KEY.msgpack`` of a sample count, or only what belongs to no sample.
        suffixes: How many there are of each suffix, of the first few suffixes.
    """

    count: int = 0
    first: str = ""
    beside: bool = True
    suffixes: dict[str, int] = field(default_factory=dict[str, int], compare=False)

    def add(self, name: str) -> None:
        """Count one more."""
        if not self.count:
            self.first = name
        self.count += 1
        suffix = _suffix_told(name)
        if suffix in self.suffixes or len(self.suffixes) < _SUFFIXES:
            self.suffixes[suffix] = self.suffixes.get(suffix, 0) + 1

    def __str__(self) -> str:
        """Suffixes and how many files have each: ``3 .jpg, 1 .json``."""
        return suffixes_told(self.suffixes, self.count)


def suffixes_told(suffixes: Mapping[str, int], count: int) -> str:
    """Suffixes and how many files have each, of ``count`` files: ``3 .jpg, 1 .json``."""
    told = [f"{number:,} {suffix}" for suffix, number in suffixes.items()]
    others = count - sum(suffixes.values())
    return ", ".join([*told, f"{others:,} others"] if others else told)


def read_samples(stream: BinaryIO, *, url: str, strays: Strays | None = None) -> Iterator[TarSample]:
    """The samples of a tar, grouped as webdataset does it.

    Neighbouring files whose path is the same up to the first dot of the file name are one sample; names
    like ``__meta__`` are skipped, and so are the companions that macOS adds.

    Args:
        stream: As for ``tar.member_runs``.
        url: For errors.
        strays: Counts each file that is no ``KEY.msgpack``, also those that are skipped.

    A warning tells what follows the archive and is none; without ``strays``, another one tells of files whose names
    end as those of samples do but that webdataset skips.

    Yields:
        ``{"__key__": path up to the dot, suffix in lower case: content, ...}``.

    Raises:
        ShardCorruptError: As ``tar.member_runs``; one sample has two files with the same suffix; a file of a sample
            is a link or the like; another archive follows.
    """
    for run in sample_runs(stream, url=url, strays=strays):
        if not isinstance(run, Alone):
            yield from run


def sample_runs(
    stream: BinaryIO, *, url: str, alone: str | None = None, strays: Strays | None = None
) -> Iterator[list[TarSample] | Alone]:
    """As ``read_samples``, some samples at a time.

    Samples that are one file with the suffix ``alone`` come as ``Alone`` where many follow each other: that is what
    a shard of packed samples is, and so they need not be taken apart one by one. What else is asked for, without
    ``strays``, is no file beside them; a warning tells of links among those.
    """
    sample: TarSample = {}
    last = None
    hidden, links = Strays(), Strays()

    def dropped(name: str, what: str) -> None:
        _refuse_lost(url, name, what, alone)
        if name != AFTER:
            links.add(name)
        if strays is not None:
            strays.add(name)

    for names, contents in member_runs(stream, url=url, dropped=dropped, writable=alone is not None):
        keys = _keys(names, alone) if alone else None
        if alone and keys and keys[0] != last:
            if strays is not None and strays.beside and alone != PACKED:
                for name in names:
                    strays.add(name)
            if sample:
                yield [sample]
            yield Alone(keys[:-1], contents[:-1])
            # It may go on in the next run.
            last = keys[-1]
            sample = {"__key__": last, alone: contents[-1]}
            continue
        done: list[TarSample] = []
        for name, data in zip(names, contents, strict=True):
            parts = key_and_suffix(name)
            if strays is not None and (parts is None or (strays.beside and parts[1] != PACKED)):
                strays.add(name)
            if parts is None:
                if name.lower().endswith(f".{PACKED}") and not _is_of_macos(name):
                    hidden.add(name)
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
    if strays is None:
        _warn_of(hidden, url, f"no samples for webdataset, which skips hidden files and __folders__. {_NAMES}")
        _warn_of(links, url, f"links or the like, whose bytes do not lie there. {_DEREFERENCE}")


def _warn_of(files: Strays, url: str, what: str) -> None:
    if files.count:
        warnings.warn(
            f"{displayed(url)}: {files.count:,} of its files, first {files.first[:_LONGEST_NAME]!r}, are {what}",
            ShardWarning,
            stacklevel=3,
        )


def _refuse_lost(url: str, name: str, what: str, wanted: str | None) -> None:
    """Raise where what is not read would have been a file of a sample (one with a suffix that is wanted)."""
    shown = displayed(url)
    if name == AFTER and what != ANOTHER:
        warnings.warn(f"{shown}: what follows its end is {what}, and is not read.", ShardWarning, stacklevel=2)
        return
    if name == AFTER:
        raise ShardCorruptError(
            f"{shown}: its end is followed by {what}. Readers stop at the first end, so its samples would be lost. "
            "Join tars with tar --concatenate, or name each one as a shard of its own.",
            url=shown,
        )
    parts = key_and_suffix(name)
    if parts is not None and wanted in (None, parts[1]):
        raise ShardCorruptError(
            f"{shown}: {name[:_LONGEST_NAME]!r} is {what}, so its bytes do not lie there and no reader gives "
            f"them. {_DEREFERENCE}",
            url=shown,
            key=parts[0],
        )


def key_and_suffix(name: str) -> tuple[str, str] | None:
    """What webdataset takes for the key and the suffix; None for a file that it skips, or that macOS has added."""
    if name[:1] not in _SPECIAL and "/" not in name:
        key, dot, suffix = name.partition(".")
        return (key, suffix.lower()) if dot else None
    first = name.partition("/")[0]
    # __meta__ and the like, also as a folder.
    if len(first) >= 4 and first.startswith("__") and first.endswith("__"):
        return None
    slash = name.rfind("/")
    dot = name.find(".", slash + 1)
    if dot < 0 or _is_of_macos(name):
        return None
    if dot == slash + 1:
        # A hidden file: its folder is the key, where that has no dot itself.
        folder = name[name.rfind("/", 0, max(slash, 0)) + 1 : dot]
        if not folder or "." in folder:
            return None
    return name[:dot], name[dot + 1 :].lower()


def _is_of_macos(name: str) -> bool:
    """Whether a file is one that macOS adds: the attributes of another (AppleDouble), or how a folder looks."""
    *folders, own = name.split("/")
    return own.startswith("._") or own == ".DS_Store" or "__MACOSX" in folders


def _suffix_told(name: str) -> str:
    if _is_of_macos(name):
        return _MACOS
    dot, suffix = name.rpartition("/")[2].partition(".")[1:]
    return f".{suffix[:_LONGEST_NAME]}" if dot else "without a suffix"


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


class ShardWriter:
    """Writes samples as a ustar archive: the same samples give the same bytes.

    Leaving the ``with`` block normally writes the end of the archive. After an error it is left out, so
    that no reader takes the torso for a shard. The stream stays open.

    Attributes:
        samples: Samples written so far.
        files: Files of theirs.
        size: Bytes written so far.
    """

    def __init__(self, stream: BinaryIO, *, first: int = 0) -> None:
        """Start a shard; samples without a key are counted from ``first``."""
        self.samples = 0
        self.files = 0
        self.size = 0
        self._stream = stream
        self._first = first
        self._last_key: str | None = None

    def write(self, sample: Mapping[str, Any]) -> None:
        """Write a sample; one without ``__key__`` is numbered.

        Args:
            sample: ``{"__key__": ..., suffix: bytes or str, ...}``; other names with a leading ``_`` are
                left out, as webdataset does.

        Raises:
            SampleError: A reader would not find the same sample. Nothing of it is written.
        """
        key = str(sample["__key__"]) if "__key__" in sample else f"{self._first + self.samples:09d}"
        self._write(key, sample, [suffix for suffix in sorted(sample) if not suffix.startswith("_")])

    def write_files(self, key: str, files: Mapping[str, Any]) -> None:
        """As ``write``, each file of a sample by its suffix; none is left out."""
        self._write(key, files, sorted(files))

    def _write(self, key: str, files: Mapping[str, Any], suffixes: Sequence[str]) -> None:
        parts: list[bytes] = []
        for suffix in suffixes:
            content = _content(key, suffix, files[suffix])
            parts += (_header(f"{key}.{suffix}", len(content)), content, bytes(-len(content) % BLOCK))
        if not parts or key == self._last_key:
            raise SampleError(
                f"The sample {key!r} {'has the key of the one before it' if parts else 'is empty'}. "
                "Give each sample a key of its own and at least one file.",
                key=key,
            )
        self._put(b"".join(parts))
        self._last_key = key
        self.samples += 1
        self.files += len(suffixes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._put(ZEROS * 2)

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self.size += len(data)


def _content(key: str, suffix: str, value: Any) -> bytes:
    """The bytes of a file that a reader finds again under this key and suffix."""
    if type(value) is not bytes:
        value = _as_bytes(key, suffix, value)
    name = f"{key}.{suffix}"
    if "\0" in name or key_and_suffix(name) != (key, suffix):
        raise SampleError(
            f"A file named {name!r} would not be read back as {suffix!r} of the sample {key!r}. Use a key "
            "without dots in its last part and a suffix in lower case.",
            key=key,
        )
    if len(value) > MAX_FILE:
        raise SampleError(
            f"The sample {key!r} has {len(value):,} bytes in .{suffix}; {MAX_FILE:,} are the most. Split it.",
            key=key,
        )
    return value


def _as_bytes(key: str, suffix: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes | bytearray | memoryview):
        raise SampleError(
            f"The file {suffix!r} of the sample {key!r} is a {type(value).__name__}. Give bytes or a str.",
            key=key,
        )
    return bytes(cast("bytes", value))


def _header(name: str, size: int) -> bytes:
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) > 100 or size >= 8**11:
        member = tarfile.TarInfo(name)
        member.size = size
        member.mode = 0o444
        return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    digits = b"%011o" % size
    checksum = _FIXED_SUM + sum(encoded) + sum(digits)
    return b"".join((encoded.ljust(100, b"\0"), _OWNER, digits, _TIME, b"%06o\0 " % checksum, _KIND))
