"""Is a record in the repository that its account signed? What a PDS shows is not taken on trust.

``com.atproto.sync.getRecord`` gives a CAR with the signed commit, the nodes of its tree (an MST) that lead to
the record, and the record: https://atproto.com/specs/repository. Blocks are compared with their own bytes written
anew by ``cid.dag_cbor``, because libipld gives a link and a byte string alike.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import libipld

from atdata_core.common.cid import DAG_CBOR_SHA256, dag_cbor
from atdata_core.errors import ProofError

MAX_BYTES = 1 << 23
"""Bytes of a proof (8 MiB): a record has at most one, the nodes that lead to it a few thousand each."""
MAX_BLOCKS = 1024
_CID = 36
_SIGNATURE = 64
_LONGEST_VARINT = 4


def check(car: bytes, *, did: str, key: str, path: str, cid: str) -> None:
    """Make sure that a proof holds.

    Args:
        car: What ``com.atproto.sync.getRecord`` gave.
        did: Whose repository it is of.
        key: The key that signs it, as a ``did:key``; from the DID document.
        path: Collection and key of the record, with a slash between them.
        cid: Of the record.

    Raises:
        ProofError: It does not; the message says what is wrong.
    """
    root, blocks = _read(car)
    tree = _tree_of(_block(blocks, root), did, key)
    found = _look_up(blocks, tree, path.encode())
    if found is None:
        raise _wrong("the signed tree has no record there")
    if _text(found) != cid:
        raise _wrong(f"the signed tree has another record there, {_text(found)} in place of {cid}")
    _block(blocks, found)


def _wrong(what: str) -> ProofError:
    return ProofError(f"The proof of the record does not hold: {what}. Ask the publisher.")


# -- blocks ---------------------------------------------------------------------------------------


def _read(car: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The CID of the commit, and the blocks by their CIDs, which are those of their bytes."""
    if len(car) > MAX_BYTES:
        raise _wrong(f"it is larger than {MAX_BYTES:,} bytes")
    sections = _sections(car)
    header = _decoded(next(sections, b""))
    roots: Any = header.get("roots")
    if header.get("version") != 1 or not isinstance(roots, list) or not roots:
        raise _wrong("it is no CAR of version 1 with a root")
    blocks: dict[bytes, bytes] = {}
    for section in sections:
        cid, data = section[:_CID], section[_CID:]
        if not _is_cid(cid) or hashlib.sha256(data).digest() != cid[len(DAG_CBOR_SHA256) :]:
            raise _wrong("a block of it is not what its CID says")
        blocks[cid] = data
        if len(blocks) > MAX_BLOCKS:
            raise _wrong(f"it has more than {MAX_BLOCKS:,} blocks")
    return cast("list[Any]", roots)[0], blocks


def _sections(car: bytes) -> Iterator[bytes]:
    """The parts of a CAR, each behind its length as a varint."""
    at = 0
    while at < len(car):
        length = shift = 0
        while True:
            byte = car[at] if at < len(car) and shift < 7 * _LONGEST_VARINT else None
            if byte is None:
                raise _wrong("it is no whole CAR")
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        if length > len(car) - at:
            raise _wrong("it is no whole CAR")
        yield car[at : at + length]
        at += length


def _block(blocks: dict[bytes, bytes], cid: Any) -> bytes:
    if not _is_cid(cid):
        raise _wrong("it names something that is no CID of a block")
    if cid not in blocks:
        raise _wrong(f"the block {_text(cid)} is missing")
    return blocks[cid]


def _decoded(block: bytes) -> dict[str, Any]:
    try:
        value: Any = libipld.decode_dag_cbor(block)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _wrong("a part of it is no map in DAG-CBOR")
    return cast("dict[str, Any]", value)


def _is_cid(raw: Any) -> bool:
    return isinstance(raw, bytes) and len(raw) == _CID and raw.startswith(DAG_CBOR_SHA256)


def _text(cid: bytes) -> str:
    return libipld.encode_cid(cid)


def _link(cid: bytes | None) -> dict[str, str] | None:
    return None if cid is None else {"$link": _text(cid)}


def _is(block: bytes, value: dict[str, Any]) -> bool:
    """Whether a block holds this, written in the one way that DAG-CBOR allows."""
    try:
        return dag_cbor(value) == block
    except (ValueError, RecursionError):
        return False


# -- the commit -----------------------------------------------------------------------------------


def _tree_of(block: bytes, did: str, key: str) -> bytes:
    """The CID of the tree that a commit is over, once its signature is found right."""
    from atproto_crypto.verify import verify_signature  # pyright: ignore[reportMissingTypeStubs]

    commit = _decoded(block)
    if commit.get("did") != did:
        raise _wrong(f"the commit is one of {commit.get('did')}, not of {did}")
    if commit.get("version") != 3:
        raise _wrong(f"the commit has the version {commit.get('version')}, not 3")
    tree, previous = commit.get("data"), commit.get("prev")
    if not _is_cid(tree) or not (previous is None or _is_cid(previous)):
        raise _wrong("the commit names no tree")
    signature = commit.pop("sig", None)
    linked = {name: _link(commit[name]) for name in ("data", "prev") if name in commit}
    unsigned = {**commit, **linked}
    if not isinstance(signature, bytes) or not _is(block, {**unsigned, "sig": signature}):
        raise _wrong("the commit is not signed, or not written as DAG-CBOR is")
    if len(signature) != _SIGNATURE or not verify_signature(key, dag_cbor(unsigned), signature):
        raise _wrong(f"the commit is not signed with the key that the DID document of {did} names")
    return cast(bytes, tree)


# -- the tree -------------------------------------------------------------------------------------


class _Node(NamedTuple):
    """Keys in order, the record of each, and the subtrees before, between and after them."""

    keys: list[bytes]
    records: list[bytes]
    subtrees: list[bytes | None]


def _look_up(blocks: dict[bytes, bytes], root: bytes, path: bytes) -> bytes | None:
    """The CID of the record under a path; None where there is none.

    Each node on the way is where the keys in it say, so that no other tree can have the same records.
    """
    node = _node(_block(blocks, root))
    if not node.keys and node.subtrees != [None]:
        raise _wrong("the root of the tree has no key")
    layer = _layer(node.keys[0]) if node.keys else 0
    low, high = b"", b"\xff"
    while True:
        if any(_layer(key) != layer for key in node.keys) or any(not low < key < high for key in node.keys):
            raise _wrong("a key of the tree is in a wrong place")
        place = bisect_left(node.keys, path)
        if node.keys[place : place + 1] == [path]:
            return node.records[place]
        below = node.subtrees[place]
        if below is None:
            return None
        low = node.keys[place - 1] if place else low
        high = node.keys[place] if place < len(node.keys) else high
        layer -= 1
        node = _node(_block(blocks, below))
        if layer < 0 or (not node.keys and node.subtrees == [None]):
            raise _wrong("the tree has a node that should not be there")


def _node(block: bytes) -> _Node:
    value = _decoded(block)
    first, entries = value.get("l"), value.get("e")
    node = _Node([], [], [first])
    written: list[dict[str, Any]] = []
    key = b""
    for entry in cast("list[Any]", entries) if isinstance(entries, list) else []:
        fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        shared, rest, record, after = (fields.get(name) for name in ("p", "k", "v", "t"))
        if type(shared) is not int or not isinstance(rest, bytes) or not 0 <= shared <= len(key):
            raise _wrong("a node of the tree is malformed")
        before, key = key, key[:shared] + rest
        # What a key shares with the one before it is all left out.
        if key <= before or key[: shared + 1] == before[: shared + 1] or not _is_cid(record):
            raise _wrong("a node of the tree is malformed")
        node.keys.append(key)
        node.records.append(cast(bytes, record))
        node.subtrees.append(cast("bytes | None", after))
        written.append({"k": rest, "p": shared, "t": after, "v": _link(cast(bytes, record))})
    if any(not (subtree is None or _is_cid(subtree)) for subtree in node.subtrees):
        raise _wrong("a node of the tree is malformed")
    for fields, subtree in zip(written, node.subtrees[1:], strict=True):
        fields["t"] = _link(subtree)
    if not _is(block, {"e": written, "l": _link(node.subtrees[0])}):
        raise _wrong("a node of the tree is malformed")
    return node


def _layer(key: bytes) -> int:
    """How many pairs of zero bits the SHA-256 of a key begins with."""
    digest = hashlib.sha256(key).digest()
    return (256 - int.from_bytes(digest, "big").bit_length()) // 2
