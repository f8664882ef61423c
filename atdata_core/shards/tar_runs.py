"""Runs of plain files in a tar: their headers walked in a tight loop, and checked all at once.

``tar`` reads any archive, one member at a time. Shards are nearly always plain files one after the other, and
what a few calls of numpy say of hundreds of headers costs a fraction of a look at each.
"""

from __future__ import annotations

from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 512
"""Bytes of a header; a content is padded with zeros to a multiple of it."""
_FILE, _PAX, _NEWLINE = b"0x\n"
_HARMLESS = frozenset({b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment"})
"""Pax records that change neither path, size, link nor sparseness. Any other one is for ``tar`` to look at."""

_OCTAL = 8 ** np.arange(5, -1, -1)


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
    change nothing here. Their checksums are right.

    Args:
        window: A part of the archive.
        at: Where in it a header begins.
        most: Headers to look at.
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
    harmless = _Harmless()
    for each in np.flatnonzero(pax[:count]).tolist():
        start = places[each] + BLOCK
        if not harmless.are(window[start : start + sizes[each]]):
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


class _Harmless:
    """Tells pax records that change nothing."""

    def __init__(self) -> None:
        self._beginnings: dict[int, bytes] = {}

    def are(self, records: bytes) -> bool:
        """Whether they are well formed and all of them harmless."""
        size = len(records)
        known = self._beginnings.get(size)
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
                self._beginnings[size] = records[: equals + 1]
            at += length
        return True
