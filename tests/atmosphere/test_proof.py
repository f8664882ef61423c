"""Proofs that an account signed, and others that somebody made up."""

from __future__ import annotations

import hashlib

import libipld
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from atdata_core.atmosphere import proof
from atdata_core.atmosphere.identity import _signing_key
from atdata_core.errors import ProofError
from atdata_pipelines.sandbox.pds import tree
from atdata_pipelines.sandbox.pds.data_model import Link, encode

DID = "did:plc:abcdefghijklmnopqrstuvwx"
CURVES = {"p256": (ec.SECP256R1(), b"\x80\x24"), "k256": (ec.SECP256K1(), b"\xe7\x01")}
ORDERS = {
    "p256": 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
    "k256": 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141,
}
LOOKS_LIKE_A_CID = b"\x01\x71\x12\x20" + bytes(32)
RECORDS = {
    f"a.b.c/k{number}".encode(): tree.block_of(encode({"n": number, "raw": LOOKS_LIKE_A_CID}))
    for number in range(60)
}
PATH = b"a.b.c/k7"


LAYER = tree.layer_of(PATH)


def higher(layers: int, first: str = "A") -> bytes:
    """A path of no record here, before all others, and so many layers above ``PATH``."""
    paths = (f"{first}.b.c/x{number}".encode() for number in range(10_000))
    return next(path for path in paths if tree.layer_of(path) == LAYER + layers)


class Key:
    """A key of an account."""

    def __init__(self, kind: str = "p256") -> None:
        self.kind = kind
        curve, prefix = CURVES[kind]
        self._private = ec.generate_private_key(curve)
        self.point = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        self.multikey = libipld.encode_multibase("z", prefix + self.point)
        self.did_key = f"did:key:{self.multikey}"

    def sign(self, data: bytes, *, high: bool = False) -> bytes:
        r, s = decode_dss_signature(self._private.sign(data, ec.ECDSA(SHA256())))
        other = ORDERS[self.kind] - s
        s = max(s, other) if high else min(s, other)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


KEY = Key()


def link(cid: bytes) -> Link:
    return Link(libipld.encode_cid(cid))


def section(data: bytes) -> bytes:
    length = len(data)
    return (bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])) + data


def car(*blocks: tuple[bytes, bytes]) -> bytes:
    header = encode({"roots": [link(blocks[0][0])], "version": 1})
    return section(header) + b"".join(section(cid + data) for cid, data in blocks)


def commit(root: bytes, *, key: Key = KEY, sign=None, **changes: object) -> tuple[bytes, bytes]:
    unsigned = {"did": DID, "version": 3, "data": link(root), "rev": "3jqfcqzm3fo2j", "prev": None} | changes
    return tree.block_of(encode({**unsigned, "sig": (sign or key.sign)(encode(unsigned))}))


def whole(path: bytes = PATH, records=RECORDS, **more: object) -> bytes:
    """A true proof of a record, but for what is to be changed in its commit."""
    grown = tree.build(sorted((at, cid) for at, (cid, _) in records.items()))
    return car(commit(tree.root(grown), **more), *tree.way_to(grown, path), records[PATH])


def node(*entries: dict[str, object], first: Link | None = None, **more: object) -> tuple[bytes, bytes]:
    return tree.block_of(encode({"e": list(entries), "l": first, **more}))


def entry(key: bytes = PATH, *, shared: int = 0, after: Link | None = None, cid=None) -> dict[str, object]:
    return {"k": key, "p": shared, "t": after, "v": cid or link(RECORDS[PATH][0])}


def proven(data: bytes, key: Key = KEY) -> None:
    cid = libipld.encode_cid(RECORDS[PATH][0])
    proof.check(data, did=DID, key=key.did_key, path=PATH.decode(), cid=cid)


@pytest.mark.parametrize("kind", CURVES)
def test_what_an_account_signed_is_proven_with_keys_of_both_kinds(kind):
    key = Key(kind)
    proven(whole(key=key), key)
    # Of the versions of before, some commits name the one before them.
    proven(whole(key=key, prev=link(LOOKS_LIKE_A_CID)), key)
    proven(whole(key=key, later="fields", raw=LOOKS_LIKE_A_CID[:30]), key)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": Key()}, "not signed with the key that the DID document"),
        ({"sign": lambda data: KEY.sign(data, high=True)}, "not signed with the key"),
        ({"sign": lambda data: KEY.sign(data + b" ")}, "not signed with the key"),
        ({"sign": lambda data: KEY.sign(data)[:63]}, "not signed with the key"),
        ({"sign": lambda data: KEY.sign(data) + b"\0"}, "not signed with the key"),
        ({"sign": lambda data: bytes(64)}, "not signed with the key"),
        ({"sign": lambda data: "x" * 64}, "the commit is not signed"),
        ({"sign": lambda data: None}, "the commit is not signed"),
        (
            {"did": "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"},
            "one of did:plc:zzzzzzzzzzzzzzzzzzzzzzzz, not of did:plc:abc",
        ),
        ({"version": 2}, "the version 2, not 3"),
        ({"data": None}, "names no tree"),
        ({"data": LOOKS_LIKE_A_CID}, "not written as DAG-CBOR is"),
        ({"prev": "x"}, "names no tree"),
    ],
)
def test_a_commit_that_the_account_did_not_sign_so_is_told(changes, said):
    with pytest.raises(ProofError, match=said):
        proven(whole(**changes))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node()], "no record there"),
        ([node(entry(b"a.b.c/k8"))], "no record there"),
        ([node(entry(cid=link(RECORDS[b"a.b.c/k8"][0])))], "another record there"),
        ([node(first=link(node(entry())[0])), node(entry())], "the root of the tree has no key"),
        (
            [node(entry(higher(2), after=link(node(entry())[0]))), node(entry())],
            "a key of the tree is in a wrong place",
        ),
        ([node(entry(higher(1)), entry())], "a key of the tree is in a wrong place"),
        ([node(entry(higher(1), after=link(node()[0]))), node()], "has a node that should not be there"),
        (
            [
                node(entry(higher(1), after=link(node(entry(higher(0, "0")), entry())[0]))),
                node(entry(higher(0, "0")), entry()),
            ],
            "a key of the tree is in a wrong place",
        ),
        ([node(entry(), entry())], "malformed"),
        ([node(entry(b"a.b.c/k70"), entry())], "malformed"),
        ([node(entry(b"a.b.c/k6"), entry())], "malformed"),
        ([node(entry(shared=1))], "malformed"),
        ([node(entry(shared=-1))], "malformed"),
        ([node(entry(cid=RECORDS[PATH][0]))], "malformed"),
        ([node(entry(cid="x"))], "malformed"),
        ([node(entry(), more=1)], "malformed"),
        ([node({**entry(), "more": 1})], "malformed"),
        ([node(first="x")], "malformed"),
        ([tree.block_of(encode({"e": 7, "l": None}))], "malformed"),
        ([tree.block_of(encode([]))], "no map in DAG-CBOR"),
        ([tree.block_of(b"\x9f\xff")], "no map in DAG-CBOR"),
    ],
)
def test_a_tree_that_no_repository_has_is_told(nodes, said):
    with pytest.raises(ProofError, match=said):
        proven(car(commit(nodes[0][0]), *nodes, RECORDS[PATH]))


def test_each_block_must_be_there_and_be_what_its_cid_says():
    data = whole()
    proven(data)
    blocks = sorted(libipld.decode_car(data)[1])
    for cid in blocks:
        kept = [(each, block) for each, block in sections(data) if each != cid]
        root = libipld.decode_car(data)[0]["roots"][0]
        header = section(encode({"roots": [link(root)], "version": 1}))
        with pytest.raises(ProofError, match=f"the block {libipld.encode_cid(cid)} is missing"):
            proven(header + b"".join(section(each + block) for each, block in kept))
    with pytest.raises(ProofError, match="not what its CID says"):
        proven(data + section(LOOKS_LIKE_A_CID + b"\xa0"))
    with pytest.raises(ProofError, match="not what its CID says"):
        proven(data + section(b"\x01\x55\x12\x20" + hashlib.sha256(b"x").digest() + b"x"))


def sections(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(each[:36], each[36:]) for each in list(proof._sections(data))[1:]]


def test_a_proof_of_too_many_blocks_or_bytes_is_not_read():
    data = whole()
    many = b"".join(section(b"".join(tree.block_of(encode({"n": n})))) for n in range(proof.MAX_BLOCKS))
    with pytest.raises(ProofError, match="more than 1,024 blocks"):
        proven(data + many)
    with pytest.raises(ProofError, match="larger than 8,388,608 bytes"):
        proven(data + bytes(proof.MAX_BYTES))


def test_nothing_else_than_a_car_with_a_root_is_read():
    for header in ({"roots": [], "version": 1}, {"roots": [link(LOOKS_LIKE_A_CID)], "version": 2}, {"version": 1}):
        with pytest.raises(ProofError, match="no CAR of version 1 with a root"):
            proven(section(encode(header)))
    with pytest.raises(ProofError, match="no CID of a block"):
        proven(section(encode({"roots": ["x"], "version": 1})))


def test_the_key_of_an_account_stands_in_its_document_in_several_forms():
    def found(*methods: object) -> str | None:
        return _signing_key(DID, {"verificationMethod": list(methods)})

    other, k256 = Key(), Key("k256")
    multikey = {"id": f"{DID}#atproto", "type": "Multikey", "publicKeyMultibase": KEY.multikey}
    assert found({**multikey, "id": f"{DID}#other", "publicKeyMultibase": other.multikey}, multikey) == KEY.did_key
    assert found({**multikey, "id": "#atproto"}) == KEY.did_key
    for kind, key in (("EcdsaSecp256r1VerificationKey2019", KEY), ("EcdsaSecp256k1VerificationKey2019", k256)):
        bare = libipld.encode_multibase("z", key.point)
        assert found({**multikey, "type": kind, "publicKeyMultibase": bare}) == key.did_key
    assert found({**multikey, "id": "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz#atproto"}) is None
    assert found({**multikey, "type": 1}, {**multikey, "publicKeyMultibase": None}, "x") is None
