"""Blocks in one piece: a CAR of version 1. https://ipld.io/specs/transport/car/carv1/"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import libipld

from atdata_pipelines.sandbox.pds.data_model import Link, encode
from atdata_pipelines.sandbox.pds.tree import TreeBlock


def sections(root: TreeBlock, others: Iterable[TreeBlock] = ()) -> Iterator[bytes]:
    """The parts of a CAR of a root and other blocks, each block once."""
    header = encode({"roots": [Link(libipld.encode_cid(root[0]))], "version": 1})
    yield _length(len(header)) + header
    seen: set[bytes] = set()
    for cid, data in chain([root], others):
        if cid not in seen:
            seen.add(cid)
            yield _length(len(cid) + len(data)) + cid + data


def _length(rest: int) -> bytes:
    """The length of a part, as a varint."""
    varint = bytearray()
    while rest > 0x7F:
        varint.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes(varint) + bytes([rest])
