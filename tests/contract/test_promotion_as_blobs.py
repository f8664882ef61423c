"""A dataset whose shards are blobs of the account: published, resumed, shared and taken back, on every PDS."""

import hashlib
import io
import json
import os
import sqlite3
import subprocess
from contextlib import closing as ending

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex, PDSBlobStore
from atdata_core.atmosphere.record_format.parse import blob_cid
from atdata_core.atmosphere.record_format.record_keys import ENTRY, LABEL, SCHEMA
from atdata_core.errors import DestinationError, RecordNotFoundError, ServiceUnavailableError, StorageError
from atdata_core.local import LocalIndex, Repo
from atdata_core.promote import plan_promotion, promote_many, promote_to_atmosphere, verify_dataset
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.state.index_state import state_of

SHARDS = 4


@atdata.packable
class Reading:
    """What an instrument said."""

    values: NDArray[np.float32]
    number: int


class Uploads(httpx.HTTPTransport):
    """The network, which counts uploads by digest and fails when it is told to."""

    def __init__(self):
        super().__init__()
        self.digests, self.fail_at, self.no_entry = [], None, False

    def handle_request(self, request):
        if self.no_entry and request.url.path.endswith("repo.putRecord") and ENTRY.encode() in request.read():
            raise httpx.ConnectError("nobody is there", request=request)
        if not request.url.path.endswith("repo.uploadBlob"):
            return super().handle_request(request)
        if self.fail_at is not None and len(self.digests) >= self.fail_at:
            raise httpx.ConnectError("nobody is there", request=request)
        body = b"".join(request.stream)
        assert request.headers["content-length"] == str(len(body))
        self.digests.append(hashlib.sha256(body).hexdigest())
        request = httpx.Request(request.method, request.url, headers=request.headers, content=body)
        return super().handle_request(request)


@pytest.fixture
def network(closing):
    return closing(Uploads())


@pytest.fixture
def client(server, new_repo, network, monkeypatch):
    monkeypatch.setenv("ATDATA_PDS_URL", server.url)
    monkeypatch.setenv("ATDATA_PLC_URL", server.plc_url)
    client = AtmosphereClient(transport=network)
    client.login(new_repo.handle, new_repo.password)
    return client


@pytest.fixture
def index(environ):
    index = LocalIndex()
    index.publish_schema(Reading, version="1.0.0")
    return index


@pytest.fixture
def insert(index, s3, bucket, tmp_path):
    """Store a dataset of shards of two samples, with so many numbers each."""
    repo = Repo(s3_credentials=s3, hive_path=f"{bucket}/lab", redis=index.redis)

    def make(name="readings", *, shards=SHARDS, floats=64, first=0):
        path = tmp_path / f"{name}.tar"
        with path.open("wb") as file, ShardWriter(file) as shard:
            for number in range(first, first + 2 * shards):
                sample = Reading(values=np.full(floats, number, np.float32), number=number)
                shard.write({**sample.as_wds, "__key__": f"{number:06d}"})
        return repo.insert(atdata.Dataset[Reading](str(path)), name=name, maxcount=2)[0]

    return make


def digests_of(entry, index):
    return [claim.sha256 for claim in index.shard_claims(entry.cid).values()]


def counts(client):
    return [len(client.list_records(collection)[0]) for collection in (SCHEMA, ENTRY, LABEL)]


def test_shards_become_blobs_once_byte_for_byte_and_are_read_by_anybody(insert, index, client, network):
    entry, store = insert(), PDSBlobStore(client)
    planned = plan_promotion(entry, index, client, data_store=store)
    assert (len(planned.copies), planned.unreadable, network.digests) == (SHARDS, (), [])
    assert [row.value for row in planned.values if row.name == "readers"] == ["anybody"]

    uri = promote_to_atmosphere(entry, index, client, data_store=store)
    digests = digests_of(entry, index)
    assert sorted(network.digests) == sorted(digests)
    storage = client.get_record(uri).value["storage"]
    assert storage["$type"] == "science.alt.dataset.storageBlobs"
    assert [each["checksum"] for each in storage["blobs"]] == [
        {"algorithm": "sha256", "digest": digest} for digest in digests
    ]
    assert [each["blob"]["ref"]["$link"] for each in storage["blobs"]] == [*map(blob_cid, digests)]
    assert {each["blob"]["mimeType"] for each in storage["blobs"]} == {"application/x-tar"}

    anybody = AtmosphereIndex(AtmosphereClient())
    assert [sample.number for sample in anybody.open_dataset(uri).ordered()] == list(range(2 * SHARDS))
    found = verify_dataset(uri)
    assert (found.ok, found.anonymous, found.shards_checked) == (True, SHARDS, SHARDS)

    commit = client.latest_commit(client.did)
    assert promote_to_atmosphere(entry, index, client, data_store=store) == uri
    # Without a word of the store they stay; with a lost ledger they are found.
    assert promote_to_atmosphere(entry, index, client) == uri
    for key in index.redis.scan_iter("atdata:ledger:*"):
        index.redis.delete(key)
    with pytest.raises(DestinationError, match="Name that store"):
        promote_to_atmosphere(entry, index, client)
    assert plan_promotion(entry, index, client, data_store=store).records == 0
    assert promote_to_atmosphere(entry, index, client, data_store=store) == uri
    assert (client.latest_commit(client.did), len(network.digests)) == (commit, SHARDS)


def test_what_was_uploaded_before_a_run_was_stopped_is_used_again(insert, index, client, network):
    entry, store = insert(shards=9), PDSBlobStore(client)
    network.fail_at = 3
    with pytest.raises(ServiceUnavailableError):
        promote_to_atmosphere(entry, index, client, data_store=store)
    # Those that were under way when one failed are done as well.
    before = list(network.digests)
    assert 3 <= len(before) < 9
    assert counts(client) == [1, 0, 0]
    assert len(plan_promotion(entry, index, client, data_store=store).copies) == 9 - len(before)
    network.fail_at = None
    uri = promote_to_atmosphere(entry, index, client, data_store=store)
    assert sorted(network.digests) == sorted(digests_of(entry, index))
    assert counts(client) == [1, 1, 1]
    assert verify_dataset(uri).ok
    assert not [name for name, _ in _facts(index, entry) if name.startswith("sent:")]


def _facts(index, entry):
    return [(key.name, fact) for key, fact in state_of(index).ledger.get_all("entry", entry.cid).facts.items()]


def drop_unnamed(server, did, cids, box, tmp_path_factory):
    """As a host does that collects what no record names."""
    named = ",".join("?" * len(cids))
    if server.url == box.pds_url:
        path = box.folder / "pds" / "pds.sqlite"
        where, values = f"did = ? and cid in ({named})", [did, *cids]
    else:
        folders = tmp_path_factory.getbasetemp().glob("official-pds*/actors/**/store.sqlite")
        [path] = {path.resolve() for path in folders if path.parent.name == did}
        where, values = f"tempKey is not null and cid in ({named})", cids
    with ending(sqlite3.connect(path)) as database, database:
        return database.execute(f"delete from blob where {where}", values).rowcount


def test_a_blob_that_the_host_dropped_before_a_record_named_it_is_sent_again_and_no_other(
    insert, index, client, network, server, box, tmp_path_factory
):
    entry, store = insert(shards=9), PDSBlobStore(client)
    network.no_entry = True
    with pytest.raises(ServiceUnavailableError):
        promote_to_atmosphere(entry, index, client, data_store=store)
    digests = digests_of(entry, index)
    assert sorted(network.digests) == sorted(digests)
    gone = [digests[0], digests[4], digests[8]]
    assert drop_unnamed(server, client.did, [*map(blob_cid, gone)], box, tmp_path_factory) == 3
    network.no_entry = False
    uri = promote_to_atmosphere(entry, index, client, data_store=store)
    assert sorted(network.digests[9:]) == sorted(gone)
    assert verify_dataset(uri).ok
    assert counts(client) == [1, 1, 1]


def test_a_shard_that_another_publication_names_is_not_sent_again(insert, index, client, network):
    first, second = insert("first"), insert("second", shards=6)
    store = PDSBlobStore(client)
    uri = promote_to_atmosphere(first, index, client, data_store=store)
    # ``second`` begins with the shards of ``first``, which are not sent again.
    promote_to_atmosphere(second, index, client, data_store=store)
    assert len(network.digests) == 6
    planned = plan_retraction("second", client, ledger=state_of(index).ledger, index=index)
    retract(planned, client, state_of(index).ledger, index=index)
    assert verify_dataset(uri).ok
    assert promote_to_atmosphere(second, index, client, data_store=store, restore=True)
    assert sorted(network.digests[6:]) == sorted(digests_of(second, index)[4:])


def test_retraction_lets_blobs_go_that_no_other_record_names(insert, index, client, network):
    entry, store, ledger = insert(), PDSBlobStore(client), state_of(index).ledger
    promote_to_atmosphere(entry, index, client, data_store=store)
    planned = plan_retraction("readings", client, ledger=ledger, index=index, store=store, shards=True)
    retract(planned, client, ledger, index=index)
    for digest in digests_of(entry, index):
        with pytest.raises(RecordNotFoundError):
            client.get_blob(client.did, blob_cid(digest))
    promote_to_atmosphere(entry, index, client, data_store=store)
    assert len(network.digests) == 2 * SHARDS


def test_a_shard_above_the_hosts_limit_is_refused_before_anything_is_written(insert, index, client, network):
    entry, store = insert(shards=2, floats=700_000), PDSBlobStore(client)
    for promote in (plan_promotion, promote_to_atmosphere):
        with pytest.raises(StorageError, match=r"2 of 2 shards cannot be blobs: .* 5,242,880 bytes") as refused:
            promote(entry, index, client, data_store=store)
        assert "maxsize=" in refused.value.message
        assert "ATDATA_PUBLISH_BUCKET" in refused.value.message
    assert (network.digests, counts(client)) == ([], [0, 0, 0])


UPSTREAM = r"""
import json, sys
import atdata, atdata.atmosphere
from atdata._schema_codec import _schema_to_type
given = json.load(sys.stdin)
atdata.atmosphere._resolve_pds_endpoint = lambda did: given["pds"]
entry = atdata.atmosphere.AtmosphereIndexEntry(given["uri"], given["entry"])
blobs = atdata.atmosphere.LexDatasetEntry.from_record(given["entry"]).storage.blobs
refs = [{"did": given["did"], "cid": each.blob["ref"]["$link"]} for each in blobs]
source = atdata.BlobSource.from_refs(refs, pds_endpoint=given["pds"])
dataset = atdata.Dataset[_schema_to_type(given["schema"])](source)
json.dump({
    "urls": entry.data_urls,
    "checksums": [each.checksum.digest for each in blobs],
    "numbers": [int(sample.number) for sample in dataset.ordered(batch_size=None)],
}, sys.stdout)
"""


def test_blobs_are_read_by_atdata_0_7(insert, index, client, server):
    python = os.environ.get("ATDATA_UPSTREAM_PYTHON")
    if not python:
        pytest.skip("ATDATA_UPSTREAM_PYTHON names no interpreter with atdata 0.7.0b1")
    entry, store = insert(), PDSBlobStore(client)
    record = client.get_record(promote_to_atmosphere(entry, index, client, data_store=store))
    given = {
        "pds": server.url,
        "did": client.did,
        "uri": record.uri,
        "entry": record.value,
        "schema": client.get_record(record.value["schemaRef"]).value,
    }
    command = [python, "-W", "ignore", "-c", UPSTREAM]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read, digests = json.loads(done.stdout), digests_of(entry, index)
    assert read == {
        "urls": [f"{server.url}/xrpc/com.atproto.sync.getBlob?did={client.did}&cid={blob_cid(d)}" for d in digests],
        "checksums": digests,
        "numbers": list(range(2 * SHARDS)),
    }


def test_many_datasets_become_blobs_together(insert, index, client, network):
    entries = [insert(f"part-{number}", first=100 * number, shards=2) for number in range(3)]
    outcomes = promote_many(entries, index, client, data_store=PDSBlobStore(client))
    assert [outcome.change for outcome in outcomes] == ["created"] * 3
    assert len(network.digests) == 6
    assert all(verify_dataset(str(outcome.uri)).ok for outcome in outcomes)


def test_a_blob_is_kept_unseen_until_a_record_names_it_and_taken_as_a_tar(repo):
    """What ``PDSBlobStore`` rests on."""
    file = io.BytesIO()
    with ShardWriter(file) as shard:
        shard.write({"__key__": "0", "msgpack": b"\x80"})
    data = file.getvalue()
    answer = repo.upload(data, "application/x-tar").json()["blob"]
    assert answer["mimeType"] == "application/x-tar"
    assert answer["ref"]["$link"] == blob_cid(hashlib.sha256(data).hexdigest())
    cid = answer["ref"]["$link"]
    assert repo.blob(cid).status_code == 400
    listed = repo.get("sync.listBlobs", did=repo.did)
    assert listed.status_code != 200 or cid not in listed.json()["cids"]
    repo.put("r", {"shard": answer}).raise_for_status()
    assert repo.blob(cid).content == data
    assert repo.get("server.describeServer").json()["blobUploadLimit"] == 5 * 2**20
