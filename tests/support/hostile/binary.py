"""Hostile bytes: tars, msgpack, arrays."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere.record_format.record_metadata import unpack_metadata
from atdata_core.samples import metadata
from atdata_core.samples.arrays import decode_array, encode_array
from atdata_core.shards.tar_samples import ShardWriter, read_samples
from hostile.mutation import LENGTHS, hurt

MOST = 1 << 20
"""Bytes of the largest input: what is claimed beyond it was never sent."""


@atdata.packable
class Reading:
    """One field of every kind."""

    values: NDArray[np.float32]
    word: str
    count: int
    share: float
    right: bool
    raw: bytes
    rows: list[int]
    deep: list[list[NDArray[np.int8]]]
    facts: dict
    maybe: str | None = None


def reading() -> Reading:
    """A valid one."""
    return Reading(
        np.arange(6, dtype=np.float32), "word", 1, 0.5, True, b"raw", [1, 2], [[np.zeros(2, np.int8)]], {"a": 1}
    )


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote: how input is made, and what is done with it."""

    name: str
    make: Callable[[Random], Any]
    act: Callable[[Any], object]


# -- tars -----------------------------------------------------------------------------------------


def _header(name: str, size: int, kind: bytes, link: str = "", fmt: int = tarfile.GNU_FORMAT) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, link
    return member.tobuf(fmt, "utf-8", "surrogateescape")


def _member(name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return _header(name, len(data), kind) + data + bytes(-len(data) % 512)


def _pax(records: dict[str, str], kind: bytes = b"x") -> bytes:
    body = b""
    for keyword, value in records.items():
        line = f" {keyword}={value}\n".encode()
        length = len(line) + 1
        while length != len(line) + len(str(length)):
            length = len(line) + len(str(length))
        body += str(length).encode() + line
    return _member("pax", body, kind)


def _shard() -> bytes:
    stream = io.BytesIO()
    with ShardWriter(stream) as shard:
        for number in range(3):
            shard.write({"__key__": f"{number:04d}", "msgpack": reading().packed, "cls": b"7"})
    return stream.getvalue()


_SHARD = _shard()
_END = bytes(1024)
_NAMES = (
    "/etc/passwd", "../../../../tmp/evil.msgpack", "..\\..\\evil.txt", "a/../../b.msgpack", "C:\\evil.msgpack",
    "CON", "\u202egnp.exe", "\x1b[2J.msgpack", "a" * 5000 + ".msgpack", "/dev/zero", "__class__.msgpack",
    "__key__.__key__", "x.__key__", ".hidden", "", "/", "0001.msgpack", "0001.MSGPACK", "a.{0..999999999}",
)  # fmt: skip


def tar(rng: Random) -> bytes:
    """A tar that is damaged, or lies."""
    name = rng.choice(_NAMES)
    huge = rng.choice((10_000_000_000, 2**33, 8**11 - 1, 2**62, 2**80))
    packed = reading().packed
    match rng.randrange(12):
        case 0 | 1 | 2 | 3:
            return hurt(_SHARD, rng)
        case 4:
            kind = rng.choice((b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"A", b"D", b"M", b"N", b"V", b"\xff"))
            link = rng.choice(("/etc/passwd", "../../x", "0000.msgpack"))
            return _SHARD[:-1024] + _header("link.msgpack", rng.choice((0, 512)), kind, link) + _SHARD
        case 5:
            return _header(name, huge, tarfile.REGTYPE) + packed
        case 6:
            size = str(rng.choice((huge, -1, "1e9", "\u0661", "9" * 30, "")))
            key = rng.choice(("size", "GNU.sparse.realsize", "GNU.sparse.size", "GNU.sparse.map"))
            return _pax({key: size, "path": name}, rng.choice((b"x", b"g", b"X"))) + _member("a.cls", b"1") + _END
        case 7:
            return _sparse(rng, huge)
        case 8:
            return _header("long", huge, rng.choice((b"x", b"g", b"L", b"K"))) + bytes(2048)
        case 9:
            count = rng.choice((1, 50, 900))
            return b"".join(_pax({f"k{at}": "v" * 900}, rng.choice((b"x", b"g"))) for at in range(count)) + _END
        case 10:
            return _member(name, packed) * rng.choice((1, 2)) + _END
        case _:
            return rng.randbytes(rng.choice((0, 1, 511, 512, 513, 4096))) + rng.choice((b"", _END))


def _sparse(rng: Random, huge: int) -> bytes:
    if rng.random() < 0.5:
        # PAX 1.0: the map stands before the data.
        real = rng.choice((huge, 1 << 27, 1 << 24, 100))
        facts = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(real)}
        rows = rng.choice((b"1\n0\n1\n", b"1\n%d\n1\n" % huge, b"99999999\n", b"-1\n", b"2\n5\n5\n0\n9\n", b"x\n"))
        return _pax({**facts, "GNU.sparse.name": "a.msgpack"}) + _member("s", rows.ljust(512, b"\0") + b"d") + _END
    block = bytearray(_header("old.msgpack", 512, b"S"))
    for at in range(rng.choice((1, 4))):
        rows = f"{rng.choice((0, 512, huge)) % 8**11:011o}\0{rng.choice((1, 512, huge)) % 8**11:011o}\0"
        block[386 + 24 * at : 410 + 24 * at] = rows.encode()
    block[482] = rng.choice((0, 1))
    block[483:495] = f"{rng.choice((huge, 1 << 27, 1 << 24, 600)) % 8**11:011o}\0".encode()
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block) + bytes(rng.choice((0, 512, 1024))) + _END


def read_tar(data: bytes) -> None:
    """Every sample, and what is in it."""
    for sample in read_samples(io.BytesIO(data), url="s3://bucket/shard.tar"):
        packed = sample.get("msgpack")
        if isinstance(packed, bytes):
            Reading.from_bytes(packed)


# -- msgpack --------------------------------------------------------------------------------------


def pack(rng: Random) -> bytes:
    """A msgpack bomb, or a valid sample that was damaged."""
    claimed = rng.choice(LENGTHS) % 2**32
    depth = rng.choice((10, 400, 600, 1100, 5000, 100_000))
    match rng.randrange(8):
        case 0 | 1:
            return hurt(reading().packed, rng)
        case 2:
            kind = rng.choice((b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"))
            return b"\x81\xa4word" + kind + claimed.to_bytes(4, "big") + rng.randbytes(20)
        case 3:
            return (
                b"\x81\xa5facts" + rng.choice((b"\x91", b"\x81\xa1a", b"\x81\xc0", b"\x81\x01")) * depth + b"\xc0"
            )
        case 4:
            size = rng.choice((1000, 16_000, 100_000, MOST) if rng.random() < 0.05 else (1000, 4000))
            return (b"\xdd" + size.to_bytes(4, "big")) * min(depth, 1000, size // 5) + b"\xc0" * size
        case 5:
            inner = msgpack.ExtType(rng.randrange(-1 % 127), rng.randbytes(rng.choice((0, 4, 8, 12, 16))))
            return msgpack.packb({"word": inner, "count": msgpack.ExtType(5, b"x")})
        case 6:
            kinds: tuple[Any, ...] = (None, True, 2**64 - 1, -(2**63), 1e308, float("nan"), "x", b"x", [], {}, [[]])
            names = (
                "values",
                "word",
                "count",
                "share",
                "right",
                "raw",
                "rows",
                "deep",
                "facts",
                "maybe",
                "__class__",
            )
            return msgpack.packb({rng.choice(names): rng.choice(kinds) for _ in range(rng.randrange(12))})
        case _:
            return rng.choice((b"\xd7\xff", b"\xd6\xff", b"\xc7\x0c\xff", b"\xc1", b"")) + rng.randbytes(12)


def read_pack(data: bytes) -> None:
    """As a sample, and as metadata of an index and of a record."""
    import base64

    from atdata_core.errors import AtdataError
    from atdata_core.local.entry import StoredEntry

    field = {"$bytes": base64.b64encode(data).decode().rstrip("=")}
    for read in (
        lambda: metadata.unpack(data),
        lambda: unpack_metadata(field),
        lambda: _stored(StoredEntry, data),
        lambda: Reading.from_bytes(data),
    ):
        try:
            read()
        except AtdataError as error:
            str(error)


def _stored(kind: Any, data: bytes) -> None:
    with suppress(ValueError):  # what it documents; the index leaves the entry out with a warning
        kind.from_hash({"schema_ref": b"x", "data_urls": data, "metadata": data}).entry("name", "cid")


# -- arrays ---------------------------------------------------------------------------------------

_ARRAYS = tuple(
    encode_array(array)
    for array in (
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.asfortranarray(np.ones((2, 3), ">i8")),
        np.array(["a", "bc"]),
        np.zeros(2, [("a", "<i4"), ("b", "<f8", (2,))]),
        np.array(7, np.uint8),
        np.array(["2020-01-01"], "M8[D]"),
    )
)
_COMPACT = b"\x03<f4\x01" + struct.pack("<q", 2) + bytes(8)
_SHAPES = (
    "(1000000000000,)", "(4294967296, 4294967296)", "(-1,)", "(9223372036854775807, 9223372036854775807, 4)",
    "(0, 9223372036854775807)", "(True,)", "(1.5,)", "[3]", "3", "('3',)", "(" + "1," * 70 + ")",
    "(" + "9" * 4400 + ",)", "(" + ("9" * 4000 + ",") * 4 + ")", "(0, " + "9" * 4000 + ")", "(" * 3000,
)  # fmt: skip
_DTYPES = (
    "'|O'", "'O'", "'<f4'", "'V2147483648'", "'V99999999999'", "'S0'", "'U0'", "[('a', 'O')]",
    "[('a', '|O', (2,))]",
    "[('a', '<f4'), ('a', '<f4')]", "[('" + "x" * 5000 + "', '<f4')]", "[]", "('<f4', (100000, 100000))",
    "('<f4', (2,))", "'T'", "'StringDType'", "__import__('os').system('touch /tmp/evil')", "'M8[99999999999s]'",
    "'f4,' * 9", "[('a', [('b', [('c', 'O')])])]", "{'names': ['a'], 'formats': ['O']}", "'c16'", "'b1,,i4'",
    "'e\u0301'",
    "[" + "('f', '<f4')," * 3000 + "]", "(" + "'<f4'," * 3000 + ")", "-" * 3000 + "1", "None", "1", "'object'",
    "'a'",
)  # fmt: skip


def array(rng: Random) -> bytes:
    """An array whose header is damaged, or lies."""
    match rng.randrange(6):
        case 0 | 1:
            return hurt(rng.choice(_ARRAYS), rng)
        case 2:
            return hurt(_COMPACT, rng)
        case 3:
            dtype = rng.choice(
                (b"|O", b"O8", b"V" + b"9" * 18, b"(99999,99999)f4", b"f4," * 60, b"object", b"c8,O", b"T")
            )
            shape = [rng.choice((0, 1, 2, 2**31, 2**62, 2**63 - 1, -1)) for _ in range(rng.randrange(8))]
            return (
                bytes((len(dtype),))
                + dtype
                + bytes((len(shape),))
                + struct.pack(f"<{len(shape)}q", *shape)
                + bytes(16)
            )
        case _:
            order = rng.choice(("True", "False", "1", "None"))
            text = f"{{'descr': {rng.choice(_DTYPES)}, 'fortran_order': {order}, 'shape': {rng.choice(_SHAPES)}}}"
            text = rng.choice((text, text, text + " " * rng.choice((64_000, 500_000)), "[" * 9000, "[1," * 90_000))
            raw, version = text.encode(), rng.choice((1, 2, 3))
            length = rng.choice((len(raw), len(raw), len(raw), 2**32 - 1, 0))
            width = 2 if version == 1 else 4
            head = b"\x93NUMPY" + bytes((version, 0)) + (length % 256**width).to_bytes(width, "little")
            return head + raw + bytes(rng.choice((0, 8, 64)))


TARGETS = (
    Target("tars", tar, read_tar),
    Target("msgpack", pack, read_pack),
    Target("arrays", array, decode_array),
)
