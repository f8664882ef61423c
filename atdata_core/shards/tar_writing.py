"""Shards, written byte for byte the same each time, as ``tar`` reads them."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from ..errors import SampleError
from .tar import BLOCK, MAX_FILE, ZEROS
from .tar_samples import key_and_suffix

_OWNER = b"0000444\0" + b"0000000\0" * 2
"""Mode, owner and group. The size follows."""
_TIME = b"\x0000000000000\0"
"""The end of the size, and the time of modification: always the same, or the bytes would differ."""
_KIND = (b"0".ljust(101, b"\0") + b"ustar\x0000").ljust(BLOCK - 156, b"\0")
"""A regular file, no link. The checksum stands before it."""
_FIXED_SUM = sum(_OWNER + _TIME + _KIND) + 8 * 0x20
"""Of a header's checksum, what is the same for all files; the checksum itself counts as blanks."""


class ShardWriter:
    """Writes samples as a ustar archive: the same samples give the same bytes.

    Leaving the ``with`` block normally writes the end of the archive. After an error it is left out, so
    that no reader takes the torso for a shard. The stream stays open.

    Attributes:
        samples: Samples written so far.
        size: Bytes written so far.
    """

    def __init__(self, stream: BinaryIO, *, first: int = 0) -> None:
        """Start a shard.

        Args:
            stream: Where to write.
            first: Number from which samples without a key are counted.
        """
        self.samples = 0
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
        parts: list[bytes] = []
        for suffix in sorted(sample):
            if not suffix.startswith("_"):
                content = _content(key, suffix, sample[suffix])
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
