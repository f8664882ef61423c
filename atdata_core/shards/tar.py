"""Tar archives, read as a stream; ``tar_samples`` says which of the files are a sample.

Shards are nearly always plain files one after the other. Their headers are walked in a tight loop and checked all
at once, for what a few calls of numpy say of hundreds of headers costs a fraction of a look at each; any other
member is looked at by itself. Headers are those of POSIX.1-2017 (ustar and pax interchange formats) and of GNU tar.
"""

from __future__ import annotations

import tarfile
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import compress
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..common.urls import displayed
from ..errors import ShardCorruptError

BLOCK = 512
"""Bytes of a header; a content is padded with zeros to a multiple of it."""
_FILE, _PAX, _NEWLINE = b"0x\n"
_HARMLESS = frozenset({b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment"})
"""Pax records that change neither path, size, link nor sparseness. Any other one needs a closer look."""

_OCTAL = 8 ** np.arange(5, -1, -1)
ZEROS = bytes(BLOCK)
"""Two such blocks end an archive."""
_CHUNK = 1 << 20
# Local shards are read as all others, not mapped. A file that is cut while it is mapped ends the process, and
# reading is nearly as fast: the kernel copies once, into memory that is used again and again.
_LARGE = 1 << 16
"""Bytes from which on a file is read for itself: its content is then what the stream gave, not a copy."""
_AT_ONCE = 1 << 26
"""Bytes up to which the memory of a file is allocated before it has arrived (64 MiB)."""
_MOST_ZEROS = 1 << 26
"""Zeros that may follow an archive (64 MiB): writers fill a record of some KiB, and a device has no end of them."""
AFTER = "(what follows the end of the archive)"
"""The name by which that is told."""
ANOTHER = "another archive (cat a.tar b.tar)"
_SPECIAL_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"M": "the rest of a file that another volume begins",
}
_NO_TARS = (
    (b"version https://git-lfs.github.com/", "it is a git-lfs pointer, not the file; git lfs pull fetches that"),
    (b"annex/objects/", "it is a git-annex pointer, not the file; git annex get fetches that"),
    (b"git/annex/objects/", "it is a git-annex pointer, not the file; git annex get fetches that"),
    (b"<!doctype html", "it is no tar but an HTML page: whoever sent it answered with an error or a login"),
    (b"<html", "it is no tar but an HTML page: whoever sent it answered with an error or a login"),
    (b"<?xml", "it is no tar but XML: whoever sent it answered with an error"),
    (b"<error", "it is no tar but XML: whoever sent it answered with an error"),
    (b"<", "it is no tar but HTML or XML: whoever sent it answered with an error or a login"),
    (b"{", "it is no tar but JSON: whoever sent it answered with an error"),
    (b"[", "it is no tar but JSON: whoever sent it answered with an error"),
    (b"\x1f\x8b", "it is compressed; decompress it first"),
    (b"bzh", "it is compressed; decompress it first"),
    (b"\xfd7zxz\0", "it is compressed; decompress it first"),
    (b"(\xb5/\xfd", "it is compressed; decompress it first"),
    (b'\4"m\x18', "it is compressed; decompress it first"),
    (b"pk\3\4", "it is a zip, no tar"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive, no tar"),
)
"""How files begin, in lower case, that are often found where a tar should be."""
_TEXT = "it is no tar but text: whoever sent it answered with an error, or it is another file"
_FIRST_RUN = 64
"""Headers that are walked the first time; so many members are looked at one by one after a run that was short."""
_SHORT_RUN = 16
_LONGEST_NAME = 200
"""Characters of a name that an error tells: a hostile one has as many as it likes."""
_REGULAR = b"\x0007"
MAX_FILE = 1 << 30
"""Bytes of a file in a shard (1 GiB): it is read into memory, and a hostile server may send what it claims."""

_SPARSE_LIMIT = 1 << 25
"""A sparse member claims zeros that nobody sent; so many bytes (32 MiB) it may become."""
_EXTENDED_LIMIT = 1 << 20
"""Bytes of extended headers that are kept for one member, and of those for all members (1 MiB each)."""


def member_runs(
    stream: BinaryIO, *, url: str, dropped: Callable[[str, str], None] | None = None, writable: bool = False
) -> Iterator[tuple[list[str], list[bytes]]]:
    """The regular files of an uncompressed tar, in order: runs of plain ones, in between any others one by one.

    What follows the end of the archive is read and dropped, so that a stream that checks a digest sees every byte.

    Args:
        stream: Read forward only, to its end.
        url: For errors.
        dropped: Told the name of each link and device, of each other member that has a content and is no file, and
            of what follows the archive, where that is more than zeros; and what it is, in words.
        writable: The content of a large file is a ``memoryview`` of memory that nobody else has and that can be
            written to, where that takes no copy more.

    Yields:
        Their names, and their contents. Where there are several, no name has a zero in it. Nothing is allocated for
        a size that is claimed but not sent.

    Raises:
        ShardCorruptError: The tar is cut short (also between two members), damaged, or no tar.
    """
    source = _Source(stream, url)
    shared: dict[str, str] = {}
    extended: dict[str, str] = {}
    raw: list[bytes] = []
    pending = general = 0
    most, closely = _FIRST_RUN, 0
    while True:
        if not raw and not shared and not closely:
            run = plain_files(source.window, source.place, most)
            source.skip(run.end)
            if run.names:
                yield run.names, run.contents
            # Where plain members are few, looking for runs of them must cost little.
            most = max(_FIRST_RUN if run.cut else most, 4 * len(run.names))
            closely = _FIRST_RUN if run.cut and len(run.names) < _SHORT_RUN else 1
        at = source.offset
        block = source.exactly(BLOCK)
        if block == ZEROS:
            break
        header = _parse_header(block, url, at)
        raw.append(block)
        if header.kind in b"xXgLK":
            pending += header.size
            general += header.size if header.kind == b"g" else 0
            if max(pending, general) > _EXTENDED_LIMIT:
                raise _corrupt(url, at, "its extended headers are larger than 1 MiB")
            body = source.body(header.size, header.name)
            raw.append(body + bytes(-len(body) % BLOCK))
            if header.kind == b"L":
                extended.setdefault("path", _text(body))
            elif header.kind in b"xX":
                # Of several before one member the first counts, as in ``tarfile``.
                extended = _pax_records(body, url, at) | extended
            elif header.kind == b"g":
                shared.update(_pax_records(body, url, at))
            continue
        facts = shared | extended if shared or extended else {}
        size = _pax_size(facts["size"], url, at) if "size" in facts else header.size
        if header.kind == b"S" or (facts and any(key.startswith("GNU.sparse.") for key in facts)):
            name, content = _sparse_member(source, raw, header, size, at)
            yield [name], [content]
        else:
            # Before ustar a directory was a file whose name ends so; links and the like have no content.
            folder = header.kind == b"\0" and header.name.endswith("/")
            name = facts.get("path", header.name)
            body = source.body(0 if folder or header.kind in b"123456" else size, name, writable=writable)
            if header.kind in _REGULAR and not folder:
                yield [name], [body]
            elif dropped is not None and (body or (header.kind in b"12346" and not folder)):
                dropped(
                    name, _SPECIAL_KINDS.get(header.kind, f"of a kind that is no file ({_text(header.kind)!r})")
                )
        extended = {}
        raw = []
        pending = 0
        closely -= 1
    if extended or raw:
        raise _corrupt(url, at, "an extended header belongs to no member")
    if source.exactly(BLOCK) != ZEROS:
        raise _corrupt(url, at, "its end mark is damaged: one block of zeros, then data")
    behind = source.drain()
    if behind and dropped is not None:
        dropped(AFTER, ANOTHER if len(behind) == BLOCK and _is_header(behind) else "no archive")


class _Header(NamedTuple):
    name: str
    size: int
    kind: bytes
    block: bytes


class _Source:
    """A stream of which exactly so many bytes can be asked.

    Attributes:
        window: What was read and may not all be used yet.
        place: Where in it the next byte is.
        offset: Which byte of the archive that is.
    """

    def __init__(self, stream: BinaryIO, url: str) -> None:
        self.window = b""
        self.place = 0
        self.offset = 0
        self.url = url
        self._read = stream.read
        self._read_into: Callable[[memoryview], int] = getattr(stream, "readinto", self._copied_into)
        self._ahead = True

    def skip(self, place: int) -> None:
        """Go on at a later place of the window."""
        self.offset += place - self.place
        self.place = place

    def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        end = self.place + count
        if end <= len(self.window):
            data = self.window[self.place : end]
            self.place = end
        else:
            data = self._gather(count)
        self.offset += count
        return data

    def body(self, size: int, name: str, *, writable: bool = False) -> bytes:
        """The next ``size`` bytes; their padding to whole blocks is passed over."""
        if size > MAX_FILE:
            raise _corrupt(
                self.url,
                self.offset,
                f"the file {name[:_LONGEST_NAME]!r} in it claims {size:,} bytes, {MAX_FILE:,} are the most (1 GiB: "
                "it is read into memory whole); split it into smaller samples",
            )
        self._ahead = size < _LARGE
        if writable and _LARGE <= size <= _AT_ONCE:
            data = cast("bytes", self._into_memory(size))
        else:
            data = self.exactly(size)
        self.exactly(-size % BLOCK)
        return data

    def _into_memory(self, size: int) -> memoryview:
        """The next ``size`` bytes in memory that nobody else has and that can be written to."""
        # Not zeroed as a bytearray is, and not touched before something arrives: the size may be a lie.
        memory = memoryview(cast("Any", np.empty(size, np.uint8)))
        at = min(size, len(self.window) - self.place)
        memory[:at] = memoryview(self.window)[self.place : self.place + at]
        self.place += at
        while at < size:
            count = self._read_into(memory[at:])
            if not count:
                raise _corrupt(self.url, self.offset + at, "it is cut short")
            at += count
        self.offset += size
        return memory

    def _copied_into(self, memory: memoryview) -> int:
        chunk = self._read(min(_CHUNK, len(memory)))
        memory[: len(chunk)] = chunk
        return len(chunk)

    def drain(self) -> bytes:
        """Read to the end; up to a block of what is there, from the first byte on that is not zero."""
        rest = self.window[self.place :]
        found, zeros = rest.lstrip(b"\0")[:BLOCK], len(rest)
        while chunk := self._read(_CHUNK):
            if len(found) < BLOCK:
                found = (found + chunk).lstrip(b"\0")[:BLOCK]
            zeros += len(chunk)
            if not found and zeros > _MOST_ZEROS:
                raise _corrupt(self.url, self.offset, f"more than {_MOST_ZEROS:,} zeros follow its end")
        return found

    def _gather(self, count: int) -> bytes:
        parts = [self.window[self.place :]] if self.place < len(self.window) else []
        missing = count - sum(map(len, parts))
        self.window, self.place = b"", 0
        while missing > 0:
            # Never ask for more than a chunk: the size may be a lie.
            chunk = self._read(_CHUNK if self._ahead or missing > _CHUNK else missing)
            if not chunk:
                raise _corrupt(self.url, self.offset + count - missing, self._why_short(parts))
            if len(chunk) > missing:
                self.window, self.place = chunk, missing
                chunk = chunk[:missing]
            parts.append(chunk)
            missing -= len(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _why_short(self, parts: list[bytes]) -> str:
        if self.offset:
            return "it is cut short"
        last = b"".join(parts)
        return _what_else(last, f"it is cut short or no tar: it has {len(last)} bytes") if last else "it is empty"


def _parse_header(block: bytes, url: str, at: int) -> _Header:
    size = _size(block) if _is_header(block) else -1
    if size < 0:
        raise _corrupt(url, at, "its header is damaged" if at else _what_else(block, "it is no tar"))
    name = _text(block[:100])
    # GNU's older format keeps other things where POSIX has the prefix.
    if block[257:263] == b"ustar\0" and block[345]:
        name = f"{_text(block[345:500])}/{name}"
    return _Header(name, size, block[156:157], block)


def _is_header(block: bytes) -> bool:
    """Whether a block has the checksum that it tells: the sum of all bytes, with blanks where it stands itself."""
    try:
        return _number(block[148:156]) == sum(block) - sum(block[148:156]) + 8 * 0x20
    except ValueError:
        return False


def _size(header: bytes) -> int:
    try:
        return _number(header[124:136])
    except ValueError:
        return -1


def _number(digits: bytes) -> int:
    """A numeric field: octal, or GNU's base 256 with the first bit set."""
    if digits[0] & 0x80:
        negative = digits[0] & 0x40
        value = int.from_bytes(bytes([digits[0] & 0x7F]) + digits[1:], "big")
        return -1 if negative else value
    return int(digits.split(b"\0", 1)[0].strip() or b"0", 8)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax_records(body: bytes, url: str, at: int) -> dict[str, str]:
    """``"%d %s=%s\\n" % (length of the record, keyword, value)``, one after the other."""
    records: dict[str, str] = {}
    start = 0
    while start < len(body) and body[start]:
        blank = body.find(b" ", start, start + 20)
        digits = body[start:blank] if blank > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        record = body[blank + 1 : start + length]
        keyword, equals, value = record[:-1].partition(b"=")
        if start + length > len(body) or not equals or record[-1:] != b"\n":
            raise _corrupt(url, at, "its pax header is damaged")
        # Some writers end the path of a directory with a slash.
        text = value.rstrip(b"/") if keyword == b"path" else value
        records[keyword.decode("utf-8", "surrogateescape")] = text.decode("utf-8", "surrogateescape")
        start += length
    return records


def _pax_size(value: str, url: str, at: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise _corrupt(url, at, "its pax header is damaged")
    return int(value)


def _sparse_member(source: _Source, raw: list[bytes], header: _Header, size: int, at: int) -> tuple[str, bytes]:
    """A file with holes, by way of ``tarfile``: rare, and its maps have four formats."""
    block, flag = header.block, 482
    while header.kind == b"S" and block[flag]:
        block, flag = source.exactly(BLOCK), 504
        raw.append(block)
        if len(raw) > _EXTENDED_LIMIT // BLOCK:
            raise _corrupt(source.url, at, "the map of a sparse file in it is larger than 1 MiB")
    body = source.body(size, header.name)
    raw.append(body + bytes(-size % BLOCK))
    try:
        with tarfile.open(fileobj=BytesIO(b"".join(raw) + ZEROS * 2), mode="r:") as archive:
            member = archive.next()
            content = archive.extractfile(member) if member and member.size <= _SPARSE_LIMIT else None
            if member and content:
                return member.name, content.read()
    except (tarfile.TarError, ValueError, IndexError, OSError):
        pass
    raise _corrupt(source.url, at, "a sparse file in it is damaged or grows beyond 32 MiB")


def _what_else(beginning: bytes, unknown: str) -> str:
    """What a file is that begins so and is no tar; ``unknown`` where that cannot be told."""
    if beginning[:2] in (BOM_UTF16_LE, BOM_UTF16_BE):
        beginning = beginning.decode("utf-16", "replace").encode()
    # Git keeps a symbolic link as its target, which goes up first: ../.git/annex/objects/...
    text = beginning.removeprefix(BOM_UTF8).lstrip().lower().lstrip(b"./")
    known = next((what for start, what in _NO_TARS if text.startswith(start)), None)
    return known or (_TEXT if _is_text(text) else unknown)


def _is_text(beginning: bytes) -> bool:
    try:
        # Incrementally: a character may be cut at the end.
        words = getincrementaldecoder("utf-8")().decode(beginning).split()
    except UnicodeDecodeError:
        return False
    return bool(words) and "".join(words).isprintable()


def _corrupt(url: str, offset: int, what: str) -> ShardCorruptError:
    return ShardCorruptError(
        f"{displayed(url)} cannot be read at byte {offset}: {what}. Fetch or write the shard again.",
        url=displayed(url),
        offset=offset,
    )


class Run(NamedTuple):
    """What ``plain_files`` found.

    Attributes:
        names: Of the files.
        contents: As many.
        end: Where in the window the first member begins that is not among them.
        cut: That member needs a closer look; else it is not whole in the window, or was one too many.
    """

    names: list[str]
    contents: list[bytes]
    end: int
    cut: bool


def plain_files(window: bytes, at: int, most: int) -> Run:
    """The files, from a place in a tar on, that need no closer look.

    Their names have up to 100 bytes and stand in their headers; they come alone, or behind pax records that
    change nothing here. Their checksums are right. ``most`` headers are looked at.
    """
    places, sizes, end = _walked(window, at, most)
    if not places:
        return Run([], [], at, cut=False)
    blocks = np.frombuffer(window, np.uint8, (len(window) - at) // BLOCK * BLOCK, at).reshape(-1, BLOCK)
    headers = blocks[(np.array(places) - at) // BLOCK]
    pax, file = headers[:, 156] == _PAX, headers[:, 156] == _FILE
    # With a prefix, a name has two parts.
    good = (pax | file) & (headers[:, 345] == 0) & _checksums_hold(headers)
    # What follows a pax header is what it is about.
    good[:-1] &= file[1:] | file[:-1]
    count = len(places) if good.all() else int(good.argmin())
    beginnings: dict[int, bytes] = {}
    for each in np.flatnonzero(pax[:count]).tolist():
        start = places[each] + BLOCK
        if not _harmless(window[start : start + sizes[each]], beginnings):
            count = each
            break
    chosen = file[:count]
    names, whole = _names(headers[:count][chosen])
    if not whole:
        count = int(np.flatnonzero(chosen)[len(names)])
    cut = count < len(places)
    if count and pax[count - 1]:
        count -= 1
    if count < len(places):
        end = places[count]
    kept = file[:count].tolist()
    contents = [
        window[place + BLOCK : place + BLOCK + size]
        for place, size in zip(compress(places, kept), compress(sizes, kept), strict=True)
    ]
    return Run(names, contents, end, cut)


def _walked(window: bytes, at: int, most: int) -> tuple[list[int], list[int], int]:
    """Where headers begin and the sizes they tell, as if all were plain files; and where the last one ends.

    Goes as far as members are whole. Nothing is checked yet: what is no header leads to a wrong place, where its
    checksum will not hold.
    """
    places: list[int] = []
    sizes: list[int] = []
    spans, limit = _Spans(), len(window)
    while len(places) < most:
        size, span = spans[window[at + 124 : at + 136]]
        if at + span > limit:
            break
        places.append(at)
        sizes.append(size)
        at += span
    return places, sizes, at


class _Spans(dict[bytes, tuple[int, int]]):
    """A size as a header has it -> size of the file, and of the whole member. Sizes repeat."""

    def __missing__(self, field: bytes) -> tuple[int, int]:
        # GNU's other form of numbers, the zeros at the end of an archive, or the end of the window.
        found = 0, 1 << 62
        if len(field) == 12 and field[:11].isdigit() and field[11] in b"\0 " and not field.strip(b"01234567\0 "):
            size = int(field[:11], 8)
            found = size, BLOCK + size + -size % BLOCK
        self[field] = found
        return found


def _checksums_hold(headers: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each header, one in a row, has the sum that it tells, as six digits and a zero.

    Blanks are put in its place, as the sum wants them.
    """
    told = headers[:, 148:154].copy()
    octal: NDArray[np.bool_] = (told & 0xF8 == 0x30).all(axis=1) & (headers[:, 154] == 0)
    headers[:, 148:156] = 0x20
    # 32 bits hold the sum of 512 bytes, and are added up in half the time that 64 take.
    return octal & ((told & 7) @ _OCTAL == headers.sum(axis=1, dtype=np.uint32))


def _names(headers: NDArray[np.uint8]) -> tuple[list[str], bool]:
    """Names up to the first one that has anything behind the zero at its end; and whether there is none such."""
    raw: list[bytes] = headers[:, :100].copy().view("S100").ravel().tolist()
    # All in one go: no name has a zero in it, and no byte before a zero changes what one behind it means.
    names = b"\0".join(raw).decode("utf-8", "surrogateescape").split("\0") if raw else []
    if len(names) == len(raw):
        return names, True
    good = next(place for place, name in enumerate(raw) if b"\0" in name)
    return names[:good], False


def _harmless(records: bytes, beginnings: dict[int, bytes]) -> bool:
    """Whether pax records are well formed and change nothing; ``beginnings`` are of single ones, by size."""
    size = len(records)
    known = beginnings.get(size)
    # Its own length and keyword are all there is to one record; only its value differs from member to member.
    if known and records.startswith(known) and records[-1] == _NEWLINE:
        return True
    at = 0
    while at < size:
        blank = records.find(b" ", at, at + 20)
        digits = records[at:blank] if blank > at else b""
        length = int(digits) if digits.isdigit() else 0
        equals = records.find(b"=", blank, at + length)
        if equals < 0 or at + length > size or records[at + length - 1] != _NEWLINE:
            return False
        if records[blank + 1 : equals] not in _HARMLESS:
            return False
        if length == size:
            beginnings[size] = records[: equals + 1]
        at += length
    return True
