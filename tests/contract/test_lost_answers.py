"""A PDS that did what was asked, and whose answer never came: nothing is done twice, nothing is taken as failed."""

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.common.cid import record_cid
from atdata_core.errors import RecordChangedError, RecordNotFoundError

KEY = "a-key"


class Losing(httpx.HTTPTransport):
    """The network, but that the first answers of a method are lost, and ``meanwhile`` something happens."""

    def __init__(self):
        super().__init__()
        self.lose = {}
        self.meanwhile = lambda: None
        self.expired = False
        self.sent = []

    def handle_request(self, request):
        name = request.url.path.rpartition(".")[2]
        self.sent.append(name)
        if self.expired and name == "putRecord":
            self.expired = False
            return httpx.Response(400, json={"error": "ExpiredToken", "message": "Token has expired"})
        response = super().handle_request(request)
        if self.lose.get(name, 0):
            self.lose[name] -= 1
            response.read()
            self.meanwhile()
            raise httpx.ReadError("[Errno 104] Connection reset by peer")
        return response


@pytest.fixture
def network(closing):
    return closing(Losing())


@pytest.fixture
def record(repo):
    return {"$type": repo.collection, "createdAt": "2026-01-01T00:00:00.000Z", "n": 1}


def test_a_record_whose_creation_was_not_answered_is_written_once(client, repo, network, record):
    network.lose["putRecord"] = 2
    written, _ = client.create_once(repo.collection, KEY, record)
    assert (written.cid, written.value) == (record_cid(record), record)
    assert [item["cid"] for item in repo.list().json()["records"]] == [written.cid]
    # The same content again is no other write to a PDS.
    assert network.sent == ["putRecord"] * 3


def test_a_replacement_that_was_not_answered_is_done_and_can_be_replaced(client, repo, network, record):
    first, _ = client.create_once(repo.collection, KEY, record)
    network.lose["putRecord"] = 1
    second = client.replace(repo.collection, KEY, {**record, "n": 2}, swap=first.cid)
    assert (second.cid, second.value["n"]) == (record_cid({**record, "n": 2}), 2)
    third = client.replace(repo.collection, KEY, {**record, "n": 3}, swap=second.cid)
    assert repo.read(KEY).json()["cid"] == third.cid


def test_a_replacement_that_was_overtaken_while_its_answer_was_lost_is_no_success(client, repo, network, record):
    first, _ = client.create_once(repo.collection, KEY, record)
    network.lose["putRecord"] = 1
    network.meanwhile = lambda: repo.put(KEY, {**record, "n": 9}).raise_for_status()
    with pytest.raises(RecordChangedError) as caught:
        client.replace(repo.collection, KEY, {**record, "n": 2}, swap=first.cid)
    assert caught.value.fields == ["n"]
    assert repo.read(KEY).json()["value"]["n"] == 9


def test_a_creation_that_was_overtaken_while_its_answer_was_lost_is_no_success(client, repo, network, record):
    network.lose["putRecord"] = 1
    network.meanwhile = lambda: repo.put(KEY, {**record, "n": 9}).raise_for_status()
    with pytest.raises(RecordChangedError):
        client.create_once(repo.collection, KEY, record)


def test_a_creation_that_was_deleted_while_its_answer_was_lost_is_done_again(client, repo, network, record):
    network.lose["putRecord"] = 1
    network.meanwhile = lambda: repo.delete(KEY).raise_for_status()
    written, made = client.create_once(repo.collection, KEY, record)
    assert made
    assert repo.read(KEY).json()["cid"] == written.cid


def test_a_deletion_that_was_not_answered_is_done(client, repo, network, record):
    client.create_once(repo.collection, KEY, record)
    network.lose["deleteRecord"] = 1
    client.delete(repo.collection, KEY)
    with pytest.raises(RecordNotFoundError):
        client.get_record(f"at://{client.did}/{repo.collection}/{KEY}")


def test_a_blob_whose_upload_was_not_answered_has_the_same_reference(client, network):
    network.lose["uploadBlob"] = 1
    once = client.upload_blob(b"a blob", "text/plain")
    assert once == client.upload_blob(b"a blob", "text/plain")
    assert network.sent == ["uploadBlob"] * 3


def test_a_login_and_a_renewal_that_were_not_answered_are_done_again(server, repo, network, record):
    network.lose |= {"createSession": 1, "refreshSession": 1}
    client = AtmosphereClient(server.url, transport=network)
    client.login(repo.handle, repo.password)
    network.expired = True
    client.create_once(repo.collection, KEY, record)
    client.create_once(repo.collection, "other", record)
    expected = ["createSession"] * 2 + ["putRecord"] + ["refreshSession"] * 2 + ["putRecord"] * 2
    assert network.sent == expected
