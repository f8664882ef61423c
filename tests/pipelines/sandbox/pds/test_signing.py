"""The repositories of the sandbox's PDS are trees, whose commits their accounts sign."""

from __future__ import annotations

import hashlib
import random
import sqlite3

import libipld
import pytest

from atdata_core.atmosphere import proof
from atdata_core.errors import ProofError
from atdata_pipelines.sandbox.pds import tree
from atdata_pipelines.sandbox.pds.repository import RepoWrite
from atdata_pipelines.sandbox.pds.syntax import XrpcError

THING = "science.example.thing"


def put(pds, did, rkey, value, action="create"):
    write = pds.repositories.prepare(action, THING, rkey, value)
    return pds.repositories.commit(did, [write]), write.cid


def check(pds, did, rkey, cid):
    key = f"did:key:{pds.keys.multikey(did)}"
    car = pds.repositories.prove(did, THING, rkey)
    proof.check(car, did=did, key=key, path=f"{THING}/{rkey}", cid=cid)


def test_a_folder_of_before_gets_keys_and_a_signed_commit_when_it_is_opened(opened, tmp_path):
    pds = opened()
    did = pds.create_account("a.test", "secret").did
    _, cid = put(pds, did, "r", {"n": 1, "raw": b"\x01\x71\x12\x20" + bytes(32)})
    with sqlite3.connect(tmp_path / "pds.sqlite") as before:
        before.executescript(
            "drop table signing_key; drop table signed_commit; drop table event;"
            "update repo set cid = 'bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm';"
        )
    before.close()
    pds = opened()
    told = [row["frame"] for row in pds.database.all("select frame from event order by seq")]
    assert [libipld.decode_dag_cbor_multi(frame)[0]["t"] for frame in told] == ["#identity", "#sync"]
    commit = pds.repositories.head(did)
    check(pds, did, "r", cid)
    key = pds.keys.multikey(did)
    assert pds.accounts.login("a.test", "secret").did == did
    newer, other = put(pds, did, "s", {"n": 2})
    assert newer.rev > commit.rev
    check(pds, did, "s", other)
    pds = opened()
    assert (pds.repositories.head(did), pds.keys.multikey(did)) == (newer, key)
    check(pds, did, "r", cid)


def test_a_refused_commit_leaves_the_tree_as_it_was(opened):
    pds = opened()
    did = pds.create_account("a.test", "secret").did
    head, cid = put(pds, did, "r", {"n": 1})
    writes = [pds.repositories.prepare("create", THING, "s", {}), RepoWrite("delete", THING, "nothing")]
    with pytest.raises(XrpcError):
        pds.repositories.commit(did, writes)
    assert pds.repositories.head(did) == head
    check(pds, did, "r", cid)
    with pytest.raises(ProofError, match="no record there"):
        check(pds, did, "s", cid)
    check(pds, did, "t", put(pds, did, "t", {"n": 3})[1])


def test_a_collection_whose_name_goes_on_is_in_its_place_when_the_tree_is_read_again(opened):
    pds = opened()
    did = pds.create_account("a.test", "secret").did
    names = (THING, f"{THING}.more", f"{THING}s")
    pds.repositories.commit(did, [pds.repositories.prepare("create", each, "r", {}) for each in names])
    root = tree.root(pds.repositories._tree(did))
    assert tree.root(opened().repositories._tree(did)) == root


def test_a_tree_is_the_same_whatever_order_its_records_came_in():
    chance, grown, kept = random.Random(13), None, {}
    for number in range(1500):
        key = f"{THING}/{chance.randrange(400)}".encode()
        if key in kept and chance.random() < 0.5:
            grown = tree.remove(grown, key)
            del kept[key]
        else:
            kept[key], _ = tree.block_of(hashlib.sha256(b"%d" % number).digest())
            grown = tree.put(grown, key, kept[key])
        if number % 50 == 0:
            assert tree.root(grown) == tree.root(tree.build(sorted(kept.items())))
    for key in kept:
        grown = tree.remove(grown, key)
    assert grown is None
