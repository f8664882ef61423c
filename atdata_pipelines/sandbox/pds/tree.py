"""The tree over the records of a repository: a Merkle search tree. https://atproto.com/specs/repository

A node never changes: a tree with one more record is another tree that shares all but a few nodes with the first,
so that only those are hashed, and a commit that fails leaves nothing behind.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise

from atdata_pipelines.sandbox.pds.data_model import head

_CID = b"\x01\x71\x12\x20"
_LINK = b"\xd8\x2a\x58\x25\x00"
_NULL = b"\xf6"

TreeBlock = tuple[bytes, bytes]
"""A CID in binary form, and the bytes that have it."""


class Node:
    """Keys of one layer in order, the CIDs of their records, and the trees before, between and after them.

    A tree may be of any lower layer here: the nodes without keys that the format puts in between are made when
    blocks are.
    """

    def __init__(
        self, layer: int, keys: Sequence[bytes], cids: Sequence[bytes], trees: Sequence[Node | None]
    ) -> None:
        self.layer = layer
        self.keys = keys
        self.cids = cids
        self.trees = trees

    @cached_property
    def block(self) -> TreeBlock:
        """The block of this node alone."""
        out = bytearray(b"\xa2\x61e" + head(4, len(self.keys)))
        before = b""
        for key, cid, tree in zip(self.keys, self.cids, self.trees[1:], strict=True):
            shared = _shared(before, key)
            rest = key[shared:]
            out += b"\xa4\x61k" + head(2, len(rest)) + rest + b"\x61p" + head(0, shared)
            out += b"\x61t" + _link(self._below(tree)) + b"\x61v" + _link(cid)
            before = key
        out += b"\x61l" + _link(self._below(self.trees[0]))
        return block_of(bytes(out))

    def way_down(self, tree: Node) -> list[TreeBlock]:
        """The blocks from one of its trees up to just below this node: the tree's own, then those without keys."""
        blocks = [tree.block]
        for _ in range(tree.layer + 1, self.layer):
            blocks.append(block_of(b"\xa2\x61e\x80\x61l" + _link(blocks[-1][0])))
        return blocks

    def _below(self, tree: Node | None) -> bytes | None:
        return None if tree is None else self.way_down(tree)[-1][0]


_EMPTY = Node(0, (), (), (None,))


def build(records: Sequence[tuple[bytes, bytes]]) -> Node | None:
    """The tree over records, given as pairs of key and CID in the order of the keys."""
    return _built([(layer_of(key), key, cid) for key, cid in records])


def root(tree: Node | None) -> bytes:
    """The CID of a tree."""
    return (tree or _EMPTY).block[0]


def put(tree: Node | None, key: bytes, cid: bytes) -> Node:
    """The tree with this record under the key, new or in the place of another one."""
    return _put(tree, layer_of(key), key, cid)


def remove(tree: Node | None, key: bytes) -> Node | None:
    """The tree without a key that is in it."""
    assert tree is not None
    place = bisect_left(tree.keys, key)
    if place < len(tree.keys) and tree.keys[place] == key:
        keys, cids = _without(tree.keys, place), _without(tree.cids, place)
        merged = _merged(tree.trees[place], tree.trees[place + 1])
        return _node(tree.layer, keys, cids, [*tree.trees[:place], merged, *tree.trees[place + 2 :]])
    return _with_tree(tree, place, remove(tree.trees[place], key))


def way_to(tree: Node | None, key: bytes) -> Iterator[TreeBlock]:
    """The blocks that show what is under a key, or that nothing is; the root comes first."""
    node = tree or _EMPTY
    yield node.block
    while True:
        place = bisect_left(node.keys, key)
        below = node.trees[place]
        if below is None or node.keys[place : place + 1] == [key]:
            return
        yield from reversed(node.way_down(below))
        node = below


def ways_around(tree: Node | None, key: bytes) -> Iterator[TreeBlock]:
    """The blocks on both sides of a key, all the way down: from them the tree before a change at the key follows.

    They include every block that such a change made.
    """
    for side in (bisect_left, bisect_right):
        node = tree or _EMPTY
        yield node.block
        while below := node.trees[side(node.keys, key)]:
            yield from reversed(node.way_down(below))
            node = below


def all_blocks(tree: Node | None) -> Iterator[TreeBlock]:
    """The blocks of a whole tree, each before those that it names."""
    node = tree or _EMPTY
    yield node.block
    for below in filter(None, node.trees):
        yield from reversed(node.way_down(below)[1:])
        yield from all_blocks(below)


def layer_of(key: bytes) -> int:
    """How many pairs of zero bits the SHA-256 of a key begins with."""
    return (256 - int.from_bytes(hashlib.sha256(key).digest(), "big").bit_length()) // 2


def block_of(data: bytes) -> TreeBlock:
    """DAG-CBOR bytes with their CID."""
    return _CID + hashlib.sha256(data).digest(), data


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes two keys have in common from the beginning."""
    least = min(len(one), len(other))
    differing = int.from_bytes(one[:least], "big") ^ int.from_bytes(other[:least], "big")
    return least - (differing.bit_length() + 7) // 8


def _link(cid: bytes | None) -> bytes:
    return _NULL if cid is None else _LINK + cid


def _node(layer: int, keys: Sequence[bytes], cids: Sequence[bytes], trees: Sequence[Node | None]) -> Node | None:
    return Node(layer, keys, cids, trees) if keys else trees[0]


def _with_tree(node: Node, place: int, tree: Node | None) -> Node:
    return Node(node.layer, node.keys, node.cids, [*node.trees[:place], tree, *node.trees[place + 1 :]])


def _without(items: Sequence[bytes], place: int) -> list[bytes]:
    return [*items[:place], *items[place + 1 :]]


def _built(records: list[tuple[int, bytes, bytes]]) -> Node | None:
    if not records:
        return None
    top = max(layer for layer, _, _ in records)
    at = [place for place, (layer, _, _) in enumerate(records) if layer == top]
    trees = [_built(records[start + 1 : end]) for start, end in pairwise([-1, *at, len(records)])]
    return Node(top, [records[place][1] for place in at], [records[place][2] for place in at], trees)


def _put(tree: Node | None, layer: int, key: bytes, cid: bytes) -> Node:
    if tree is None or layer > tree.layer:
        return Node(layer, [key], [cid], _split(tree, key))
    place = bisect_left(tree.keys, key)
    if layer < tree.layer:
        return _with_tree(tree, place, _put(tree.trees[place], layer, key, cid))
    if place < len(tree.keys) and tree.keys[place] == key:
        return Node(layer, tree.keys, [*tree.cids[:place], cid, *tree.cids[place + 1 :]], tree.trees)
    return Node(
        layer,
        [*tree.keys[:place], key, *tree.keys[place:]],
        [*tree.cids[:place], cid, *tree.cids[place:]],
        [*tree.trees[:place], *_split(tree.trees[place], key), *tree.trees[place + 1 :]],
    )


def _split(tree: Node | None, key: bytes) -> tuple[Node | None, Node | None]:
    """What of a tree comes before a key that is not in it, and what after."""
    if tree is None:
        return None, None
    place = bisect_left(tree.keys, key)
    left, right = _split(tree.trees[place], key)
    return (
        _node(tree.layer, tree.keys[:place], tree.cids[:place], [*tree.trees[:place], left]),
        _node(tree.layer, tree.keys[place:], tree.cids[place:], [right, *tree.trees[place + 1 :]]),
    )


def _merged(left: Node | None, right: Node | None) -> Node | None:
    """One tree of two, where all keys of the first come before those of the second."""
    if left is None or right is None:
        return left or right
    if left.layer > right.layer:
        return _with_tree(left, len(left.keys), _merged(left.trees[-1], right))
    if left.layer < right.layer:
        return _with_tree(right, 0, _merged(left, right.trees[0]))
    middle = _merged(left.trees[-1], right.trees[0])
    return Node(
        left.layer,
        [*left.keys, *right.keys],
        [*left.cids, *right.cids],
        [*left.trees[:-1], middle, *right.trees[1:]],
    )
