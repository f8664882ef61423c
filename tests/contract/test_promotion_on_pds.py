"""A promotion, its repeat, its update and its reading back are the same on every PDS."""

import time

import httpx
import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata_core.atmosphere.record_format.build import label_record
from atdata_core.atmosphere.record_format.lexicon import check, put_request
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA, label_rkey
from atdata_core.atmosphere.xrpc.session import AS_SENT
from atdata_core.errors import (
    LoginError,
    PreflightError,
    RecordChangedError,
    RecordGoneError,
    ServiceRefusedError,
)
from atdata_core.local import LocalIndex, Repo
from atdata_core.promote import plan_promotion, promote_many, promote_to_atmosphere, verify_dataset
from atdata_core.promotion.operations.reconcile import reconcile
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.scheduling.due import due
from atdata_core.state.facts import ENTRY_NOTE, INTENT, LABEL_NOTE, RECORDS
from atdata_core.state.index_state import state_of
from listeners import Indexer, listening

KEY = label_rkey("did:web:a.test", "n")
METADATA = {"f": 0.1, "b": b"\x00\xff", 3: [1, None], "big": 2**60, "k" * 40: {"ü": -1}}


@atdata.packable
class Reading:
    """What an instrument said."""

    zeta: NDArray[np.float32]
    alpha: int | None
    note: str


@pytest.fixture
def client(server, new_repo, monkeypatch):
    monkeypatch.setenv("ATDATA_PDS_URL", server.url)
    monkeypatch.setenv("ATDATA_PLC_URL", server.plc_url)
    client = AtmosphereClient()
    client.login(new_repo.handle, new_repo.password)
    return client


@pytest.fixture
def stored(environ, s3, bucket, tmp_path):
    """An index with a dataset of two shards, and its entry."""
    from atdata_core.shards.tar_samples import ShardWriter

    index = LocalIndex()
    index.publish_schema(Reading, version="1.0.0")
    path = tmp_path / "readings.tar"
    with path.open("wb") as file, ShardWriter(file) as shard:
        for number in range(6):
            sample = Reading(zeta=np.full(3, number, np.float32), alpha=number or None, note=f"n{number}")
            shard.write({**sample.as_wds, "__key__": f"{number}"})
    about = tmp_path / "about.msgpack"
    about.write_bytes(msgpack.packb(METADATA))
    dataset = atdata.Dataset[Reading](str(path), metadata_url=str(about))
    entry, _ = Repo(s3_credentials=s3, hive_path=f"{bucket}/r").insert(dataset, name="readings", maxcount=3)
    return index, entry


def records(client):
    return {collection: client.list_records(collection)[0] for collection in (SCHEMA, ENTRY, LABEL)}


def test_a_promotion_is_made_once_updated_and_read_back(stored, client):
    index, entry = stored
    uri = promote_to_atmosphere(entry, index, client, description="d", tags=["a"], license="MIT")
    first = records(client)
    assert [len(found) for found in first.values()] == [1, 1, 1]
    commit = client.latest_commit(client.did)
    assert promote_to_atmosphere(entry, index, client) == uri
    for key in index.redis.scan_iter("atdata:ledger:*"):
        index.redis.delete(key)
    assert plan_promotion(entry, index, client).records == 0
    assert promote_to_atmosphere(entry, index, client) == uri
    assert client.latest_commit(client.did) == commit
    assert promote_to_atmosphere(entry, index, client, tags=["b"]) == uri
    after = records(client)
    assert after[SCHEMA] == first[SCHEMA]
    assert after[LABEL] == first[LABEL]
    assert after[ENTRY][0].value == {**first[ENTRY][0].value, "tags": ["b"]}

    stranger = AtmosphereIndex(AtmosphereClient())
    found = stranger.get_dataset(uri)
    assert found.metadata == METADATA
    assert (found.description, found.tags, found.license) == ("d", ["b"], "MIT")
    samples = list(stranger.open_dataset(uri).ordered())
    assert list(type(samples[0]).__annotations__) == ["zeta", "alpha", "note"]
    assert [sample.alpha for sample in samples] == [None, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(samples[5].zeta, np.full(3, 5, np.float32))


def test_who_listens_and_believes_only_proofs_has_the_right_index_five_seconds_after_the_last_write(
    stored, client, server
):
    index, entry = stored
    entries = [entry, *(index.add_entry(atdata.Dataset[Reading](entry.data_urls), name=f"t{n}") for n in (1, 2))]
    heard_index = Indexer(client.did, server.plc_url)
    with listening(server.url, client.did, then=heard_index.index):
        for each in entries:
            promote_to_atmosphere(each, index, client)
        promote_to_atmosphere(entries[0], index, client, tags=["changed"])
        ledger = state_of(index).ledger
        retract(plan_retraction("t1", client, ledger=ledger), client, ledger)
        deadline = time.monotonic() + 5
        found = [record for kept in records(client).values() for record in kept]
        expected = {record.uri.removeprefix(f"at://{client.did}/"): record.cid for record in found}
        while {path: cid for path, (cid, _) in heard_index.records.items()} != expected:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    shown = [record for path, (_, record) in heard_index.records.items() if path.startswith(f"{ENTRY}/")]
    assert {record["name"]: record.get("tags") for record in shown} == {"readings": ["changed"], "t2": None}


def test_many_promoted_together_are_made_once_updated_and_left(stored, client):
    index, entry = stored
    names = ["readings", *(f"twin-{number}" for number in range(3))]
    for name in names[1:]:
        index.add_entry(atdata.Dataset[Reading](entry.data_urls), name=name)
    entries = [index.get_entry_by_name(name) for name in names]
    first = promote_many(entries, index, client)
    assert [(each.name, each.change) for each in first] == [(name, "created") for name in names]
    assert [len(found) for found in records(client).values()] == [1, 4, 4]
    commit = client.latest_commit(client.did)
    assert [(each.uri, each.change) for each in promote_many(entries, index, client)] == [
        (each.uri, "unchanged") for each in first
    ]
    assert client.latest_commit(client.did) == commit
    promote_to_atmosphere(entries[0], index, client, tags=["a"])
    newer = index.add_entry(atdata.Dataset[Reading](entry.data_urls), name="twin-0", metadata={"n": 1})
    again = promote_many([entries[0], newer, *entries[2:]], index, client)
    assert [each.change for each in again] == ["unchanged", "updated", "unchanged", "unchanged"]
    assert client.get_record(first[0].uri).value["tags"] == ["a"]
    facts = state_of(index).ledger.get_all("dataset", "twin-0")
    noted = [*facts.of(ENTRY_NOTE, LABEL_NOTE)]
    for key, note in noted:
        assert facts[INTENT(key.owner, key.name)].cids == (note.cid, *note.earlier)
        assert client.get_record(note.uri).cid == note.cid


def test_two_names_and_a_renamed_one_are_publications_of_their_own(stored, client):
    index, entry = stored
    index.add_entry(atdata.Dataset[Reading](entry.data_urls), name="twin")
    uris = [promote_to_atmosphere(index.get_entry_by_name(name), index, client) for name in ("readings", "twin")]
    uris.append(promote_to_atmosphere(entry, index, client, name="renamed"))
    assert len(set(uris)) == 3
    assert [len(found) for found in records(client).values()] == [1, 3, 3]


def test_a_request_of_a_million_bytes_is_written_and_one_more_is_refused_before_it_is_sent(client):
    record = label_record(
        name="n", dataset_uri=f"at://{client.did}/{ENTRY}/x", version=None, created_at=client.now()
    )
    room = 1_000_000 - len(
        AS_SENT.encode(put_request(client.did, LABEL, KEY, {**record, "x": ""}, swap=None)).encode()
    )
    largest, too_large = ({**record, "x": "y" * count} for count in (room, room + 1))
    check(LABEL, KEY, largest, did=client.did)
    assert client.create_once(LABEL, KEY, largest)[1]
    client.delete(LABEL, KEY)
    with pytest.raises(PreflightError, match="1,000,001 bytes"):
        check(LABEL, KEY, too_large, did=client.did)
    with pytest.raises(ServiceRefusedError) as refused:
        client.create_once(LABEL, KEY, too_large)
    assert refused.value.status == 413


def test_what_was_promoted_is_verified_and_what_was_spoilt_or_edited_is_told(stored, client, s3):
    from atdata_core.stores.s3.objects import S3Endpoint

    index, entry = stored
    uri = promote_to_atmosphere(entry, index, client)
    result = verify_dataset(uri)
    assert (result.findings, result.shards_checked, result.samples) == ((), 2, 6)
    assert result.cid == client.get_record(uri).cid
    bucket, _, key = result.looked_at[1].removeprefix("s3://").partition("/")
    objects = S3Endpoint.from_credentials(s3).client
    data = bytearray(objects.get_object(Bucket=bucket, Key=key)["Body"].read())
    data[-1] ^= 1
    objects.put_object(Bucket=bucket, Key=key, Body=bytes(data))
    record = client.get_record(uri)
    rkey = uri.rpartition("/")[2]
    client.replace(ENTRY, rkey, {**record.value, "license": "x" * 300}, swap=record.cid)
    found = {(each.subject, each.kind, each.where) for each in verify_dataset(uri).findings}
    assert found == {("record", "differs", uri), ("shards", "differs", result.looked_at[1])}
    client.delete(ENTRY, rkey)
    assert [(each.subject, each.kind) for each in verify_dataset(uri).findings] == [("record", "differs")]


def test_a_verification_says_who_signed_and_tells_each_wrong_proof(stored, client, meddling, server):
    index, entry = stored
    uri = promote_to_atmosphere(entry, index, client)
    uris = {found[0].uri for found in records(client).values()}

    def verified():
        return verify_dataset(uri, client=AtmosphereClient(transport=meddling))

    true = verified()
    assert (true.findings, true.signed_by) == ((), client.did)
    edited = client.get_record(uri)
    before = httpx.get(
        f"{server.url}/xrpc/com.atproto.sync.getRecord",
        params={"did": client.did, "collection": ENTRY, "rkey": uri.rpartition("/")[2]},
    ).content
    client.replace(ENTRY, uri.rpartition("/")[2], {**edited.value, "description": "newer"}, swap=edited.cid)
    meddling.proof = lambda request, _: httpx.Response(200, content=before)
    wrong = verified()
    assert {(each.subject, each.kind, each.where) for each in wrong.findings} >= {("record", "differs", uri)}
    assert f"another record there, {edited.cid} in place of {wrong.cid}" in wrong.findings[0].problem
    assert (wrong.state, wrong.signed_by) == ("failed", None)
    meddling.proof = lambda request, answer: httpx.Response(200, content=answer.content[:-1])
    assert {(each.subject, each.kind) for each in verified().findings} == {
        (subject, "differs") for subject in ("record", "schema", "label")
    }
    assert {each.where for each in verified().findings} == uris
    meddling.proof = lambda request, answer: httpx.Response(503)
    assert {(each.subject, each.kind) for each in verified().findings} == {
        (subject, "unreachable") for subject in ("record", "schema", "label")
    }
    meddling.proof = lambda request, answer: httpx.Response(501, json={"error": "MethodNotImplemented"})
    without = verified()
    assert (without.findings, without.signed_by) == ((), None)
    assert [note.partition(":")[0] for note in without.notes] == [
        f"That its account signed the {what} is not proven" for what in ("entry", "schema", "label")
    ]
    assert all(f"{server.url} gives no proofs" in note for note in without.notes)


def test_the_content_of_every_record_is_known_before_it_is_written(stored, client):
    index, entry = stored
    promote_to_atmosphere(entry, index, client, description="d", tags=["a"], version="1.0.0")
    promote_to_atmosphere(entry, index, client, description="e")
    facts = state_of(index).ledger.get_all("dataset", "readings")
    noted = [*facts.of(*RECORDS)]
    assert len(noted) == 3
    for key, note in noted:
        assert facts[INTENT(key.owner, key.name)].cids == (note.cid, *note.earlier)
        assert client.get_record(note.uri).cid == note.cid


def test_edits_elsewhere_backups_and_deletions_are_told_apart(stored, client):
    index, entry = stored
    uri = promote_to_atmosphere(entry, index, client, description="first")
    rkey = uri.rsplit("/", 1)[1]
    first = client.get_record(uri)
    promote_to_atmosphere(entry, index, client, description="second")
    newest = client.get_record(uri)

    edited = client.replace(ENTRY, rkey, {**newest.value, "description": "theirs"}, swap=newest.cid)
    with pytest.raises(RecordChangedError, match="description"):
        promote_to_atmosphere(entry, index, client)
    assert client.get_record(uri).value["description"] == "theirs"

    client.replace(ENTRY, rkey, first.value, swap=edited.cid)
    promote_to_atmosphere(entry, index, client)
    assert client.get_record(uri) == newest

    client.delete(ENTRY, rkey)
    with pytest.raises(RecordGoneError):
        promote_to_atmosphere(entry, index, client, restore=False)
    assert client.find_record(ENTRY, rkey) is None
    assert promote_to_atmosphere(entry, index, client) == uri
    assert client.get_record(uri) == newest


def test_a_wrong_password_is_refused_with_the_way_out(server, repo):
    with pytest.raises(LoginError, match="app password") as caught:
        AtmosphereClient(server.url).login(repo.handle, "not-the-password")
    assert "not-the-password" not in str(caught.value)


def test_a_retraction_takes_back_what_its_plan_shows_and_nothing_newer(stored, client):
    index, entry = stored
    ledger = state_of(index).ledger
    uri = promote_to_atmosphere(entry, index, client)
    before = records(client)
    outdated = plan_retraction("readings", client, ledger=ledger)
    assert records(client) == before
    promote_to_atmosphere(entry, index, client, tags=["newer"])
    with pytest.raises(RecordChangedError):
        retract(outdated, client, ledger)
    assert client.get_record(uri).value["tags"] == ["newer"]
    plan = plan_retraction("readings", client, ledger=ledger)
    retract(plan, client, ledger)
    assert [len(found) for found in records(client).values()] == [1, 0, 0]
    # As a process does that was killed before it could say so.
    retract(plan, client, ledger)
    assert promote_to_atmosphere(entry, index, client) == uri
    assert client.get_record(uri).value["createdAt"] == before[ENTRY][0].value["createdAt"]


def test_the_ledger_learns_from_the_records_and_tells_what_is_gone(stored, client):
    index, entry = stored
    uri = promote_to_atmosphere(entry, index, client, tags=["a"])
    for key in index.redis.scan_iter("atdata:ledger:*"):
        index.redis.delete(key)
    ledger = state_of(index).ledger
    assert reconcile(index, client, ledger).counts == {"rebuilt": 2}
    assert due(entry, index, ledger, client.did).state == "published"
    commit = client.latest_commit(client.did)
    assert promote_to_atmosphere(entry, index, client) == uri
    assert client.latest_commit(client.did) == commit
    client.delete(ENTRY, uri.rpartition("/")[2])
    assert [(finding.kind, finding.uri) for finding in reconcile(index, client, ledger).discrepancies] == [
        ("gone", uri)
    ]
    assert due(entry, index, ledger, client.did).state == "blocked"
