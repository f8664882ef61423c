"""``PDSBlobStore`` by itself: what it sends, what it believes, and what it says."""

import hashlib
import io
import json
import tracemalloc
from dataclasses import replace

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient, PDSBlobStore
from atdata_core.atmosphere.record_format.parse import blob_at, blob_cid
from atdata_core.atmosphere.xrpc import write_budget
from atdata_core.errors import ShardChangedError, ShardConflictError, ShardMissingError, StorageError
from atdata_core.protocols import ShardFacts

UPLOAD = "/xrpc/com.atproto.repo.uploadBlob"


class Meddling(httpx.HTTPTransport):
    """The network, whose uploads are counted and may be answered by a test."""

    def __init__(self):
        super().__init__()
        self.uploads, self.described, self.answer = 0, {}, lambda request: None

    def handle_request(self, request):
        if request.url.path == UPLOAD:
            self.uploads += 1
            return self.answer(request) or super().handle_request(request)
        if request.url.path.endswith("describeServer"):
            return httpx.Response(200, json=self.described)
        return super().handle_request(request)


@pytest.fixture
def network(closing):
    return closing(Meddling())


@pytest.fixture
def store(environ, pds, account, network):
    client = AtmosphereClient(pds.url, transport=network)
    client.login(account.handle, account.password)
    return PDSBlobStore(client)


def facts_of(data):
    return ShardFacts("s3://lab/0.tar", len(data), hashlib.sha256(data).hexdigest(), samples=1)


def test_a_shard_is_sent_from_a_file_and_never_held_in_memory_whole(store, network):
    data = b"\0" * (5 << 20)
    facts, stream, sizes = facts_of(data), io.BytesIO(data), []
    network.answer = lambda request: sizes.append(request.headers["content-length"])
    del data
    tracemalloc.start()
    try:
        sent = store.send_shard("any", stream, facts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sizes == [str(5 << 20)]
    assert peak < 3 << 20
    assert (sent.proof, sent.etag) == ("server sha256", blob_cid(facts.sha256))
    assert blob_at(sent.url, store.did) == sent.etag
    assert store.shard_url(store.copy_name("promoted/x/0.tar", facts)) == sent.url


@pytest.mark.parametrize(
    "url", ["http://[foo/a.tar", "gopher://x/a.tar", "", "http://x/xrpc/com.atproto.sync.getBlob"]
)
def test_a_url_of_anything_else_is_no_blob(store, url):
    assert (store.serves(url), store.shard_name(url)) == (False, None)


def test_an_upload_that_was_broken_off_is_sent_again_whole(store, network, shard):
    data = shard(3)

    def break_off(request):
        if network.uploads == 1:
            next(iter(request.stream))
            raise httpx.WriteError("broken pipe", request=request)

    network.answer = break_off
    assert store.send_shard("any", io.BytesIO(data), facts_of(data)).proof == "server sha256"
    assert network.uploads == 2


def test_other_bytes_than_were_recorded_are_not_sent(store, network, shard):
    for changed in (shard(2)[:-1], shard(2) + b"\0", shard(2, first=1)):
        with pytest.raises(ShardChangedError, match="Nothing was uploaded"):
            store.send_shard("any", io.BytesIO(changed), facts_of(shard(2)))
    assert network.uploads == 0


def blob(cid, size, kind="application/x-tar"):
    return {"blob": {"$type": "blob", "ref": {"$link": cid}, "mimeType": kind, "size": size}}


@pytest.mark.parametrize(
    ("answered", "error", "words"),
    [
        (lambda facts: blob(blob_cid("0" * 64), facts.size), ShardConflictError, "has not taken what was sent"),
        (lambda facts: blob(blob_cid(facts.sha256), 7), ShardConflictError, "has not taken what was sent"),
        (lambda facts: blob(blob_cid(facts.sha256), facts.size, "image/bmp"), StorageError, "another key"),
    ],
)
def test_an_answer_that_names_other_bytes_or_another_type_is_refused(store, network, shard, answered, error, words):
    data = shard(1)
    network.answer = lambda request: httpx.Response(200, json=answered(facts_of(data)))
    with pytest.raises(error, match=words):
        store.send_shard("any", io.BytesIO(data), facts_of(data))


def test_the_limit_is_the_hosts_own_word_else_what_it_answers(store, network, shard):
    data = shard(1)
    facts = facts_of(data)
    store.check_shards([facts, replace(facts, size=52_428_800)])
    with pytest.raises(StorageError, match=r"1 of 2 shards cannot be blobs: .* takes 52,428,800 bytes"):
        PDSBlobStore(store.client).check_shards([facts, replace(facts, size=52_428_801)])
    network.described = {"blobUploadLimit": 100}
    with pytest.raises(StorageError, match="takes 100 bytes") as refused:
        PDSBlobStore(store.client).check_shards([facts])
    assert "maxsize= of Repo.insert" in refused.value.message
    network.answer = lambda request: httpx.Response(413, json={"error": "PayloadTooLarge"})
    with pytest.raises(StorageError, match="allows less"):
        store.send_shard("any", io.BytesIO(data), facts)


def test_a_blob_that_nobody_can_see_yet_is_believed_by_the_answer_to_its_upload(store, shard):
    data = shard(1)
    facts = facts_of(data)
    assert store.find_shard("any", facts) is None
    sent = store.send_shard("any", io.BytesIO(data), facts)
    assert store.find_shard("any", facts) is None
    assert store.find_shard("any", facts, etag=sent.etag) == sent
    with pytest.raises(ShardMissingError):
        store.stat_shard(sent.url)
    with pytest.raises(ShardMissingError, match="No label points at that record yet"):
        store.confirm([replace(facts, url=sent.url)])


def test_a_days_limit_of_uploads_is_waited_out_and_keeps_no_record_waiting(
    store, network, shard, monkeypatch, time_passes, state_folder
):
    clock = [1_800_000_000.0]

    def sleep(seconds):
        clock[0] += seconds
        time_passes.now += seconds

    monkeypatch.setattr(write_budget, "now", lambda: clock[0])
    monkeypatch.setattr(write_budget, "sleep", sleep)
    headers = {"ratelimit-policy": "1000;w=86400", "retry-after": "7200"}
    network.answer = lambda request: httpx.Response(429, headers=headers) if network.uploads == 1 else None
    data = shard(1)
    store.send_shard("any", io.BytesIO(data), facts_of(data))
    assert network.uploads == 2
    assert 7200 <= clock[0] - 1_800_000_000.0 <= 7300
    [kept] = (json.loads(path.read_text()) for path in (state_folder / "uploads").glob("*.json"))
    assert kept["limits"] == {"86400": 1000}
    assert not (state_folder / "writes").exists()
