"""What a PDS shows comes with a proof that its account signed it, and a wrong proof is found out."""

from __future__ import annotations

import re

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import AtUri
from atdata_core.errors import ProofError, ServiceError
from pds_replies import NOBODY, refused


@pytest.fixture
def stranger(server, meddling, monkeypatch):
    """A client without a login, over ``meddling``."""
    monkeypatch.setenv("ATDATA_PLC_URL", server.plc_url)
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", "127.0.0.1,localhost")
    return AtmosphereClient(server.url, transport=meddling)


@pytest.fixture
def written(repo):
    """A record of the account: where it is, and its CID."""
    cid = repo.put("r", {"n": 1}).raise_for_status().json()["cid"]
    return AtUri(repo.did, repo.collection, "r"), cid


def replaced(content):
    return lambda request, answer: httpx.Response(200, content=content(answer.content))


def test_a_record_comes_with_a_proof_that_its_account_signed(repo, stranger, written):
    at, cid = written
    assert stranger.prove(at, cid) is None
    for number in range(40):
        repo.put(f"more-{number}", {"n": number}).raise_for_status()
    assert stranger.prove(at, cid) is None
    cid = repo.put("r", {"n": 2}).json()["cid"]
    assert stranger.prove(at, cid) is None


def test_a_proof_is_over_the_latest_commit(repo, written):
    answer = repo.get("sync.getRecord", did=repo.did, collection=repo.collection, rkey="r")
    assert answer.headers["content-type"] == "application/vnd.ipld.car"
    from libipld import decode_car, encode_cid

    header, blocks = decode_car(answer.content)
    commit = blocks[header["roots"][0]]
    assert {"cid": encode_cid(header["roots"][0]), "rev": commit["rev"]} == repo.commit()
    assert (commit["did"], commit["version"], commit["prev"], len(commit["sig"])) == (repo.did, 3, None, 64)


def test_the_tree_over_the_same_records_is_the_same(new_repo):
    # The roots were computed by the reference PDS, over several layers of a tree.
    def applied(action, numbers, value=None):
        writes = [new_repo.write(action, f"k{n}", value and value(n)) for n in numbers]
        new_repo.apply(*writes).raise_for_status()
        return tree_of(new_repo)

    new_repo.collection = "science.example.contract"
    assert [
        applied("create", range(0, 300, 2), lambda n: {"n": n}),
        applied("create", range(1, 300, 2), lambda n: {"n": n}),
        applied("update", range(0, 300, 7), lambda n: {"n": -n}),
        applied("delete", (n for n in range(300) if n % 7 and n % 3)),
        applied("delete", (n for n in range(300) if not (n % 7 and n % 3))),
    ] == [
        "bafyreico2alqv6p2g5l6nhgcmziu6svjtftb52t5f2udu7b3jgdkrq7ysi",
        "bafyreidts3vbsymju47quo7mj7l5v7glvs2e53aypeu4j2cwbmqqvrerga",
        "bafyreibb67rovbojeqggqwvbafqrafdlhpjcseqhxbrdg2n6ozoljjzppy",
        "bafyreihrknqh5piroqc7pjtcuhtnkatllamzeo4brfweltibxyqyexduu4",
        "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm",
    ]


def tree_of(repo):
    from libipld import decode_car, encode_cid

    answer = repo.get("sync.getRecord", did=repo.did, collection=repo.collection, rkey="k0")
    header, blocks = decode_car(answer.raise_for_status().content)
    return encode_cid(blocks[header["roots"][0]]["data"])


def test_nothing_is_proven_of_a_record_that_is_deleted_or_another_one(repo, stranger, written):
    at, cid = written
    other = repo.put("r", {"n": 2}).json()["cid"]
    with pytest.raises(ProofError, match=f"another record there, {other} in place of {cid}"):
        stranger.prove(at, cid)
    repo.delete("r").raise_for_status()
    with pytest.raises(ProofError, match="the signed tree has no record there"):
        stranger.prove(at, other)
    assert repo.get("sync.getRecord", did=repo.did, collection=repo.collection, rkey="r").status_code == 200
    assert refused(
        repo.get("sync.getRecord", did=NOBODY, collection=repo.collection, rkey="r"), 400, "RepoNotFound"
    )


def test_a_flipped_bit_anywhere_in_a_proof_is_found(stranger, meddling, written):
    at, cid = written
    whole = []
    meddling.proof = lambda request, answer: whole.append(answer.content) or answer
    assert stranger.prove(at, cid) is None
    for place in range(0, len(whole[0]), 7):
        data = bytearray(whole[0])
        data[place] ^= 1 << place % 8
        meddling.proof = replaced(lambda _, data=data: bytes(data))
        with pytest.raises(ProofError, match="does not hold"):
            stranger.prove(at, cid)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda car: b"", "no map in DAG-CBOR"),
        (lambda car: b"<html>hello", "no whole CAR"),
        (lambda car: car[:-1], "no whole CAR"),
        (lambda car: car + b"\xff" * 20, "no whole CAR"),
        (lambda car: car + bytes(1 << 23), "gives no proof of a record that it shows"),
        (lambda car: car[:59], "the block bafyrei[a-z2-7]{52} is missing"),
    ],
)
def test_what_is_no_proof_is_told(stranger, meddling, written, content, said):
    meddling.proof = replaced(content)
    with pytest.raises(ProofError, match=said):
        stranger.prove(*written)


def test_the_proof_of_another_account_is_none(repo, other_repo, server, stranger, meddling, written):
    at, cid = written
    other_repo.collection = repo.collection
    assert other_repo.put("r", {"n": 1}).json()["cid"] == cid
    theirs = other_repo.get("sync.getRecord", did=other_repo.did, collection=repo.collection, rkey="r").content
    meddling.proof = replaced(lambda _: theirs)
    with pytest.raises(ProofError, match=f"the commit is one of {other_repo.did}, not of {repo.did}"):
        stranger.prove(at, cid)
    key = httpx.get(f"{server.plc_url}/{other_repo.did}").json()["verificationMethod"]
    meddling.proof = lambda request, answer: answer
    meddling.document = lambda document: (
        document | {"verificationMethod": [{**key[0], "id": f"{document['id']}#atproto"}]}
    )
    with pytest.raises(ProofError, match="not signed with the key that the DID document"):
        AtmosphereClient(server.url, transport=meddling).prove(at, cid)


def test_a_pds_that_has_no_proofs_is_named_and_one_that_fails_cannot_be_reached(
    stranger, meddling, server, written
):
    for answer in (
        httpx.Response(501, json={"error": "MethodNotImplemented", "message": "Method Not Implemented"}),
        httpx.Response(501, text="no"),
        httpx.Response(404, text="<html>Not Found"),
        httpx.Response(400, json={"error": "MethodNotImplemented"}),
    ):
        meddling.proof = lambda request, _, answer=answer: answer
        said = stranger.prove(*written)
        assert said is not None
        assert said.startswith(f"{server.url} gives no proofs (com.atproto.sync.getRecord: {answer.status_code} ")
    for status, name in ((400, "RecordNotFound"), (404, "RepoNotFound")):
        meddling.proof = lambda request, _, status=status, name=name: httpx.Response(status, json={"error": name})
        with pytest.raises(ProofError, match="gives no proof of a record that it shows"):
            stranger.prove(*written)
    for status in (403, 503):
        meddling.proof = lambda request, _, status=status: httpx.Response(status)
        with pytest.raises(ServiceError, match=re.escape(server.url)):
            stranger.prove(*written)


@pytest.mark.parametrize(
    "methods",
    [
        None,
        [],
        [{"id": "#other", "type": "Multikey", "publicKeyMultibase": "zQ3sh"}],
        [{"id": "#atproto", "type": "Multikey", "publicKeyMultibase": "no key"}],
        [{"id": "#atproto", "type": "Ed25519VerificationKey2020", "publicKeyMultibase": "z6Mk"}, 7],
    ],
)
def test_an_account_whose_document_names_no_key_is_named(stranger, meddling, written, methods):
    meddling.document = lambda document: document | {"verificationMethod": methods}
    at, cid = written
    said = f"the DID document of {at.authority} names no key for its repository (#atproto)"
    assert stranger.prove(at, cid) == said
